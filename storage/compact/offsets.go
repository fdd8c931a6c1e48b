package compact

import (
	"math/bits"

	"moldau.io/moldau/protocol"
)

// SlotBytes is the memory that one key takes in Offsets.
const SlotBytes = 24

// slot is one key: its hash, and its offset plus one, so that the zero slot is an empty one.
type slot struct {
	lo, hi uint64
	next   protocol.Offset
}

// Offsets says for each key the last offset that it has below some offset. It holds hashes in place of keys, in a table
// of a size that is given, with open addressing. The zero Offsets has no room.
type Offsets struct {
	seed  Seed
	slots []slot
	max   int // keys
	keys  int
	next  protocol.Offset
}

// Reset empties the table and gives it room for keys, in at most bytes bytes, of which the part load is used: a full
// table would be slow. However little is asked for, there is room for one key. next is what Next says until something
// is noted. Memory is made anew only where it is too small, or far too large.
func (o *Offsets) Reset(seed Seed, keys int64, bytes int64, load float64, next protocol.Offset) {
	load = min(max(load, 0.01), 0.99)
	slots := int64(float64(keys)/load) + 1
	slots = max(min(slots, bytes/SlotBytes), 2)
	if int64(cap(o.slots)) < slots || int64(cap(o.slots)) > 4*slots {
		o.slots = make([]slot, slots)
	} else {
		o.slots = o.slots[:slots]
		clear(o.slots)
	}
	o.seed, o.keys, o.next = seed, 0, next
	o.max = max(int(float64(slots)*load), 1)
}

// find is the slot of a key, or the empty one where it would be.
func (o *Offsets) find(key []byte) (*slot, uint64, uint64) {
	lo, hi := o.seed.sum(key)
	at, _ := bits.Mul64(lo, uint64(len(o.slots)))
	for {
		s := &o.slots[at]
		if s.next == 0 || s.lo == lo && s.hi == hi {
			return s, lo, hi
		}
		if at++; at == uint64(len(o.slots)) {
			at = 0
		}
	}
}

// Put notes that key is at offset, which is larger than all before it. It says whether there was room.
func (o *Offsets) Put(key []byte, offset protocol.Offset) bool {
	s, lo, hi := o.find(key)
	if s.next == 0 {
		if o.keys == o.max {
			return false
		}
		o.keys++
		s.lo, s.hi = lo, hi
	}
	s.next = offset + 1
	o.next = offset + 1
	return true
}

// Get is the last offset of key, -1 where there is none.
func (o *Offsets) Get(key []byte) protocol.Offset {
	s, _, _ := o.find(key)
	return s.next - 1
}

// Next is the offset up to which, not included, records have been noted.
func (o *Offsets) Next() protocol.Offset { return o.next }

// Reach notes that records below next have been seen, whether they had keys or not.
func (o *Offsets) Reach(next protocol.Offset) { o.next = max(o.next, next) }

// Keys is the number of keys, and Load the part of the table that they take.
func (o *Offsets) Keys() int { return o.keys }

// Load is the part of the table that is taken.
func (o *Offsets) Load() float64 {
	if len(o.slots) == 0 {
		return 0
	}
	return float64(o.keys) / float64(len(o.slots))
}
