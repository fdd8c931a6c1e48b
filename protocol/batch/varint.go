package batch

// Kafka's variable-length integers: groups of seven bits from the lowest up, the top bit saying that more follow, after the
// sign has been moved to the lowest bit (ByteUtils.readVarint). They are read here and not by encoding/binary because the
// two disagree on what is too long: Kafka drops excess bits of the last byte, and takes at most 5 or 10 bytes.
const (
	varintBytesMax  = 5
	varlongBytesMax = 10
)

// varint32 reads at position at of b. next is the position after it, or -1 where b ends early or the integer is too long.
func varint32(b []byte, at int) (v int32, next int) {
	if uint(at) < uint(len(b)) && b[at] < 0x80 {
		return int32(b[at]>>1) ^ -int32(b[at]&1), at + 1
	}
	u, next := uvarint(b, at, varintBytesMax)
	return int32(uint32(u)>>1) ^ -int32(u&1), next
}

// varint64 is varint32 for 64 bits.
func varint64(b []byte, at int) (v int64, next int) {
	if uint(at) < uint(len(b)) && b[at] < 0x80 {
		return int64(b[at]>>1) ^ -int64(b[at]&1), at + 1
	}
	u, next := uvarint(b, at, varlongBytesMax)
	return int64(u>>1) ^ -int64(u&1), next
}

func uvarint(b []byte, at, bytesMax int) (v uint64, next int) {
	if at < 0 || at >= len(b) {
		return 0, -1
	}
	b = b[at:]
	if len(b) > 1 && b[1] < 0x80 { // most that take this way are lengths of two bytes
		return uint64(b[0]&0x7f) | uint64(b[1])<<7, at + 2
	}
	for i := 0; i < len(b) && i < bytesMax; i++ {
		c := b[i]
		v |= uint64(c&0x7f) << (7 * uint(i))
		if c < 0x80 {
			return v, at + i + 1
		}
	}
	return 0, -1
}

func appendVarint32(dst []byte, v int32) []byte {
	u := uint32(v)<<1 ^ uint32(v>>31)
	for u >= 0x80 {
		dst = append(dst, byte(u)|0x80)
		u >>= 7
	}
	return append(dst, byte(u))
}

func appendVarint64(dst []byte, v int64) []byte {
	u := uint64(v)<<1 ^ uint64(v>>63)
	for u >= 0x80 {
		dst = append(dst, byte(u)|0x80)
		u >>= 7
	}
	return append(dst, byte(u))
}

// sizeVarint64 is the number of bytes that appendVarint64 appends; appendVarint32 appends as many for the same value.
func sizeVarint64(v int64) int {
	u := uint64(v)<<1 ^ uint64(v>>63)
	n := 1
	for u >= 0x80 {
		u >>= 7
		n++
	}
	return n
}

// shortVarintNone is what shortVarint says of an integer of more than two bytes.
const shortVarintNone = 4

// shortVarint reads an integer of one or two bytes from the lowest bytes of u and says how many it took.
func shortVarint(u uint64) (v, n int) {
	if u&0x80 == 0 {
		u &= 0x7f
		return int(u>>1) ^ -int(u&1), 1
	}
	n = 2 + int(u>>14&2) // 4 where the second byte says that more follow
	u = u&0x7f | u>>1&0x3f80
	return int(u>>1) ^ -int(u&1), n
}
