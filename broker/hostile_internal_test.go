package broker

import (
	"bytes"
	"encoding/binary"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

// declared is the beginning of a CreateTopics frame that says to be bytes long.
func declared(bytes int) []byte {
	b := frame(1, kmsg.NewPtrCreateTopicsRequest())[:12]
	binary.BigEndian.PutUint32(b, uint32(bytes))
	return b
}

func TestAFrameThatIsOnlyDeclaredTakesNoMemoryFromOthers(t *testing.T) {
	w := newWire(t, map[int16]handler{keyHeartbeat: answerHeartbeat},
		map[string]string{"queued.max.request.bytes": "8388608"})
	const liars = 50
	for range liars {
		w.send(w.dial(), declared(100<<20))
	}
	for w.b.budget.inUse() < liars*bufferBytesMin { // until all of them are being read
		time.Sleep(time.Millisecond)
	}
	nc := w.dial()
	_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
	w.send(nc, heartbeat(1))
	w.recv(nc)
}

// onlyConn is the one open connection of a broker.
func onlyConn(w *wire) *conn {
	for w.b.server.count() != 1 {
		time.Sleep(time.Millisecond)
	}
	return w.b.server.snapshot()[0]
}

func TestHalfAFrameBehindAWholeOneIsTimed(t *testing.T) {
	w := newWire(t, map[int16]handler{keyHeartbeat: answerHeartbeat}, nil)
	nc := w.dial()
	w.send(nc, append(heartbeat(1), declared(1000)...))
	w.recv(nc)
	c := onlyConn(w)
	for deadline := time.Now().Add(5 * time.Second); c.frameSince.Load() == 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the sweep does not see the half frame")
		}
	}
}

func TestTimeSpentWaitingForMemoryIsNotTheClients(t *testing.T) {
	w := newWire(t, map[int16]handler{keyHeartbeat: answerHeartbeat}, map[string]string{"queued.max.request.bytes": "100000"})
	nc := w.dial()
	w.send(nc, declared(1<<20))
	c := onlyConn(w)
	for c.frameSince.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	var elder share
	if _, err := w.b.budget.reserve(&elder, 200_000, nil); err != nil {
		t.Fatal(err)
	}
	w.send(nc, make([]byte, 100_000))
	for w.b.budget.waiting() == 0 {
		time.Sleep(time.Millisecond)
	}
	if since := c.frameSince.Load(); since != 0 {
		t.Errorf("the clock of the frame runs, since %d", since)
	}
	w.b.budget.release(&elder)
	for c.frameSince.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
}

// lookedAt is answered at once, and tells which goroutine looked at it first.
type lookedAt struct {
	r        *request
	first    bool // it was the next to be answered when it was parked
	byOthers *atomic.Int64
}

func (p *lookedAt) resume(time.Time, bool) *protocol.Response {
	if p.first && !bytes.Contains(debug.Stack(), []byte("(*conn).accept")) {
		p.byOthers.Add(1)
	}
	return protocol.EncodeResponse(protocol.Header{CorrelationID: p.r.header.CorrelationID, Key: 12},
		kmsg.NewPtrHeartbeatResponse())
}

func (p *lookedAt) drop() {}

// A handler whose request is the next to be answered may leave its body where it was read: the first look at it is the
// reader's, before it reads the next frame, also when the writing goroutine is kicked at that moment.
func TestTheFirstLookAtAParkedRequestComesBeforeTheNextFrame(t *testing.T) {
	var byOthers atomic.Int64
	var kicked sync.Once
	var others sync.WaitGroup
	w := newWire(t, map[int16]handler{keyHeartbeat: func(_ *Broker, r *request) {
		kicked.Do(func() {
			for range 4 {
				others.Go(func() { // what the writing goroutine does when it is kicked
					for r.ctx.Err() == nil {
						r.conn.flush()
					}
				})
			}
		})
		r.Park(&lookedAt{r: r, first: r.next(), byOthers: &byOthers})
	}}, nil)
	nc := w.dial()
	const n = 3_000
	go func() {
		for i := range int32(n) {
			if _, err := nc.Write(heartbeat(i)); err != nil {
				return
			}
		}
	}()
	for i := range int32(n) {
		if got := w.recv(nc); got != i {
			t.Fatalf("answer %d in place of %d", got, i)
		}
	}
	_ = nc.Close()
	others.Wait()
	if bad := byOthers.Load(); bad > 0 {
		t.Errorf("%d of %d requests were first looked at while the next frame was being read", bad, n)
	}
}
