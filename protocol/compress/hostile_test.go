package compress_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"

	"moldau.io/moldau/protocol/compress"
)

// rleFrame is a zstd frame that says window (its exponent) and holds blocks of 128 KiB of zeros in four bytes each.
func rleFrame(window byte, blocks int) []byte {
	b := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, window << 3}
	for i := range blocks {
		header := uint32(128<<10)<<3 | 1<<1
		if i == blocks-1 {
			header |= 1
		}
		b = append(b, byte(header), byte(header>>8), byte(header>>16), 0)
	}
	return b
}

// hostile are inputs that cost their decoders far more than their bytes, here or in libraries of the past.
func hostile() map[string]struct {
	codec compress.Codec
	b     []byte
} {
	xerial := []byte("\x82SNAPPY\x00\x00\x00\x00\x01\x00\x00\x00\x01")
	chunk := func(size uint32, b ...byte) []byte {
		return append(binary.BigEndian.AppendUint32(bytes.Clone(xerial), size), b...)
	}
	type in = struct {
		codec compress.Codec
		b     []byte
	}
	rle := rleFrame(10, 1)
	return map[string]in{
		"snappy of 1 GiB in nine bytes":      {compress.Snappy, []byte{0x80, 0x80, 0x80, 0x80, 4, 0, 0, 0, 0}},
		"snappy of 4 GiB":                    {compress.Snappy, []byte{0xff, 0xff, 0xff, 0xff, 0xf}},
		"xerial chunk of 1 GiB in nine":      {compress.Snappy, chunk(9, 0x80, 0x80, 0x80, 0x80, 4, 0, 0, 0, 0)},
		"xerial chunk size 2^31-1":           {compress.Snappy, chunk(1<<31-1, 0)},
		"xerial chunk size -1":               {compress.Snappy, chunk(1<<32-1, 0)},
		"xerial header alone":                {compress.Snappy, xerial},
		"xerial half a header":               {compress.Snappy, xerial[:11]},
		"xerial headers only":                {compress.Snappy, bytes.Repeat(xerial, 10_000)},
		"zstd window of 128 MiB":             {compress.Zstd, rleFrame(17, 1)},
		"zstd window of 2 GiB":               {compress.Zstd, rleFrame(21, 1)},
		"zstd window of 3.75 TiB":            {compress.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0, 0xff, 3, 0, 0}},
		"zstd bomb":                          {compress.Zstd, rleFrame(10, 10_000)},
		"zstd frames one after the other":    {compress.Zstd, bytes.Repeat(rle, 5000)},
		"zstd large windows one by one":      {compress.Zstd, bytes.Repeat(rleFrame(17, 1), 50)},
		"zstd single segment of 2^63":        {compress.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 0xe0, 255, 255, 255, 255, 255, 255, 255, 127, 1, 0, 0}},
		"zstd skippable frames":              {compress.Zstd, bytes.Repeat([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, 10_000)},
		"zstd skippable frame of 4 GiB":      {compress.Zstd, []byte{0x50, 0x2a, 0x4d, 0x18, 255, 255, 255, 255, 0}},
		"zstd dictionary":                    {compress.Zstd, []byte{0x28, 0xb5, 0x2f, 0xfd, 3, 0x58, 1, 2, 3, 4, 1, 0, 0}},
		"lz4 legacy frame":                   {compress.LZ4, []byte{0x02, 0x21, 0x4c, 0x18, 255, 255, 255, 127, 0}},
		"lz4 block of 2 GiB":                 {compress.LZ4, []byte{0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73, 255, 255, 255, 127}},
		"lz4 skippable":                      {compress.LZ4, bytes.Repeat([]byte{0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0}, 10_000)},
		"gzip members without content":       {compress.Gzip, bytes.Repeat(emptyGzip, 10_000)},
		"gzip with a name that does not end": {compress.Gzip, append([]byte{0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 0}, bytes.Repeat([]byte{'a'}, 100_000)...)},
		"gzip with an extra field of 64 KiB": {compress.Gzip, []byte{0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 0, 255, 255}},
	}
}

var emptyGzip = []byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1, 0, 0, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0}

func TestHostileInputCostsNoMemory(t *testing.T) {
	const limit = 1 << 20
	for name, x := range hostile() {
		t.Run(name, func(t *testing.T) {
			runtime.GC()
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			d := compress.NewDecoder()
			n := int64(0)
			err := d.Reset(x.codec, x.b, limit)
			if err == nil {
				n, err = io.Copy(io.Discard, d)
			}
			runtime.ReadMemStats(&after)
			d.Release()
			if n > limit {
				t.Errorf("%d bytes came out", n)
			}
			var corrupt *compress.CorruptError
			if err != nil && !errors.Is(err, compress.ErrLimit) && !errors.As(err, &corrupt) {
				t.Errorf("%T %v", err, err)
			}
			if cost := after.TotalAlloc - before.TotalAlloc; cost > 20<<20 {
				t.Errorf("%d bytes cost %d bytes of memory", len(x.b), cost)
			}
		})
	}
}

func TestLargeZstdWindows(t *testing.T) {
	// 9 MiB of output, of which the end refers back to the beginning: only a window above 8 MiB reads it.
	head := noise(64 << 10)
	plain := append(append(bytes.Clone(head), make([]byte, 9<<20)...), head...)
	packed := zstdWithWindow(t, plain, 16<<20)
	if got, err := unpack(compress.Zstd, packed, 100<<20); err != nil || !bytes.Equal(got, plain) {
		t.Fatalf("%d bytes of %d: %v", len(got), len(plain), err)
	}
	// A window of 16 MiB that is not needed.
	small := zstdWithWindow(t, head, 16<<20)
	if got, err := unpack(compress.Zstd, small, 100<<20); err != nil || !bytes.Equal(got, head) {
		t.Fatal(err)
	}
	// Both read again: the first took the only large window and must have given it back.
	if _, err := unpack(compress.Zstd, packed, 100<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := unpack(compress.Zstd, packed, 9<<20); !errors.Is(err, compress.ErrLimit) {
		t.Fatal(err)
	}
}

func FuzzDecoder(f *testing.F) {
	for _, c := range codecs {
		for _, n := range []int{0, 1, 1000, 70_000} {
			f.Add(int8(c), pack(f, c, compress.DefaultLevel, text(n)))
		}
	}
	for _, x := range hostile() {
		f.Add(int8(x.codec), x.b)
	}
	f.Fuzz(func(t *testing.T, c int8, b []byte) {
		const limit = 1 << 20
		got, err := unpack(compress.Codec(c), b, limit)
		if len(got) > limit {
			t.Fatalf("%d bytes", len(got))
		}
		var corrupt *compress.CorruptError
		if err != nil && !errors.Is(err, compress.ErrLimit) && !errors.As(err, &corrupt) {
			t.Fatalf("%T %v", err, err)
		}
		if err != nil || c < 0 || c > 4 {
			return
		}
		// What came out goes in and comes out again.
		again, err := unpack(compress.Codec(c), pack(t, compress.Codec(c), compress.DefaultLevel, got), limit)
		if err != nil || !bytes.Equal(again, got) {
			t.Fatal(err)
		}
	})
}
