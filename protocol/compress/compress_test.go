package compress_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"moldau.io/moldau/protocol/compress"
)

var codecs = []compress.Codec{compress.None, compress.Gzip, compress.Snappy, compress.LZ4, compress.Zstd}

func pack(t testing.TB, c compress.Codec, level int, plain []byte) []byte {
	t.Helper()
	e := compress.NewEncoder()
	if err := e.Reset([]byte("head"), c, level); err != nil {
		t.Fatal(err)
	}
	for rest := plain; len(rest) > 0; {
		n, err := e.Write(rest[:min(len(rest), 10_000)])
		if err != nil {
			t.Fatal(err)
		}
		rest = rest[n:]
	}
	out, err := e.Close()
	if err != nil || string(out[:4]) != "head" {
		t.Fatal(err, out[:4])
	}
	return out[4:]
}

func unpack(c compress.Codec, packed []byte, limit int64) ([]byte, error) {
	d := compress.TakeDecoder()
	defer d.Release()
	if err := d.Reset(c, packed, limit); err != nil {
		return nil, err
	}
	return io.ReadAll(d)
}

// text is compressible, noise is not.
func text(n int) []byte { return bytes.Repeat([]byte("the moldau floats logs to prague "), n/33+1)[:n] }

func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

func TestRoundTrip(t *testing.T) {
	for _, c := range codecs {
		for _, level := range []int{compress.DefaultLevel, 1, 3, 9, 12, 22, -5} {
			for _, n := range []int{0, 1, 100, 32 << 10, 100_000, 9 << 20} {
				if n > 1<<20 && level != compress.DefaultLevel {
					continue
				}
				for _, plain := range [][]byte{text(n), noise(n)} {
					packed := pack(t, c, level, plain)
					got, err := unpack(c, packed, int64(n))
					if err != nil || !bytes.Equal(got, plain) {
						t.Fatalf("%v level %d, %d bytes: %d bytes, %v", c, level, n, len(got), err)
					}
				}
			}
		}
	}
}

func TestOutputIsCutAtTheLimit(t *testing.T) {
	for _, c := range codecs {
		packed := pack(t, c, compress.DefaultLevel, text(100_000))
		for _, limit := range []int64{0, 1, 99_999} {
			got, err := unpack(c, packed, limit)
			if !errors.Is(err, compress.ErrLimit) || int64(len(got)) > limit {
				t.Errorf("%v, limit %d: %d bytes, %v", c, limit, len(got), err)
			}
		}
	}
}

func TestEveryTruncationIsAnError(t *testing.T) {
	for _, c := range codecs[1:] {
		plain := noise(50_000)
		packed := pack(t, c, compress.DefaultLevel, plain)
		for n := 0; n < len(packed); n += 97 {
			got, err := unpack(c, packed[:n], 1<<20)
			if err == nil && len(got) == len(plain) {
				t.Errorf("%v cut to %d of %d bytes gave everything", c, n, len(packed))
			}
			var corrupt *compress.CorruptError
			if err != nil && !errors.As(err, &corrupt) {
				t.Errorf("%v cut to %d: %v", c, n, err)
			}
		}
	}
}

func TestCodecsThatDoNotExist(t *testing.T) {
	for c := compress.Codec(5); c < 8; c++ {
		var corrupt *compress.CorruptError
		if _, err := unpack(c, []byte{1}, 100); !errors.As(err, &corrupt) {
			t.Errorf("%v: %v", c, err)
		}
		if err := compress.NewEncoder().Reset(nil, c, 0); err == nil {
			t.Errorf("%v can be written", c)
		}
	}
}

func TestC41_BothXerialByteOrdersAndRawSnappyAreRead(t *testing.T) {
	plain := text(70_000)
	xerial := pack(t, compress.Snappy, compress.DefaultLevel, plain)
	if !bytes.HasPrefix(xerial, []byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01")) {
		t.Fatalf("the header is % x", xerial[:16])
	}
	little := bytes.Clone(xerial)
	binary.LittleEndian.PutUint32(little[8:], 1)
	binary.LittleEndian.PutUint32(little[12:], 1)
	// The first chunk of the framing is a raw block of 32 KiB.
	raw := xerial[20 : 20+binary.BigEndian.Uint32(xerial[16:])]
	twice := append(bytes.Clone(xerial), xerial...)
	for name, x := range map[string]struct{ packed, plain []byte }{
		"big endian": {xerial, plain}, "little endian": {little, plain}, "raw": {raw, plain[:32<<10]},
		"two streams": {twice, append(bytes.Clone(plain), plain...)},
	} {
		if got, err := unpack(compress.Snappy, x.packed, 1<<20); err != nil || !bytes.Equal(got, x.plain) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}
