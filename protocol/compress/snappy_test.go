package compress_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/golang/snappy"

	"moldau.io/moldau/protocol/compress"
)

// TestC41_SnappyOfTheReferenceLibrary holds both framings to another implementation than the one that is used: raw blocks
// as librdkafka sends them are read, and each block of the xerial framing that is written is a block to it.
func TestC41_SnappyOfTheReferenceLibrary(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for _, size := range []int{0, 1, 100, 32 << 10, 32<<10 + 1, 300_000} {
		want := make([]byte, size)
		for i := range want {
			want[i] = "abcdefgh"[rng.IntN(8)]
		}
		d := compress.NewDecoder()
		if err := d.Reset(compress.Snappy, snappy.Encode(nil, want), int64(size)+1); err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(d); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes of a raw block: %d read, %v", size, len(got), err)
		}

		e := compress.NewEncoder()
		if err := e.Reset(nil, compress.Snappy, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := e.Write(want); err != nil {
			t.Fatal(err)
		}
		framed, err := e.Close()
		if err != nil {
			t.Fatal(err)
		}
		if got := unframe(t, framed); !bytes.Equal(got, want) {
			t.Fatalf("%d bytes framed: the reference library reads %d", size, len(got))
		}
	}
}

// unframe reads the xerial framing: a header of 16 bytes, then blocks behind their big-endian sizes.
func unframe(t *testing.T, b []byte) (out []byte) {
	t.Helper()
	for b = b[16:]; len(b) > 0; {
		n := binary.BigEndian.Uint32(b)
		block, err := snappy.Decode(nil, b[4:4+n])
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, block...)
		b = b[4+n:]
	}
	return out
}
