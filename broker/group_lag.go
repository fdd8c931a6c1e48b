package broker

import (
	"time"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/coordinator/lag"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

const (
	lagFresh = time.Second // a measurement that is younger is not made again
	lagWait  = time.Second // how long coordinators may take to say what is committed
	// stampSlack is how much too old an unread record may be called: where a batch spans no more, the time in its header is
	// taken for that of each of its records, and the batch need not be read.
	stampSlack = time.Second
	stampSteps = 64 // batches without a record that are passed over for one with a record
)

// groupLag measures how far the groups are behind that are coordinated here. One measurement serves all who ask within
// lagFresh, so that metrics, console and commands cost one.
type groupLag struct {
	b    *Broker
	most int // partitions, for all groups together (moldau.group.lag.metrics)

	turn chan struct{} // has a token; who holds it may use the rest

	meter   *lag.Meter
	last    lagSnapshot
	pending chan *group.CommittedResult // what was asked for and has not come yet; nil for nothing
}

// lagSnapshot is one measurement. It is immutable.
type lagSnapshot struct {
	made    time.Time
	lags    []lag.Lag // sorted by group, topic and partition
	leftOut int       // partitions above the limit
}

func newGroupLag(b *Broker) *groupLag {
	l := &groupLag{b: b, most: int(b.static.Int("moldau.group.lag.metrics")), turn: make(chan struct{}, 1)}
	l.meter = lag.NewMeter(logEnds{b}, time.Now)
	l.turn <- struct{}{}
	return l
}

// all is the lag of all groups, as far as the limit allows. It is nothing where a coordinator does not answer in time, as
// when it is being loaded.
func (l *groupLag) all() lagSnapshot {
	<-l.turn
	defer func() { l.turn <- struct{}{} }()
	if time.Since(l.last.made) < lagFresh {
		return l.last
	}
	committed := l.committed()
	if committed == nil {
		l.last = lagSnapshot{}
		return l.last
	}
	lags := l.meter.Measure(committed.Offsets, true, make([]lag.Lag, 0, len(committed.Offsets)))
	l.last = lagSnapshot{made: time.Now(), lags: lags, leftOut: committed.LeftOut}
	return l.last
}

// committed asks the coordinators; nil if they do not answer in time. They are not asked again before they have answered.
func (l *groupLag) committed() *group.CommittedResult {
	if l.pending == nil {
		pending := make(chan *group.CommittedResult, 1)
		l.pending = pending
		l.b.groups.Committed(l.most, func(r *group.CommittedResult) { pending <- r })
	}
	late := time.NewTimer(lagWait)
	defer late.Stop()
	select {
	case r := <-l.pending:
		l.pending = nil
		return r
	case <-late.C:
		return nil
	}
}

// measure is the lag of one group, whatever the limit.
func (l *groupLag) measure(committed []group.CommittedOffset) []lag.Lag {
	<-l.turn
	defer func() { l.turn <- struct{}{} }()
	return l.meter.Measure(committed, false, nil)
}

// logEnds tells of the partitions that this broker leads.
type logEnds struct{ b *Broker }

// End is where a partition begins and ends now.
func (e logEnds) End(topic string, id protocol.TopicID, partition int32) (lag.End, bool) {
	t := e.b.partitions.topic(topic)
	p := t.at(partition)
	if p == nil || !p.leads() || !id.IsZero() && id != t.id {
		return lag.End{}, false
	}
	return lag.End{
		Topic: t.name, ID: t.id, Partition: partition, Start: p.log.Bounds().Start, High: p.highWatermark(),
		Compacts: p.log.Config().Compacts,
	}, true
}

// Timestamp is that of the first committed record at or after from.
func (e logEnds) Timestamp(end lag.End, from protocol.Offset) (int64, bool) {
	p := e.b.partitions.topicByID(end.ID).at(end.Partition)
	if p == nil {
		return 0, false
	}
	return p.stampAt(from, end.High)
}

// stampAt is the timestamp of the first record from an offset on that is below the high watermark, lag.None where there is
// none; false where it is not known. A record in the middle of a batch that spans less than stampSlack is given the time of the
// first in its batch. Batches of markers and those that compaction has emptied are passed over.
func (p *Partition) stampAt(from, high protocol.Offset) (int64, bool) {
	var header [batch.HeaderBytes]byte
	for range stampSteps {
		if from >= high {
			return lag.None, true
		}
		raw, ok := p.readAt(from, header[:0], false)
		switch {
		case ok && len(raw) == 0: // compaction has removed all that was behind from
			return lag.None, true
		case !ok || len(raw) < batch.HeaderBytes:
			return 0, false
		}
		b := batch.Batch(raw)
		if b.BaseOffset() >= high {
			return lag.None, true
		}
		next := b.LastOffset() + 1
		if b.IsControl() || b.Count() == 0 {
			from = max(next, from+1)
			continue
		}
		first, last := b.BaseTimestamp(), b.MaxTimestamp()
		switch {
		case b.IsLogAppendTime():
			return last, last >= 0
		case b.BaseOffset() >= from, last-first < stampSlack.Milliseconds():
			return first, first >= 0
		}
		if ms, found, ok := p.stampIn(from); found || !ok {
			return ms, ok && ms >= 0
		}
		from = max(next, from+1)
	}
	return 0, false
}

// stampIn is the timestamp of the first record at or after from in the batch that holds it. Ok is false where that cannot
// be read.
func (p *Partition) stampIn(from protocol.Offset) (ms int64, found, ok bool) {
	raw, ok := p.readAt(from, nil, true)
	if !ok {
		return 0, false, false
	}
	b, _, err := batch.Next(raw)
	if err != nil {
		return 0, false, false
	}
	for r, err := range b.Records(nil) {
		if err != nil {
			return 0, false, false
		}
		if b.BaseOffset()+protocol.Offset(r.OffsetDelta) >= from {
			return b.Timestamp(r), true, true
		}
	}
	return 0, false, true
}

// readAt reads the batch that holds an offset, or only its header.
func (p *Partition) readAt(from protocol.Offset, buf []byte, whole bool) ([]byte, bool) {
	s, err := p.log.Read(from, p.log.Bounds().End, batch.HeaderBytes, whole)
	if err != nil {
		return nil, false
	}
	defer s.Release()
	raw, err := s.Bytes(buf)
	return raw, err == nil
}
