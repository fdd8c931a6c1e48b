// Package storagetest is what a log is held against: a model that keeps every batch in memory and answers by looking at
// all of them, and a source of random batches that a log must take. It knows nothing of segments, indexes or files.
//
// Invariant: a Model's answers follow from its batches alone; the same seed gives the same batches.
package storagetest

import (
	"slices"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/epoch"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
)

// Batch is one batch of a Model.
type Batch struct {
	Raw     batch.Batch // as it is in the log
	Records []Record
}

// Record is what a test wants to know of a record.
type Record struct {
	Offset     protocol.Offset
	Timestamp  int64
	Key, Value []byte
}

// First is the batch's base offset.
func (b Batch) First() protocol.Offset { return b.Raw.BaseOffset() }

// Next is the offset after the batch's last record.
func (b Batch) Next() protocol.Offset { return b.Raw.LastOffset() + 1 }

// Model is what a log should hold.
type Model struct {
	ID      protocol.TopicID
	Batches []Batch         // everything appended, in order, also what lies below Start; the last ones may be under way
	End     protocol.Offset // the offset that the next record gets
	Start   protocol.Offset // the log's start is not above
	Kept    protocol.Offset // and not below, whatever happens
	Durable protocol.Offset // the log said that everything before it survives a crash
	Done    protocol.Offset // the end of what was acknowledged
	Epoch   protocol.Epoch  // the leader's

	// Floor is the offset from which on the log knows its producers: 0, or where it began when a crash made it forget
	// what lies before. Floors are those it had, one of which a snapshot may bring back.
	Floor  protocol.Offset
	Floors []protocol.Offset
	// Forgets are the producers that the log forgot since they wrote no more. A crash may undo any of it.
	Forgets []Forget
}

// Forget says that a log that ended at At forgot these producers.
type Forget struct {
	At     protocol.Offset
	IDs    []int64
	Undone bool
}

// since is where the batches begin by which the log knows a producer.
func (m *Model) since(id int64) protocol.Offset {
	from := m.Floor
	for _, f := range m.Forgets {
		if !f.Undone && slices.Contains(f.IDs, id) {
			from = max(from, f.At)
		}
	}
	return from
}

// NewModel is the model of a log that begins at start.
func NewModel(id protocol.TopicID, start protocol.Offset) *Model {
	return &Model{ID: id, Start: start, End: start, Durable: start, Done: start, Floors: []protocol.Offset{0}}
}

// Clone shares the batches, which never change.
func (m *Model) Clone() *Model {
	c := *m
	c.Batches = slices.Clip(m.Batches)
	c.Floors = slices.Clip(m.Floors)
	c.Forgets = slices.Clip(m.Forgets)
	return &c
}

// Add notes a batch, which has been stamped. It is not acknowledged yet.
func (m *Model) Add(b batch.Batch) {
	mb := Batch{Raw: b}
	for r, err := range b.Records(nil) {
		if err != nil {
			panic(err) // the source makes no such batch
		}
		mb.Records = append(mb.Records, Record{
			Offset:    b.BaseOffset() + protocol.Offset(r.OffsetDelta),
			Timestamp: b.Timestamp(r),
			Key:       slices.Clone(r.Key),
			Value:     slices.Clone(r.Value),
		})
	}
	m.Batches = append(m.Batches, mb)
	m.End = mb.Next()
}

// Cut forgets everything from end on. What the log goes on with is appended there.
func (m *Model) Cut(end protocol.Offset) {
	n := len(m.Batches)
	for n > 0 && m.Batches[n-1].First() >= end {
		n--
	}
	m.Batches = slices.Clip(m.Batches[:n])
	for i := range m.Forgets {
		if m.Forgets[i].At > end {
			m.Forgets = slices.Clone(m.Forgets)
			m.Forgets[i].At = end
		}
	}
	m.End = end
	m.Durable, m.Done = min(m.Durable, end), min(m.Done, end)
}

// EndAt is where the log ends when it is truncated to to: behind the last batch that lies wholly before.
func (m *Model) EndAt(to protocol.Offset) protocol.Offset {
	if to >= m.End {
		return m.End
	}
	for _, b := range slices.Backward(m.Batches) {
		if b.Next() <= to {
			return b.Next()
		}
	}
	return 0
}

// From are the batches that hold from or come after it.
func (m *Model) From(from protocol.Offset) []Batch {
	i, _ := slices.BinarySearchFunc(m.Batches, from, func(b Batch, o protocol.Offset) int {
		if b.Next() <= o {
			return -1
		}
		return 1
	})
	return m.Batches[i:]
}

// FirstAt is the first record in from..to, to not included, whose timestamp is at least ts.
func (m *Model) FirstAt(ts int64, from, to protocol.Offset) (Record, bool) {
	for _, b := range m.From(from) {
		for _, r := range b.Records {
			if r.Offset >= from && r.Offset < to && r.Timestamp >= ts {
				return r, true
			}
		}
	}
	return Record{}, false
}

// Largest is the first record in from..to that has the largest timestamp. A record without one, -1, is none.
func (m *Model) Largest(from, to protocol.Offset) (best Record, ok bool) {
	for _, b := range m.From(from) {
		for _, r := range b.Records {
			if r.Offset >= from && r.Offset < to && r.Timestamp > segment.NoTimestamp && (!ok || r.Timestamp > best.Timestamp) {
				best, ok = r, true
			}
		}
	}
	return best, ok
}

// Epochs is the leader-epoch history of the batches in start..end.
func (m *Model) Epochs(start, end protocol.Offset) epoch.History {
	h := epoch.History{}
	for _, b := range m.Batches {
		if b.First() < end {
			h, _ = h.Assign(b.Raw.LeaderEpoch(), b.First())
		}
	}
	h, _ = h.TruncateStart(start)
	return h
}

// Replay applies the batches in from..end by which the log knows its producers.
func (m *Model) Replay(from, end protocol.Offset, now time.Time) *producers.State {
	since := map[int64]protocol.Offset{}
	for _, f := range m.Forgets {
		for _, id := range f.IDs {
			if f.Undone {
				break
			}
			since[id] = max(since[id], f.At)
		}
	}
	s := producers.New()
	for _, b := range m.Batches {
		if b.First() >= from && b.First() < end && b.First() >= since[b.Raw.ProducerID()] {
			s.Apply(b.Raw, now)
		}
	}
	return s
}

// Aborted are the transactions that were aborted in the batches from..end.
func (m *Model) Aborted(from, end protocol.Offset) (out []segment.AbortedTxn) {
	s := producers.New()
	for _, b := range m.Batches {
		if b.First() < from || b.First() >= end {
			continue
		}
		if e, ok := s.Apply(b.Raw, time.Time{}); ok && e.Aborted {
			out = append(out, segment.AbortedTxn{
				ProducerID: e.ProducerID, First: e.First, Last: e.Last, LastStable: e.LastStable,
			})
		}
	}
	return out
}

// Overlapping are those transactions whose records lie in from..to.
func Overlapping(all []segment.AbortedTxn, from, to protocol.Offset) (out []segment.AbortedTxn) {
	for _, a := range all {
		if a.Last >= from && a.First < to {
			out = append(out, a)
		}
	}
	return out
}
