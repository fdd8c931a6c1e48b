package broker

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

// wire is a broker without data whose handlers a test brings, behind a real socket.
type wire struct {
	*testing.T
	b    *Broker
	addr string
	logs *syncBuffer
}

type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func newWire(t *testing.T, hs map[int16]handler, settings map[string]string) *wire {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	st, _, err := config.NewStatic(config.Layer{Origin: "test", Values: settings})
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{T: t, logs: &syncBuffer{}}
	w.b = newBroker(st, slog.New(slog.NewTextHandler(w.logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	w.b.handlers = hs
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w.addr = ln.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { _ = w.b.server.accept(ctx, ln, "PLAINTEXT") })
	wg.Go(func() { w.b.server.sweep(ctx) })
	t.Cleanup(func() {
		cancel()
		_ = ln.Close()
		w.b.server.stop()
		wg.Wait()
		goleak.VerifyNone(t, leaks)
		if used := w.b.budget.inUse(); used != 0 {
			t.Errorf("%d bytes of the budget were never given back", used)
		}
	})
	return w
}

func (w *wire) dial() net.Conn {
	w.Helper()
	nc, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.Fatal(err)
	}
	w.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return nc
}

// frame encodes a request, at the highest version, with its size.
func frame(correlation int32, req kmsg.Request) []byte {
	if api, ok := protocol.Lookup(req.Key()); ok {
		req.SetVersion(api.Max)
	}
	f := kmsg.NewRequestFormatter(kmsg.FormatterClientID("test"))
	return f.AppendRequest(nil, req, correlation)
}

func (w *wire) send(nc net.Conn, b []byte) {
	w.Helper()
	if _, err := nc.Write(b); err != nil {
		w.Fatal(err)
	}
}

// recv reads one answer and returns its correlation id.
func (w *wire) recv(nc net.Conn) int32 {
	w.Helper()
	id, err := readAnswer(nc)
	if err != nil {
		w.Fatalf("no answer: %v\n%s", err, w.logs)
	}
	return id
}

func readAnswer(nc net.Conn) (int32, error) {
	var head [8]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		return 0, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if _, err := io.CopyN(io.Discard, nc, int64(size)-4); err != nil {
		return 0, err
	}
	return int32(binary.BigEndian.Uint32(head[4:])), nil
}

// recvEnd expects the connection to end with nothing more sent.
func (w *wire) recvEnd(nc net.Conn) {
	w.Helper()
	n, err := nc.Read(make([]byte, 1))
	if n != 0 || err == nil {
		w.Fatalf("the connection is still open, %d bytes came", n)
	}
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		w.Fatalf("the connection is still open: %v\n%s", err, w.logs)
	}
}

func answerHeartbeat(_ *Broker, r *request) { r.Reply(kmsg.NewPtrHeartbeatResponse()) }

const keyHeartbeat = 12

func heartbeat(correlation int32) []byte { return frame(correlation, kmsg.NewPtrHeartbeatRequest()) }

func TestC9_AnswersLeaveInTheOrderOfTheRequests(t *testing.T) {
	var mu sync.Mutex
	var waiting []*request
	w := newWire(t, map[int16]handler{keyHeartbeat: func(_ *Broker, r *request) {
		mu.Lock()
		defer mu.Unlock()
		waiting = append(waiting, r)
		if len(waiting) < 20 {
			return
		}
		for _, r := range waiting[1:] { // the first one is answered last, from another goroutine
			r.Reply(kmsg.NewPtrHeartbeatResponse())
		}
		go waiting[0].Reply(kmsg.NewPtrHeartbeatResponse())
	}}, nil)
	nc := w.dial()
	var all []byte
	for i := range int32(20) {
		all = append(all, heartbeat(i)...)
	}
	w.send(nc, all)
	for i := range int32(20) {
		if got := w.recv(nc); got != i {
			t.Fatalf("answer %d came in place of answer %d", got, i)
		}
	}
}

