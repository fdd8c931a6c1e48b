package compact

import (
	"math"

	"moldau.io/moldau/protocol"
)

// Segment is what a plan needs to know of one.
type Segment struct {
	Base         protocol.Offset
	Next         protocol.Offset // where the next one begins
	Bytes        int64
	IndexBytes   int64 // of the offset index
	TimeBytes    int64 // of the time index
	MaxTimestamp int64 // milliseconds; -1 for none
	// FirstTimestamp is the largest of the first batch, in milliseconds. It is looked at only where there is a MaxLag.
	FirstTimestamp int64
}

// Log is what a plan needs to know of a log.
type Log struct {
	Segments []Segment // in order; the last one is still written
	Start    protocol.Offset
	End      protocol.Offset
	// Stable is the first offset that may still change its meaning: the high watermark, or an open transaction's first
	// offset before it.
	Stable  protocol.Offset
	Cleaned protocol.Offset // what the checkpoint says, -1 where it says nothing
	MinLag  int64           // min.compaction.lag.ms
	MaxLag  int64           // max.compaction.lag.ms, math.MaxInt64 for none
}

// Plan is what a cleaning of a log would do.
type Plan struct {
	Dirty       protocol.Offset // the first offset that was not cleaned before
	Uncleanable protocol.Offset // the first offset that must be left alone: a segment begins there
	CleanBytes  int64
	DirtyBytes  int64 // of those, and up to Uncleanable
	Overdue     int64 // by so many milliseconds MaxLag is passed
}

// Ratio is the dirty part of what could be cleaned.
func (p Plan) Ratio() float64 {
	if p.DirtyBytes == 0 {
		return 0
	}
	return float64(p.DirtyBytes) / float64(p.DirtyBytes+p.CleanBytes)
}

// Due says whether the log should be cleaned.
func (p Plan) Due(minRatio float64) bool {
	return p.DirtyBytes > 0 && (p.Overdue > 0 || p.Ratio() > minRatio)
}

// Before says whether of two logs that are due p is cleaned first: what is overdue longest, then what is dirtiest.
func (p Plan) Before(q Plan) bool {
	if p.Overdue != q.Overdue {
		return p.Overdue > q.Overdue
	}
	return p.Ratio() > q.Ratio()
}

// PlanFor says what a cleaning would do now, in milliseconds.
func PlanFor(l Log, now int64) Plan {
	p := Plan{Dirty: l.Cleaned}
	if l.Cleaned < l.Start || l.Cleaned > l.End { // the checkpoint is of another life of the log
		p.Dirty = l.Start
	}
	active := l.Segments[len(l.Segments)-1]
	limit := min(l.Stable, active.Base)
	closed := l.Segments[:len(l.Segments)-1]
	if l.MinLag > 0 {
		for _, s := range closed {
			if s.Next > p.Dirty && s.MaxTimestamp > now-l.MinLag {
				limit = min(limit, s.Base)
				break
			}
		}
	}
	limit = max(limit, p.Dirty)
	p.Uncleanable = active.Base
	for _, s := range closed {
		if s.Next > limit {
			p.Uncleanable = s.Base
			break
		}
	}
	earliest := int64(math.MaxInt64)
	for _, s := range closed {
		if s.Next > p.Dirty && l.MaxLag != math.MaxInt64 && s.FirstTimestamp > 0 {
			earliest = min(earliest, s.FirstTimestamp)
		}
		switch {
		case s.Next <= p.Dirty:
			p.CleanBytes += s.Bytes
		case s.Base < p.Uncleanable:
			p.DirtyBytes += s.Bytes
		}
	}
	if l.MaxLag != math.MaxInt64 {
		p.Overdue = max(now-l.MaxLag-earliest, 0)
	}
	return p
}

// Group splits segments into runs, each of which fits into one segment: by bytes, by the bytes of the indexes, and by
// the distance of offsets that indexes can say.
func Group(segs []Segment, bytesMax, indexMax, distanceMax int64) [][]Segment {
	var groups [][]Segment
	for i := 0; i < len(segs); {
		n, bytes, index, times := 1, segs[i].Bytes, segs[i].IndexBytes, segs[i].TimeBytes
		for i+n < len(segs) {
			s := segs[i+n]
			bytes, index, times = bytes+s.Bytes, index+s.IndexBytes, times+s.TimeBytes
			far := s.Bytes > 0 && int64(s.Next-1-segs[i].Base) > distanceMax
			if bytes > bytesMax || index > indexMax || times > indexMax || far {
				break
			}
			n++
		}
		groups = append(groups, segs[i:i+n])
		i += n
	}
	return groups
}
