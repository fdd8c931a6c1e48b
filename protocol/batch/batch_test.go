package batch_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

var codecs = []compress.Codec{compress.None, compress.Gzip, compress.Snappy, compress.LZ4, compress.Zstd}

// build makes a batch of n records with keys k0, k1, ..., values of valueBytes, timestamps 1000, 1001, ... and a header.
func build(o batch.BuilderOptions, n, valueBytes int) batch.Batch {
	b := batch.NewBuilder(o)
	for i := range n {
		value := []byte(strings.Repeat(fmt.Sprintf("v%d ", i), valueBytes/3+1))[:valueBytes]
		b.Add(int64(1000+i), fmt.Appendf(nil, "k%d", i), value, batch.Header{Key: "h", Value: []byte{byte(i)}})
	}
	return b.Build()
}

func TestBuildThenWalk(t *testing.T) {
	for _, c := range codecs {
		for _, n := range []int{1, 3, 1000} {
			for _, size := range []int{0, 10, 100_000 / n} {
				t.Run(fmt.Sprintf("%v/%d/%d", c, n, size), func(t *testing.T) {
					b := build(batch.BuilderOptions{Codec: c, Base: 7, LeaderEpoch: 3}, n, size)
					first, rest, err := batch.Next(b)
					if err != nil || len(rest) != 0 || !bytes.Equal(first, b) {
						t.Fatalf("Next: %d bytes, %d left, %v", len(first), len(rest), err)
					}
					if !b.CheckCRC() || b.BaseOffset() != 7 || b.LastOffset() != protocol.Offset(6+n) || b.LeaderEpoch() != 3 ||
						b.Codec() != c || b.Count() != int32(n) || b.MaxTimestamp() != int64(999+n) || b.BaseTimestamp() != 1000 ||
						b.HasProducer() || b.BaseSequence() != -1 || b.LastSequence() != -1 || b.Magic() != 2 {
						t.Fatalf("wrong header % x", b[:batch.HeaderBytes])
					}
					i := 0
					for r, err := range b.Records(nil) {
						if err != nil {
							t.Fatal(err)
						}
						if string(r.Key) != fmt.Sprintf("k%d", i) || len(r.Value) != size || r.OffsetDelta != int32(i) ||
							b.Timestamp(r) != int64(1000+i) || r.Headers.Len() != 1 {
							t.Fatalf("record %d is %+v", i, r)
						}
						for k, v := range r.Headers.All() {
							if string(k) != "h" || len(v) != 1 || v[0] != byte(i) {
								t.Fatalf("header %q %v", k, v)
							}
						}
						i++
					}
					if i != n {
						t.Fatalf("%d records", i)
					}
				})
			}
		}
	}
}

func TestNullAndEmptyAreNotTheSame(t *testing.T) {
	b := batch.NewBuilder(batch.BuilderOptions{})
	b.Add(-1, nil, []byte{}, batch.Header{Key: "", Value: nil}, batch.Header{Key: "x", Value: []byte{}})
	for r, err := range b.Build().Records(nil) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Key != nil || r.Value == nil {
			t.Fatalf("key %v, value %v", r.Key, r.Value)
		}
		var got []string
		for k, v := range r.Headers.All() {
			got = append(got, fmt.Sprintf("%q %v", k, v == nil))
		}
		if strings.Join(got, ",") != `"" true,"x" false` {
			t.Fatal(got)
		}
	}
}

func TestStampKeepsTheChecksum(t *testing.T) {
	b := build(batch.BuilderOptions{Producer: &batch.Producer{ID: 5, Epoch: 1, Sequence: 1<<31 - 2}}, 4, 10)
	b.Stamp(1<<40, 9)
	if !b.CheckCRC() || b.BaseOffset() != 1<<40 || b.LastOffset() != 1<<40+3 || b.LeaderEpoch() != 9 {
		t.Fatal("the stamp is wrong")
	}
	if b.LastSequence() != 1 {
		t.Fatalf("the last sequence is %d, after 2147483647 comes 0", b.LastSequence())
	}
	b[len(b)-1] ^= 1
	if b.CheckCRC() {
		t.Fatal("a flipped bit was not seen")
	}
}

func TestNext(t *testing.T) {
	b := build(batch.BuilderOptions{}, 2, 10)
	two := append(bytes.Clone(b), b...)
	first, rest, err := batch.Next(two)
	if err != nil || len(first) != len(b) || len(rest) != len(b) {
		t.Fatal(err)
	}
	for n := range len(b) {
		_, _, err := batch.Next(b[:n])
		want := io.ErrUnexpectedEOF
		if n == 0 {
			want = io.EOF
		}
		if !errors.Is(err, want) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	change := func(at int, v ...byte) []byte {
		c := bytes.Clone(b)
		copy(c[at:], v)
		return c
	}
	for _, x := range []struct {
		name string
		b    []byte
		code protocol.Code
	}{
		{"negative length", change(8, 0xff, 0xff, 0xff, 0xff), protocol.CorruptMessage},
		{"smallest length", change(8, 0x80, 0, 0, 0), protocol.CorruptMessage},
		{"length 13", change(8, 0, 0, 0, 13), protocol.CorruptMessage},
		{"length of less than a header", change(8, 0, 0, 0, 48), protocol.CorruptMessage},
		{"magic 3", change(16, 3), protocol.CorruptMessage},
		{"magic -1", change(16, 0xff), protocol.CorruptMessage},
		{"magic 1", change(16, 1), protocol.InvalidRecord},
		{"magic 0", change(16, 0), protocol.InvalidRecord},
	} {
		if _, _, err := batch.Next(x.b); protocol.CodeOf(err) != x.code {
			t.Errorf("%s: %v", x.name, err)
		}
	}
	if _, _, err := batch.Next(change(8, 0x7f, 0xff, 0xff, 0xff)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("length 2147483647: %v", err)
	}
}