func TestC10_ARequestWithoutAnAnswerTakesNoPlace(t *testing.T) {
	w := newWire(t, map[int16]handler{
		keyHeartbeat: answerHeartbeat,
		13:           func(_ *Broker, r *request) { r.NoReply() },
	}, nil)
	nc := w.dial()
	var all []byte
	for i := range int32(200) {
		all = append(all, frame(1000+i, kmsg.NewPtrLeaveGroupRequest())...)
		all = append(all, heartbeat(i)...)
	}
	go func() { _, _ = nc.Write(all) }()
	for i := range int32(200) {
		if got := w.recv(nc); got != i {
			t.Fatalf("answer %d came in place of answer %d", got, i)
		}
	}
}

func TestRule001_WhatCannotBeReadEndsTheConnectionBehindTheAnswersDue(t *testing.T) {
	unknownKey := heartbeat(9)
	binary.BigEndian.PutUint16(unknownKey[4:], 999)
	oldVersion := heartbeat(9)
	binary.BigEndian.PutUint16(oldVersion[6:], 99)
	negative := binary.BigEndian.AppendUint32(nil, 0xffffffff)
	huge := binary.BigEndian.AppendUint32(nil, 0x7fffffff)
	zero := binary.BigEndian.AppendUint32(nil, 0)
	short := heartbeat(9)
	short = short[:len(short)-2]
	binary.BigEndian.PutUint32(short, uint32(len(short)-4))
	above := binary.BigEndian.AppendUint32(nil, 1<<20+1)
	controllers := heartbeat(9)
	binary.BigEndian.PutUint16(controllers[4:], 52) // Vote
	for name, bad := range map[string][]byte{
		"unknown key": unknownKey, "unsupported version": oldVersion, "negative size": negative, "huge size": huge,
		"size zero": zero, "body cut short": short, "above the limit": above, "an API of controllers": controllers,
		"http": []byte("GET / HTTP/1.1\r\n\r\n"), "tls": {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3},
	} {
		t.Run(name, func(t *testing.T) {
			var late *request
			w := newWire(t, map[int16]handler{
				keyHeartbeat: answerHeartbeat,
				13:           func(_ *Broker, r *request) { late = r; go late.Reply(kmsg.NewPtrLeaveGroupResponse()) },
			}, map[string]string{"socket.request.max.bytes": "1048576"})
			other := w.dial()
			nc := w.dial()
			w.send(nc, append(append(frame(1, kmsg.NewPtrLeaveGroupRequest()), heartbeat(2)...), bad...))
			for want := int32(1); want <= 2; want++ {
				if got := w.recv(nc); got != want {
					t.Fatalf("answer %d, want %d", got, want)
				}
			}
			w.recvEnd(nc)
			w.send(other, heartbeat(3)) // nobody else is disturbed
			w.recv(other)
		})
	}
}

func TestRule002_ApiVersionsOfAnUnknownVersionIsAnsweredAtVersion0(t *testing.T) {
	w := newWire(t, map[int16]handler{keyHeartbeat: answerHeartbeat}, nil)
	nc := w.dial()
	for _, version := range []uint16{6, 127, 32767} {
		b := frame(7, kmsg.NewPtrApiVersionsRequest())
		binary.BigEndian.PutUint16(b[6:], version)
		w.send(nc, b)
		var size [4]byte
		if _, err := io.ReadFull(nc, size[:]); err != nil {
			t.Fatal(err)
		}
		body := make([]byte, binary.BigEndian.Uint32(size[:]))
		if _, err := io.ReadFull(nc, body); err != nil {
			t.Fatal(err)
		}
		var resp kmsg.ApiVersionsResponse
		if err := resp.ReadFrom(body[4:]); err != nil {
			t.Fatal(err)
		}
		if resp.ErrorCode != 35 || len(resp.ApiKeys) != 1 || resp.ApiKeys[0].ApiKey != 18 {
			t.Errorf("version %d: %+v", version, resp)
		}
	}
	w.send(nc, heartbeat(8))
	if got := w.recv(nc); got != 8 {
		t.Errorf("answer %d", got)
	}
}

