package compact

import (
	"encoding/binary"
	"math/bits"
)

// Seed keys the hash of record keys. It is random and stays in the process: who does not know it cannot make two keys
// that are taken for one, of which the cleaning would lose one.
type Seed [2]uint64

// sum is SipHash-2-4 with 128 bits of output (Aumasson and Bernstein).
func (s Seed) sum(key []byte) (lo, hi uint64) {
	v0 := s[0] ^ 0x736f6d6570736575
	v1 := s[1] ^ 0x646f72616e646f6d ^ 0xee
	v2 := s[0] ^ 0x6c7967656e657261
	v3 := s[1] ^ 0x7465646279746573
	last := uint64(len(key)) << 56
	for len(key) >= 8 {
		m := binary.LittleEndian.Uint64(key)
		v3 ^= m
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
		v0 ^= m
		key = key[8:]
	}
	for i, b := range key {
		last |= uint64(b) << (8 * i)
	}
	v3 ^= last
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0, v1, v2, v3 = round(v0, v1, v2, v3)
	v0 ^= last
	v2 ^= 0xee
	for range 4 {
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
	}
	lo = v0 ^ v1 ^ v2 ^ v3
	v1 ^= 0xdd
	for range 4 {
		v0, v1, v2, v3 = round(v0, v1, v2, v3)
	}
	return lo, v0 ^ v1 ^ v2 ^ v3
}

func round(v0, v1, v2, v3 uint64) (uint64, uint64, uint64, uint64) {
	v0 += v1
	v1 = bits.RotateLeft64(v1, 13) ^ v0
	v0 = bits.RotateLeft64(v0, 32)
	v2 += v3
	v3 = bits.RotateLeft64(v3, 16) ^ v2
	v0 += v3
	v3 = bits.RotateLeft64(v3, 21) ^ v0
	v2 += v1
	v1 = bits.RotateLeft64(v1, 17) ^ v2
	v2 = bits.RotateLeft64(v2, 32)
	return v0, v1, v2, v3
}
