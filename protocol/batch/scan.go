package batch

import (
	"fmt"
	"math"

	"moldau.io/moldau/protocol/compress"
)

// scan looks at every record of a client's batch and remembers what Validate needs.
type scan struct {
	b     Batch
	rules Rules
	now   int64

	// What most records pass by: a timestamp from earliest to latest, and a key of at least keyMin bytes, where null
	// counts as -1. A batch in which the broker's time is claimed has no such record.
	base             int64
	earliest, latest int64
	keyMin           int

	maxTimestamp int64
	maxDelta     int32 // of the first record that has maxTimestamp
	misnumbered  bool  // a record's offset delta is not its index
	faults       faults
}

func newScan(b Batch, r Rules) scan {
	s := scan{b: b, rules: r, now: r.Now.UnixMilli(), base: b.BaseTimestamp(), keyMin: -1, maxTimestamp: noTimestamp}
	if r.Compacted {
		s.keyMin = 0
	}
	switch {
	case b.IsLogAppendTime():
		s.earliest, s.latest = math.MaxInt64, math.MinInt64
	case r.LogAppendTime:
		s.earliest, s.latest = math.MinInt64, math.MaxInt64
	default:
		s.latest = s.now + min(r.TimestampAfterMaxMs, math.MaxInt64-s.now)
		s.earliest = s.now - min(r.TimestampBeforeMaxMs, s.now) // at least 0, so that -1 goes the long way
	}
	return s
}

// plain scans records that are not compressed. It is the hot path of produce: it allocates nothing unless a record is at
// fault. Offset deltas are not looked at, as in Kafka.
func (s *scan) plain() error {
	payload := s.b.Payload()
	count := int(s.b.Count())
	if count > len(payload)/smallestRecordLen {
		return s.rules.broken(errNoRecords)
	}
	var p parts
	for i := range count {
		if !p.parseShort(payload, p.end) {
			if err := p.parse(payload, p.end); err != nil {
				return s.rules.broken(&RecordsError{i, err})
			}
		}
		if ts := s.base + p.timestampDelta; ts < s.earliest || ts > s.latest || p.keyLen < s.keyMin {
			s.record(i, &p)
		} else if ts > s.maxTimestamp {
			s.maxTimestamp, s.maxDelta = ts, int32(i)
		}
	}
	if p.end != len(payload) {
		return s.rules.broken(errRecordsLeft)
	}
	return s.faults.reject()
}

// compressed scans records as they come out of the decompressor; large ones are never whole in memory.
func (s *scan) compressed() error {
	d := compress.TakeDecoder()
	defer d.Release()
	if err := d.Reset(s.b.Codec(), s.b.Payload(), s.rules.decompressedMax()); err != nil {
		return s.rules.broken(err)
	}
	w := takeWindow(d)
	defer w.release()
	var p parts
	recordMax := s.rules.recordMax()
	for i := range int(s.b.Count()) {
		if err := w.skim(&p, recordMax); err != nil {
			return s.rules.broken(&RecordsError{i, err})
		}
		if int(p.offsetDelta) != i {
			s.misnumbered = true
		}
		s.record(i, &p)
	}
	if err := w.end(); err != nil {
		return s.rules.broken(err)
	}
	return s.faults.reject()
}

// record checks one record: a key on a compacted topic, and the timestamp. A record without a key is not looked at further.
func (s *scan) record(i int, p *parts) {
	r := &s.rules
	if r.Compacted && p.keyLen < 0 {
		s.faults.add(i, "Compacted topic cannot accept message without key in topic partition "+r.Partition.String())
		return
	}
	ts := s.base + p.timestampDelta
	fromBroker := s.b.IsLogAppendTime()
	if fromBroker {
		ts = s.b.MaxTimestamp()
	}
	switch {
	case !r.LogAppendTime && ts != noTimestamp:
		// The differences wrap as Java's do.
		if age := s.now - ts; age > r.TimestampBeforeMaxMs || -age > r.TimestampAfterMaxMs {
			s.badTime(i, ts, p)
			return
		}
	case fromBroker:
		s.badKind(i, ts, p)
		return
	}
	if ts > s.maxTimestamp {
		s.maxTimestamp, s.maxDelta = ts, int32(i)
	}
}

func (s *scan) badTime(i int, ts int64, p *parts) {
	s.faults.badTime = true
	s.faults.add(i, fmt.Sprintf("Timestamp %d of message with offset %d is out of range. The timestamp should be within "+
		"[%d, %d]", ts, p.offsetDelta, s.now-s.rules.TimestampBeforeMaxMs, s.now+s.rules.TimestampAfterMaxMs))
}

func (s *scan) badKind(i int, ts int64, p *parts) {
	name, keyLen, valLen := "DefaultRecord", max(p.keyLen, 0), max(p.valLen, 0)
	if s.b.Codec() != compress.None {
		name, keyLen, valLen = "PartialDefaultRecord", p.keyLen, p.valLen
	}
	s.faults.badTime = true
	s.faults.add(i, fmt.Sprintf("Invalid timestamp type in message %s(offset=%d, timestamp=%d, key=%d bytes, value=%d "+
		"bytes). Producer should not set timestamp type to LogAppendTime.", name, p.offsetDelta, ts, keyLen, valLen))
}