func TestAPanicCostsOneConnection(t *testing.T) {
	w := newWire(t, map[int16]handler{
		keyHeartbeat: answerHeartbeat,
		13:           func(*Broker, *request) { panic("a bug") },
	}, nil)
	other, nc := w.dial(), w.dial()
	w.send(nc, frame(1, kmsg.NewPtrLeaveGroupRequest()))
	w.recvEnd(nc)
	w.send(other, heartbeat(2))
	w.recv(other)
	if !bytes.Contains([]byte(w.logs.String()), []byte("a bug")) {
		t.Error("the panic was not logged")
	}
}

func TestALargeFrameArrivesInPieces(t *testing.T) {
	var got int
	w := newWire(t, map[int16]handler{keyHeartbeat: func(_ *Broker, r *request) {
		answerHeartbeat(nil, r)
	}, 19: func(_ *Broker, r *request) {
		got = len(r.msg.(*kmsg.CreateTopicsRequest).Topics)
		r.Reply(kmsg.NewPtrCreateTopicsResponse())
	}}, nil)
	nc := w.dial()
	req := kmsg.NewPtrCreateTopicsRequest()
	for range 20000 {
		topic := kmsg.NewCreateTopicsRequestTopic()
		topic.Topic = "a-topic-with-some-name"
		req.Topics = append(req.Topics, topic)
	}
	b := frame(1, req)
	if len(b) < 5*bufferBytesMin {
		t.Fatalf("%d bytes are too few for the test", len(b))
	}
	for range 3 {
		for rest := b; len(rest) > 0; {
			n := min(len(rest), 50_001)
			w.send(nc, rest[:n])
			rest = rest[n:]
		}
		w.send(nc, heartbeat(2)[:5])
		w.recv(nc)
		if got != 20000 {
			t.Fatalf("%d topics", got)
		}
		w.send(nc, heartbeat(2)[5:])
		w.recv(nc)
	}
}

