package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

const testFrameMax = 100 << 20

func framed(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

func TestFramesArriveWholeHoweverTheyAreCut(t *testing.T) {
	sizes := []int{1, 2, 3, 100, 4091, 4092, 4093, 4096, 4097, 65535, 65536, 65537, 131072, 200_000, 1, 1 << 20, 3 << 20, 7, 5 << 20, 40}
	var stream []byte
	for _, n := range sizes {
		stream = append(stream, framed(pattern(n))...)
	}
	readers := map[string]io.Reader{
		"whole":     bytes.NewReader(stream),
		"halves":    iotest.HalfReader(bytes.NewReader(stream)),
		"with EOF":  iotest.DataErrReader(bytes.NewReader(stream)),
		"by bytes":  iotest.OneByteReader(bytes.NewReader(stream)),
		"by 1000":   &chunks{bytes.NewReader(stream), 1000},
		"by 70_000": &chunks{bytes.NewReader(stream), 70_000},
	}
	for name, r := range readers {
		f := NewFrameReader(r)
		var held []*Frame
		for i, n := range sizes {
			frame, err := f.Next(testFrameMax)
			if err != nil {
				t.Fatalf("%s, frame %d: %v", name, i, err)
			}
			if len(frame.Bytes) != n {
				t.Fatalf("%s, frame %d: %d bytes, want %d", name, i, len(frame.Bytes), n)
			}
			held = append(held, frame)
			if i%3 == 2 { // two frames stay out while others come and go
				held[0].Release()
				held = held[1:]
			}
			for _, h := range held {
				if !bytes.Equal(h.Bytes, pattern(len(h.Bytes))) {
					t.Fatalf("%s: a frame of %d bytes changed", name, len(h.Bytes))
				}
			}
		}
		if _, err := f.Next(testFrameMax); err != io.EOF {
			t.Errorf("%s: at the end: %v", name, err)
		}
		for _, h := range held {
			h.Release()
		}
	}
}

// chunks gives at most n bytes a read.
type chunks struct {
	r io.Reader
	n int
}

func (c *chunks) Read(p []byte) (int, error) { return c.r.Read(p[:min(len(p), c.n)]) }

func TestRule001_SizesThatAreNotAllowed(t *testing.T) {
	for _, c := range []struct {
		in   string
		hint string
	}{
		{"\x00\x00\x00\x00", ""},
		{"\xff\xff\xff\xff", ""},
		{"\x80\x00\x00\x00", ""},
		{"\x7f\xff\xff\xff", ""},
		{"\x00\x00\x04\x01", ""}, // one above the limit
		{"\x16\x03\x01\x02\x00\x01", "TLS"},
		{"GET / HTTP/1.1\r\n", "HTTP"},
	} {
		_, err := NewFrameReader(strings.NewReader(c.in)).Next(1024)
		var size *FrameSizeError
		if !errors.As(err, &size) || !errors.Is(err, InvalidRequest) || !strings.Contains(err.Error(), c.hint) {
			t.Errorf("%q: %v", c.in, err)
		}
	}
	if _, err := NewFrameReader(bytes.NewReader(framed(pattern(1024)))).Next(1024); err != nil {
		t.Errorf("a frame of exactly the limit: %v", err)
	}
}

func TestConnectionsThatEndInsideAFrame(t *testing.T) {
	whole := framed(pattern(200_000))
	for _, cut := range []int{1, 3, 4, 5, 4096, 70_000, len(whole) - 1} {
		if _, err := NewFrameReader(bytes.NewReader(whole[:cut])).Next(testFrameMax); !errors.Is(err, ErrFrameCut) {
			t.Errorf("cut at %d: %v", cut, err)
		}
	}
	if _, err := NewFrameReader(iotest.ErrReader(io.ErrClosedPipe)).Next(1); err != io.ErrClosedPipe {
		t.Errorf("an error of the connection became %v", err)
	}
}

// TestC14: four bytes that declare 100 MiB take 64 KiB, and what follows takes in proportion to what has arrived.
func TestC14_MemoryFollowsTheBytesThatArrived(t *testing.T) {
	for _, sent := range []int{0, 1000, 64 << 10, 1 << 20, 10 << 20} {
		stream := append([]byte{0x06, 0x40, 0, 0}, pattern(sent)...)
		got := allocated(func() {
			if _, err := NewFrameReader(bytes.NewReader(stream)).Next(testFrameMax); !errors.Is(err, ErrFrameCut) {
				t.Error(err)
			}
		})
		if limit := 6*sent + 128<<10; got > limit { // 2 times is held at most, 4 times is what doubling adds up to
			t.Errorf("after %d bytes %d were allocated", sent, got)
		}
	}
}

func TestAFrameReaderTrustsWhatItHasSeen(t *testing.T) {
	f := NewFrameReader(&endless{frame: framed(pattern(1 << 20))})
	next := func() {
		frame, err := f.Next(testFrameMax)
		if err != nil {
			t.Fatal(err)
		}
		frame.Release()
	}
	next()
	if got := allocated(next); got > 2<<20 {
		t.Errorf("the second frame of 1 MiB allocated %d bytes: it grew step by step", got)
	}
	f = NewFrameReader(&endless{frame: framed(pattern(50 << 20))})
	next()
	if f.trusted > frameTrustMax {
		t.Errorf("%d bytes are trusted", f.trusted)
	}
}

// endless repeats a frame.
type endless struct {
	frame []byte
	at    int
}

func (e *endless) Read(p []byte) (int, error) {
	n := copy(p, e.frame[e.at:])
	e.at = (e.at + n) % len(e.frame)
	return n, nil
}

func TestOnReadIsToldHowFarAFrameIs(t *testing.T) {
	stream := append(framed(pattern(10)), framed(pattern(9000))...)
	f := NewFrameReader(&chunks{bytes.NewReader(stream), 3000})
	type step struct{ received, total int }
	var got []step
	f.OnRead = func(received, total int) error {
		got = append(got, step{received, total})
		return nil
	}
	for range 2 {
		if _, err := f.Next(testFrameMax); err != nil {
			t.Fatal(err)
		}
	}
	want := []step{{0, 0}, {2986, 9004}, {5986, 9004}, {8986, 9004}}
	if len(got) != len(want) {
		t.Fatalf("%v, want %v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("step %d: %v, want %v", i, got[i], want[i])
		}
	}
	f.OnRead = func(int, int) error { return io.ErrNoProgress }
	if _, err := f.Next(testFrameMax); err != io.ErrNoProgress {
		t.Errorf("an error of OnRead became %v", err)
	}
}

func TestAFrameIsReleasedOnce(t *testing.T) {
	frame, err := NewFrameReader(bytes.NewReader(framed([]byte("x")))).Next(10)
	if err != nil {
		t.Fatal(err)
	}
	frame.Release()
	defer func() {
		if recover() == nil {
			t.Error("the second release passed")
		}
	}()
	frame.Release()
}

func TestPoolClassesFit(t *testing.T) {
	last := 0
	for n := 1; n <= poolMaxBytes+1; n += 1 + n/100 {
		class, size := classOf(n)
		if size < n || n > poolMinBytes && size > n+n/4 && class != poolNoClass {
			t.Fatalf("%d bytes get %d", n, size)
		}
		if class == poolNoClass {
			continue
		}
		if class < last || class >= poolClasses {
			t.Fatalf("%d bytes: class %d after %d", n, class, last)
		}
		last = class
		if again, same := classOf(size); again != class || same != size {
			t.Fatalf("class %d of %d bytes holds %d, whose class is %d", class, n, size, again)
		}
	}
	if class, _ := classOf(poolMaxBytes); class != poolClasses-1 {
		t.Errorf("the largest class is %d of %d", class, poolClasses)
	}
	if class, _ := classOf(poolMaxBytes + 1); class != poolNoClass {
		t.Errorf("%d bytes are pooled", poolMaxBytes+1)
	}
}

func TestIdleConnectionsAreCheap(t *testing.T) {
	if got := allocated(func() { NewFrameReader(nil) }); got > 8<<10 {
		t.Errorf("%d bytes", got)
	}
}
