package storagetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

// Source makes random batches that the log of a Model must take: with and without producers, in transactions, markers,
// compressed, of odd sizes and times.
type Source struct {
	Rng *rand.Rand
	// Largest is the size of the largest batch, in bytes. A batch may be a little larger when there is no smaller one.
	Largest int
	// Keyed gives every record a key, as compacted topics need.
	Keyed bool
	// Compressed is how many batches in a hundred are.
	Compressed int
}

const (
	idempotentID    = 1  // the first of the idempotent producers
	transactionalID = 11 // the first of the transactional ones
	producersOfKind = 2
)

// Next is a batch for the end of m, stamped, and added to m.
func (s *Source) Next(m *Model, now int64) batch.Batch {
	var b batch.Batch
	switch p := s.Rng.IntN(100); {
	case p < 40:
		b = s.data(batch.BuilderOptions{}, now)
	case p < 70:
		b = s.idempotent(m, now)
	default:
		b = s.transactional(m, now)
	}
	b.Stamp(m.End, m.Epoch)
	m.Add(b)
	return bytes.Clone(b)
}

func (s *Source) idempotent(m *Model, now int64) batch.Batch {
	id := int64(idempotentID + s.Rng.IntN(producersOfKind))
	p := m.next(id)
	switch {
	case p.Epoch < 0:
		p.Epoch = m.unused(id) + int16(s.Rng.IntN(3))
		if s.Rng.IntN(3) == 0 {
			p.Sequence = math.MaxInt32 - int32(s.Rng.IntN(8)) // it wraps soon
		}
	case s.Rng.IntN(25) == 0:
		p.Epoch, p.Sequence = p.Epoch+1, 0
	}
	return s.data(batch.BuilderOptions{Producer: &p.Producer}, now)
}

func (s *Source) transactional(m *Model, now int64) batch.Batch {
	id := int64(transactionalID + s.Rng.IntN(producersOfKind))
	p := m.next(id)
	if p.Epoch < 0 {
		p.Epoch = m.unused(id)
	}
	if p.open && s.Rng.IntN(2) == 0 || !p.open && s.Rng.IntN(20) == 0 {
		if s.Rng.IntN(4) == 0 {
			p.Epoch++ // as coordinators do that raise the epoch with every transaction
		}
		return Marker(p.ID, p.Epoch, now, s.Rng.IntN(2) == 0)
	}
	return s.data(batch.BuilderOptions{Producer: &p.Producer, Transactional: true}, now)
}

// Marker is the batch that ends a transaction.
func Marker(id int64, epoch int16, now int64, commit bool) batch.Batch {
	b := batch.NewBuilder(batch.BuilderOptions{
		Producer: &batch.Producer{ID: id, Epoch: epoch, Sequence: -1}, Transactional: true, Control: true,
	})
	key, value := make([]byte, 4), make([]byte, 6)
	if commit {
		binary.BigEndian.PutUint16(key[2:], 1)
	}
	b.Add(now, key, value)
	return b.Build()
}

// state is how a producer goes on.
type state struct {
	batch.Producer
	open bool // in a transaction
}

// next says how a producer goes on after what the log knows of it. The epoch is -1 when that is nothing.
func (m *Model) next(id int64) state {
	p := state{Producer: batch.Producer{ID: id, Epoch: -1}}
	since := m.since(id)
	for i := len(m.Batches) - 1; i >= 0 && m.Batches[i].First() >= since; i-- {
		b := m.Batches[i].Raw
		switch {
		case b.ProducerID() != id:
		case p.Epoch >= 0 && p.Epoch != b.ProducerEpoch():
			return p // a marker raised the epoch, and nothing was written since
		case !b.IsControl():
			p.open = b.IsTransactional() && p.Epoch < 0
			p.Epoch, p.Sequence = b.ProducerEpoch(), (b.LastSequence()+1)&math.MaxInt32
			return p
		default:
			p.Epoch = b.ProducerEpoch()
		}
	}
	return p
}