func TestC139_ARequestLargerThanTheBudgetIsLetInAlone(t *testing.T) {
	w := newWire(t, map[int16]handler{19: func(_ *Broker, r *request) { r.Reply(kmsg.NewPtrCreateTopicsResponse()) }},
		map[string]string{"queued.max.request.bytes": "100000"})
	req := kmsg.NewPtrCreateTopicsRequest()
	topic := kmsg.NewCreateTopicsRequestTopic()
	for range 20 {
		topic.Topic = string(make([]byte, 30_000))
		req.Topics = append(req.Topics, topic)
	}
	b := frame(1, req)
	var wg sync.WaitGroup
	for range 4 {
		nc := w.dial()
		wg.Go(func() {
			for range 5 {
				if _, err := nc.Write(b); err != nil {
					t.Error(err)
					return
				}
				if _, err := readAnswer(nc); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestTheRequestsInFlightOfAConnectionAreBounded(t *testing.T) {
	var mu sync.Mutex
	var waiting []*request
	w := newWire(t, map[int16]handler{keyHeartbeat: func(_ *Broker, r *request) {
		mu.Lock()
		defer mu.Unlock()
		waiting = append(waiting, r)
	}}, nil)
	nc := w.dial()
	var all []byte
	for i := range int32(2 * inflightPerConn) {
		all = append(all, heartbeat(i)...)
	}
	w.send(nc, all)
	held := func() int { mu.Lock(); defer mu.Unlock(); return len(waiting) }
	for held() < inflightPerConn {
		time.Sleep(time.Millisecond)
	}
	for i := range int32(2 * inflightPerConn) {
		for held() <= int(i) {
			time.Sleep(time.Millisecond)
		}
		if held() > int(i)+inflightPerConn {
			t.Fatalf("%d requests are in flight", held()-int(i))
		}
		mu.Lock()
		r := waiting[i]
		mu.Unlock()
		r.Reply(kmsg.NewPtrHeartbeatResponse())
		if got := w.recv(nc); got != i {
			t.Fatalf("answer %d in place of %d", got, i)
		}
	}
}

type parkedTest struct {
	ready   chan struct{}
	dropped chan struct{}
}

func (p *parkedTest) resume(_ time.Time, last bool) *protocol.Response {
	select {
	case <-p.ready:
		return protocol.EncodeResponse(protocol.Header{CorrelationID: 1, Key: 12}, kmsg.NewPtrHeartbeatResponse())
	default:
		return nil
	}
}

func (p *parkedTest) drop() { close(p.dropped) }

func TestAParkedRequestIsAnsweredWhenWokenAndDroppedWhenTheClientGoes(t *testing.T) {
	p := &parkedTest{ready: make(chan struct{}), dropped: make(chan struct{})}
	parkedRequests := make(chan *request, 10)
	w := newWire(t, map[int16]handler{keyHeartbeat: func(_ *Broker, r *request) {
		r.Park(p)
		parkedRequests <- r
	}, 13: func(_ *Broker, r *request) { r.Reply(kmsg.NewPtrLeaveGroupResponse()) }}, nil)
	nc := w.dial()
	w.send(nc, append(heartbeat(1), frame(2, kmsg.NewPtrLeaveGroupRequest())...))
	r := <-parkedRequests
	r.wake() // without cause
	close(p.ready)
	r.wake()
	if got := w.recv(nc); got != 1 {
		t.Fatalf("answer %d", got)
	}
	if got := w.recv(nc); got != 2 {
		t.Fatalf("answer %d", got)
	}
	p = &parkedTest{ready: make(chan struct{}), dropped: make(chan struct{})}
	w.send(nc, heartbeat(3))
	<-parkedRequests
	_ = nc.(*net.TCPConn).SetLinger(0)
	_ = nc.Close()
	select {
	case <-p.dropped:
	case <-time.After(10 * time.Second):
		t.Fatal("the parked request is still there")
	}
}

func TestConnectionLimits(t *testing.T) {
	w := newWire(t, map[int16]handler{keyHeartbeat: answerHeartbeat}, map[string]string{"max.connections.per.ip": "2"})
	a, b := w.dial(), w.dial()
	for i, nc := range []net.Conn{a, b} {
		w.send(nc, heartbeat(int32(i)))
		w.recv(nc)
	}
	w.recvEnd(w.dial())
	_ = a.Close()
	for w.b.server.count() > 1 {
		time.Sleep(time.Millisecond)
	}
	c := w.dial()
	w.send(c, heartbeat(1))
	w.recv(c)
}

func TestC121_AnIdleConnectionIsClosed(t *testing.T) {
	w := newWire(t, map[int16]handler{keyHeartbeat: answerHeartbeat}, map[string]string{"connections.max.idle.ms": "100"})
	nc := w.dial()
	w.send(nc, heartbeat(1))
	w.recv(nc)
	w.recvEnd(nc)
}

func TestWhatMovesTooSlowlyIsOverdue(t *testing.T) {
	c := &conn{}
	sec := int64(time.Second)
	c.frameSince.Store(1)
	c.frameBytes.Store(100)
	if got := c.overdue(29*sec, 0); got != "" {
		t.Errorf("after 29 s: %q", got)
	}
	if got := c.overdue(31*sec, 0); got != overdueFrame {
		t.Errorf("half a frame after 31 s: %q", got)
	}
	c.frameBytes.Store(60 * movingRate)
	if got := c.overdue(50*sec, 0); got != "" {
		t.Errorf("a frame that moves: %q", got)
	}
	c.frameSince.Store(0)
	c.sendSince.Store(1)
	if got := c.overdue(31*sec, 0); got != overdueSend {
		t.Errorf("an answer that is not read: %q", got)
	}
}

func TestASlowReaderDoesNotDisturbOthers(t *testing.T) {
	big := kmsg.NewPtrHeartbeatResponse()
	w := newWire(t, map[int16]handler{keyHeartbeat: answerHeartbeat, 13: func(_ *Broker, r *request) {
		_ = big
		go r.ReplyRaw(&protocol.Response{Head: make([]byte, 8<<20)})
	}}, nil)
	slow, other := w.dial(), w.dial()
	var all []byte
	for i := range int32(40) {
		all = append(all, frame(i, kmsg.NewPtrLeaveGroupRequest())...)
	}
	w.send(slow, all)
	for i := range int32(100) {
		w.send(other, heartbeat(i))
		if got := w.recv(other); got != i {
			t.Fatalf("answer %d", got)
		}
	}
}
