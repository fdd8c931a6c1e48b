package segment

import (
	"sync/atomic"

	"moldau.io/moldau/protocol"
)

// follows is where the batch ends that Find found last, and the offset after it: who reads batch by batch asks for that
// next, and needs no index. Both are 31 bits, which one word holds. It is a hint that all readers of a segment share:
// whoever comes last has it.
//
// Where a segment is cut, what follows a batch may be another one later. It then gets a new follows, after its new size is
// published: a reader that saw the old size notes what it found in the old one, where nobody looks.
type follows struct{ word atomic.Uint64 }

func (x *follows) note(base, next protocol.Offset, position int64) {
	if relative := int64(next - base); relative <= LargestRelative && position <= LargestRelative {
		x.word.Store(uint64(relative)<<32 | uint64(position))
	}
}

// at is the position at which the first batch begins that ends at offset or later, where that is known.
func (x *follows) at(base, offset protocol.Offset) (_ landing, ok bool) {
	w := x.word.Load()
	return landing{position: int64(uint32(w)), last: -1}, w != 0 && int64(offset-base) == int64(w>>32)
}
