// Package lag says how far groups are behind: in records, and in time. It is given what groups have committed, and asks
// Ends for the partitions; it keeps the times that it has looked up, since looking one up reads a log. It leaves the
// groups to their coordinators, and the logs to who implements Ends.
//
// Invariant: what is kept is bounded by what was asked for last, and a time is looked up once for an offset, however many
// groups stand there and however often they are measured.
package lag

import (
	"math"
	"time"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// Ends tells of partitions. A broker tells of those that it leads. (In a cluster it will tell of others as far as it has
// heard of them.)
type Ends interface {
	// End is where a partition begins and ends now, and false where that is not known here: another broker leads it, or it
	// is no more. A zero id is "whatever topic has the name".
	End(topic string, id protocol.TopicID, partition int32) (End, bool)
	// Timestamp is that of the first committed record at or after an offset, in milliseconds since 1970; None where there is
	// no such record, only markers of transactions. Known is false where it has no timestamp or cannot be read.
	Timestamp(e End, from protocol.Offset) (millis int64, known bool)
}

// None is the timestamp of no record.
const None int64 = math.MaxInt64

// End is the extent of a partition.
type End struct {
	Topic     string
	ID        protocol.TopicID // of the topic that has the name now
	Partition int32
	Start     protocol.Offset // of the log
	High      protocol.Offset // the high watermark: what is below may be read
	Compacts  bool            // records below High may go
}

// Lag is how far a group is behind in one partition.
type Lag struct {
	group.CommittedOffset
	Start, End protocol.Offset
	// Records are those from the committed offset to the high watermark, or from the log's start where that is above the
	// offset. Readers of committed records only are measured the same way: they will skip what was aborted.
	Records int64
	// Behind is by how much the committed offset lies below the log's start: records that are gone and that the group has
	// not read. It is part of no other number.
	Behind int64
	// Age is how old the oldest unread record is: 0 when there is none, or only markers of transactions; Unknown where its
	// time is not known.
	Age time.Duration
}

// Unknown is the age of a record without a timestamp, or that could not be read in time.
const Unknown time.Duration = -1

const (
	readTime  = time.Second      // how long one measurement may look up times
	freshTime = 30 * time.Second // how long the time of a compacted log is believed: the record may have gone
)

// Meter measures. One goroutine at a time may use it.
type Meter struct {
	ends Ends
	now  func() time.Time

	times  map[place]stamp // of the last measurement
	before map[place]stamp // of the one before, while one is made
}

// place is an offset of a partition.
type place struct {
	id        protocol.TopicID
	partition int32
	offset    protocol.Offset
}

// stamp is the time of the record there.
type stamp struct {
	millis int64
	looked time.Time
}

// NewMeter makes a meter. now is the clock that records are compared with.
func NewMeter(ends Ends, now func() time.Time) *Meter {
	return &Meter{ends: ends, now: now, times: map[place]stamp{}}
}

// Measure appends to out what is known of committed, in its order. Offsets of partitions that are not known here, of an
// earlier topic of the same name, and below zero (which stand for nothing) are left out. What is kept of times is replaced
// if all is set: then committed is all that will be asked for again.
func (m *Meter) Measure(committed []group.CommittedOffset, all bool, out []Lag) []Lag {
	began := m.now()
	if all {
		m.before, m.times = m.times, make(map[place]stamp, len(m.times))
		defer func() { m.before = nil }()
	}
	for i := range committed {
		c := &committed[i]
		if c.Offset < 0 {
			continue
		}
		end, ok := m.ends.End(c.Topic, c.TopicID, c.Partition)
		if !ok {
			continue
		}
		l := Lag{CommittedOffset: *c, Start: end.Start, End: end.High}
		from := max(c.Offset, end.Start)
		l.Behind = int64(from - c.Offset)
		l.Records = max(0, int64(end.High-from))
		if l.Records > 0 {
			l.Age = m.age(began, end, from, all)
		}
		out = append(out, l)
	}
	return out
}

// age is how old the first record from an offset on is.
func (m *Meter) age(now time.Time, e End, from protocol.Offset, keep bool) time.Duration {
	at := place{e.ID, e.Partition, from}
	s, ok := m.times[at]
	if !ok && m.before != nil {
		s, ok = m.before[at]
	}
	if ok && e.Compacts && now.Sub(s.looked) >= freshTime {
		ok = false
	}
	if !ok {
		if m.now().Sub(now) >= readTime {
			return Unknown
		}
		s = stamp{looked: now}
		var known bool
		if s.millis, known = m.ends.Timestamp(e, from); !known {
			return Unknown // the next measurement looks again
		}
	}
	if s.millis == None {
		return 0 // not kept: a record may come
	}
	if keep {
		m.times[at] = s
	}
	return max(0, time.Duration(now.UnixMilli()-s.millis)*time.Millisecond)
}