// unused is the first epoch that a producer has not had, so that nothing is taken for a batch of a time that the log
// forgot and a crash may bring back to its memory.
func (m *Model) unused(id int64) (e int16) {
	for _, b := range m.Batches {
		if b.Raw.ProducerID() == id {
			e = max(e, b.Raw.ProducerEpoch()+1)
		}
	}
	return e
}

// data is a batch of records.
func (s *Source) data(o batch.BuilderOptions, now int64) batch.Batch {
	if s.Rng.IntN(100) < s.Compressed {
		o.Codec = []compress.Codec{compress.Gzip, compress.Snappy, compress.LZ4, compress.Zstd}[s.Rng.IntN(4)]
	}
	if s.Rng.IntN(20) == 0 {
		o.LogAppendTime, o.AppendTime = true, now
	}
	b := batch.NewBuilder(o)
	untimed := s.Rng.IntN(30) == 0
	for n := s.records(); n > 0; n-- {
		value := s.value()
		if b.Len() > 0 && b.Size()+len(value)+40 > s.Largest {
			break
		}
		value = value[:min(len(value), max(0, s.Largest-batch.HeaderBytes-40))]
		ts := s.timestamp(now)
		if untimed {
			ts = -1
		}
		b.Add(ts, s.key(), value)
	}
	return b.Build()
}

func (s *Source) records() int {
	switch p := s.Rng.IntN(20); {
	case p < 10:
		return 1
	case p < 19:
		return 1 + s.Rng.IntN(4)
	default:
		return 1 + s.Rng.IntN(40)
	}
}

func (s *Source) key() []byte {
	if !s.Keyed && s.Rng.IntN(2) == 0 {
		return nil
	}
	return fmt.Appendf(nil, "k%d", s.Rng.IntN(12))
}

// value is nil at times, which in a compacted topic deletes the key.
func (s *Source) value() []byte {
	var n int
	switch p := s.Rng.IntN(100); {
	case p < 10:
		return nil
	case p < 70:
		n = s.Rng.IntN(60)
	case p < 98:
		n = s.Rng.IntN(400)
	default:
		n = s.Rng.IntN(3000)
	}
	v := make([]byte, n)
	fill := byte('a' + s.Rng.IntN(26))
	for i := range v {
		v[i] = fill + byte(i%3)
	}
	return v
}

// timestamp is mostly near now; some are equal to others, some far from it.
func (s *Source) timestamp(now int64) int64 {
	switch p := s.Rng.IntN(100); {
	case p < 30:
		return now
	case p < 90:
		return now - 500 + s.Rng.Int64N(1000)
	case p < 97:
		return max(0, now-s.Rng.Int64N(1<<22))
	default:
		return now + s.Rng.Int64N(1<<22)
	}
}

// Random is an offset in from..to, both included.
func (s *Source) Random(from, to protocol.Offset) protocol.Offset {
	return from + protocol.Offset(s.Rng.Int64N(int64(to-from)+1))
}

// Plain is like Next, but its producer is nobody.
func (s *Source) Plain(m *Model, now int64) batch.Batch {
	b := s.data(batch.BuilderOptions{}, now)
	b.Stamp(m.End, m.Epoch)
	m.Add(b)
	return bytes.Clone(b)
}

// Known is a batch that the log would recognise if it came again: one of the last few of its producer. ok is false where
// there is none.
func (s *Source) Known(m *Model) (b Batch, ok bool) {
	const remembered = 5
	id := int64(idempotentID + s.Rng.IntN(producersOfKind))
	seen := map[[2]int32]bool{}
	epoch, n, since := int16(-1), 0, m.since(id)
	for i := len(m.Batches) - 1; i >= 0 && n < remembered && m.Batches[i].First() >= since; i-- {
		raw := m.Batches[i].Raw
		if raw.ProducerID() != id {
			continue
		}
		if epoch >= 0 && raw.ProducerEpoch() != epoch {
			break
		}
		epoch = raw.ProducerEpoch()
		n++
		same := [2]int32{raw.BaseSequence(), raw.LastSequence()}
		if seen[same] { // a producer that was forgotten may have begun with these again
			continue
		}
		seen[same] = true
		if s.Rng.IntN(n) == 0 {
			b, ok = m.Batches[i], true
		}
	}
	return b, ok
}
