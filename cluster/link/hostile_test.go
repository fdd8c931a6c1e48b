package link

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"
)

// wire is a connection whose input is fixed, and whose output is kept.
type wire struct {
	in  io.Reader
	out bytes.Buffer
}

func (w *wire) Read(p []byte) (int, error)       { return w.in.Read(p) }
func (w *wire) Write(p []byte) (int, error)      { return w.out.Write(p) }
func (w *wire) Close() error                     { return nil }
func (w *wire) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (w *wire) RemoteAddr() net.Addr             { return &net.TCPAddr{} }
func (w *wire) SetDeadline(time.Time) error      { return nil }
func (w *wire) SetReadDeadline(time.Time) error  { return nil }
func (w *wire) SetWriteDeadline(time.Time) error { return nil }

// allocated is how much f allocates.
func allocated(f func()) int64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int64(after.TotalAlloc - before.TotalAlloc)
}

func FuzzFrames(f *testing.F) {
	o := newOutbox()
	for _, fr := range []frame{
		callFrame(1, "method", []byte("body")), replyFrame(1, nil), failureFrame(1, 41, "text"), cancelFrame(1),
		messageFrame("kind", []byte("body")), clockFrame(framePing, 1),
	} {
		o.put(fr)
	}
	var all []byte
	for n := -1; n != len(all); {
		n = len(all)
		all = o.take(all)
	}
	f.Add(all)
	f.Add([]byte{0, 0, 0, 3, framePart, frameMessage, 1, 0, 0, 0, 3, frameLast, 'm', 'b'})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var budget atomic.Int64
		budget.Store(1 << 20)
		in := inbox{r: bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(b)), 16), budget: &budget}
		total := 0
		spent := allocated(func() {
			for {
				_, rest, err := in.next()
				if err != nil {
					break
				}
				total += len(rest)
				_, _, _ = named(rest)
			}
		})
		in.release()
		if budget.Load() != 1<<20 || total > len(b) {
			t.Errorf("%d bytes of budget are left, %d bytes were made of %d", budget.Load(), total, len(b))
		}
		if most := int64(4*len(b) + 3*frameBytesMax); spent > most {
			t.Errorf("%d bytes made it allocate %d", len(b), spent)
		}
	})
}

func FuzzHandshake(f *testing.F) {
	me := Peer{Process: 1, ClusterID: "C", Addr: "a:1"}
	f.Add(append(preface(modePlain, nil), lengthed(Peer{Process: 2, ClusterID: "C"}.hello())...), false)
	f.Add(preface(modeNoise, make([]byte, 48)), true)
	f.Add(append(preface(modePlain, nil), append([]byte{1}, lengthed(Peer{Process: 2}.hello())...)...), false)
	f.Add(preface(modeRefused, []byte("kwhy")), true)
	f.Add([]byte("GET / HTTP/1.1\r\n"), false)
	psk, err := presharedKey(make([]byte, 16))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte, sealed bool) {
		var key []byte
		if sealed {
			key = psk
		}
		var err error
		if spent := allocated(func() {
			_, _, err = welcome(&wire{in: bytes.NewReader(b)}, key, me)
			_, _, _ = hail(&wire{in: bytes.NewReader(b)}, "a:1", key, me)
		}); spent > 256<<10 {
			t.Errorf("%d bytes made it allocate %d", len(b), spent)
		}
		if sealed && err == nil {
			t.Error("a stranger shook hands without the key")
		}
	})
}

// raw is a connection that has shaken hands by hand.
func raw(t *testing.T, l *Link) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", l.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	out, _, err := hail(c, l.Addr(), l.psk, Peer{Process: 99, purpose: purposeCalls, clock: time.Now()})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestHostileFramesCostTheConnection(t *testing.T) {
	l := listen(t, Config{})
	l.Handle("echo", echo)
	for name, b := range map[string][]byte{
		"too long":        {0x7f, 0xff, 0xff, 0xff, frameCall},
		"empty":           {0, 0, 0, 0, frameCall},
		"without an id":   {0, 0, 0, 3, frameCall, 0, 0},
		"name ends early": {0, 0, 0, 11, frameCall, 0, 0, 0, 0, 0, 0, 0, 1, 200, 'x'},
		"parts of parts":  {0, 0, 0, 2, frameLast, framePart},
		"nothing in all":  {0, 0, 0, 1, frameLast},
	} {
		c := raw(t, l)
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
		if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) && !hangUp(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a := listen(t, Config{})
	if _, err := a.Call(t.Context(), l.Addr(), "echo", nil); err != nil {
		t.Error(err)
	}
}

// What waits for one that reads nothing is bounded, and taking it makes room. A connection whose answers find none is closed.
func TestWhatWaitsForAPeerIsBounded(t *testing.T) {
	for _, c := range []struct{ bytes, bytesMax, want int }{
		{1000, 10_000, 9}, {1 << 20, 10 << 20, 9}, {BodyBytesMax, outboxBytesMax, 1}, {BodyBytesMax, repliesBytesMax, 3},
	} {
		o := newOutbox()
		f := replyFrame(1, make([]byte, c.bytes))
		fill := func() (n int) {
			for o.putWithin(f, c.bytesMax) && n <= c.want {
				n++
			}
			return n
		}
		if n := fill(); n != c.want {
			t.Errorf("%d answers of %d bytes wait where %d may", n, c.bytes, c.bytesMax)
		}
		for before := len(o.small) + len(o.large); len(o.small)+len(o.large) == before; {
			o.take(nil)
		}
		if fill() == 0 {
			t.Errorf("of %d bytes: no room after one was taken", c.bytes)
		}
	}
	l := listen(t, Config{})
	l.Handle("big", func(context.Context, Peer, []byte) ([]byte, error) { return make([]byte, BodyBytesMax), nil })
	c := raw(t, l)
	eventually(t, "it is taken", func() bool { return l.inbound.Load() == 1 })
	for id := range uint64(8) {
		f := callFrame(id, "big", nil)
		b := binary.BigEndian.AppendUint32(nil, uint32(f.bytes()))
		if _, err := c.Write(append(b, f.head...)); err != nil {
			break
		}
	}
	eventually(t, "it is cut off", func() bool { return l.inbound.Load() == 0 })
}

// A stranger cannot hold the port by connections that say nothing.
func TestSilentConnectionsAreBounded(t *testing.T) {
	l := listen(t, Config{})
	l.Handle("echo", echo)
	var conns []net.Conn
	for range handshakesMax + 20 {
		c, err := net.Dial("tcp", l.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		conns = append(conns, c)
	}
	last := conns[len(conns)-1]
	_ = last.SetReadDeadline(time.Now().Add(time.Minute))
	if _, err := last.Read(make([]byte, 1)); !hangUp(err) {
		t.Errorf("one more than %d is kept: %v", handshakesMax, err)
	}
	_ = conns[0].SetReadDeadline(time.Now().Add(time.Millisecond))
	if _, err := conns[0].Read(make([]byte, 1)); hangUp(err) {
		t.Error("the last was closed only as the first was, when its time was up")
	}
	_ = conns[0].Close()
	a := listen(t, Config{})
	eventually(t, "a broker finds room", func() bool {
		_, err := a.Call(t.Context(), l.Addr(), "echo", nil)
		return err == nil
	})
}
