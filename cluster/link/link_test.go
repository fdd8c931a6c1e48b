package link

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"moldau.io/moldau/protocol"
)

// logs keeps what was logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func listen(t *testing.T, cfg Config) *Link {
	t.Helper()
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	l, err := Listen(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func echo(_ context.Context, _ Peer, body []byte) ([]byte, error) { return body, nil }

func named1(name string) func() string { return func() string { return name } }

// keys are with which the same things must hold.
var keys = map[string][]byte{"without a key": nil, "with a key": bytes.Repeat([]byte{7}, 32)}

func TestCallsAreAnsweredAtOnce(t *testing.T) {
	for name, key := range keys {
		t.Run(name, func(t *testing.T) {
			defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
			a := listen(t, Config{Key: key, Name: named1("1"), ClusterID: named1("C")})
			b := listen(t, Config{Key: key, Name: named1("2"), ClusterID: named1("C"), Build: "9.9"})
			gate := make(chan struct{})
			b.Handle("slow", func(ctx context.Context, from Peer, body []byte) ([]byte, error) {
				<-gate
				return append([]byte(from.Name+" "), body...), nil
			})
			b.Handle("echo", echo)
			b.Handle("bad", func(context.Context, Peer, []byte) ([]byte, error) {
				return nil, fmt.Errorf("asked the wrong one: %w", protocol.NotController)
			})
			var wg sync.WaitGroup
			var slow atomic.Int64
			for range 50 {
				wg.Go(func() {
					got, err := a.Call(t.Context(), b.Addr(), "slow", []byte("x"))
					if err != nil || string(got) != "1 x" {
						t.Errorf("%q, %v", got, err)
					}
					slow.Add(1)
				})
			}
			for i := range 100 { // the slow ones hold nobody up
				body := bytes.Repeat([]byte{byte(i)}, i*1000)
				got, err := a.Call(t.Context(), b.Addr(), "echo", body)
				if err != nil || !bytes.Equal(got, body) {
					t.Fatalf("%d bytes: %d, %v", len(body), len(got), err)
				}
			}
			_, err := a.Call(t.Context(), b.Addr(), "bad", nil)
			if protocol.CodeOf(err) != protocol.NotController || !strings.Contains(err.Error(), "wrong one") {
				t.Errorf("%v", err)
			}
			_, err = a.Call(t.Context(), b.Addr(), "unknown", nil)
			if protocol.CodeOf(err) != protocol.BrokerNotAvailable {
				t.Errorf("%v", err)
			}
			if slow.Load() != 0 {
				t.Error("a slow call was answered")
			}
			close(gate)
			wg.Wait()
			if s := a.Stats(); s.Outbound != 1 {
				t.Errorf("%+v", s)
			}
			if err := errors.Join(a.Close(), b.Close(), a.Close()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestACallIsCanceledAtTheOtherEnd(t *testing.T) {
	a, b := listen(t, Config{}), listen(t, Config{})
	began, ended := make(chan struct{}), make(chan error, 1)
	b.Handle("wait", func(ctx context.Context, _ Peer, _ []byte) ([]byte, error) {
		close(began)
		<-ctx.Done()
		ended <- ctx.Err()
		return nil, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	if _, err := a.Call(ctx, b.Addr(), "wait", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestMessagesKeepTheirOrder(t *testing.T) {
	for name, key := range keys {
		t.Run(name, func(t *testing.T) {
			a, b := listen(t, Config{Key: key}), listen(t, Config{Key: key})
			var mu sync.Mutex
			var small, large []string
			b.OnMessage("m", func(_ Peer, body []byte) {
				mu.Lock()
				defer mu.Unlock()
				if len(body) > frameBytesMax {
					large = append(large, string(body[:4]))
				} else {
					small = append(small, string(body))
				}
			})
			for i := range 300 {
				if !a.Send(b.Addr(), "m", fmt.Appendf(nil, "%04d", i)) {
					t.Fatal("no room")
				}
				if i%100 == 0 && !a.Send(b.Addr(), "m", append(fmt.Appendf(nil, "%04d", i), make([]byte, 3<<20)...)) {
					t.Fatal("no room for a large one")
				}
			}
			eventually(t, "all messages arrive", func() bool {
				mu.Lock()
				defer mu.Unlock()
				return len(small) == 300 && len(large) == 3
			})
			for i, s := range small {
				if s != fmt.Sprintf("%04d", i) {
					t.Fatalf("message %d is %s", i, s)
				}
			}
			if got := strings.Join(large, " "); got != "0000 0100 0200" {
				t.Errorf("large ones: %s", got)
			}
		})
	}
}

// A small message goes between the parts of a large one that was queued before it.
func TestAHeartbeatDoesNotWaitForASnapshot(t *testing.T) {
	a, b := listen(t, Config{}), listen(t, Config{})
	var got, before atomic.Int64
	b.Handle("echo", echo)
	b.OnMessage("snapshot", func(_ Peer, body []byte) { got.Store(int64(len(body))) })
	b.OnMessage("heartbeat", func(Peer, []byte) { before.Store(got.Load() + 1) })
	// Both wait for the connection, so that it is known what is sent first.
	if !a.Send(b.Addr(), "snapshot", make([]byte, 10<<20)) || !a.Send(b.Addr(), "heartbeat", nil) {
		t.Fatal("no room")
	}
	eventually(t, "both arrive", func() bool { return got.Load() > 0 && before.Load() > 0 })
	if before.Load() != 1 {
		t.Errorf("the heartbeat came only after %d bytes", before.Load()-1)
	}
	if !a.Send(b.Addr(), "snapshot", make([]byte, BodyBytesMax)) {
		t.Fatal("no room")
	}
	eventually(t, "the snapshot arrives", func() bool { return got.Load() == BodyBytesMax })
	if a.Send(b.Addr(), "snapshot", make([]byte, BodyBytesMax+1)) {
		t.Error("more than the bound was taken")
	}
	if _, err := a.Call(t.Context(), b.Addr(), "echo", make([]byte, BodyBytesMax+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("%v", err)
	}
}

type down struct {
	addr    string
	refused bool
}

func watch(l *Link) chan down {
	ch := make(chan down, 100)
	l.OnDown(func(addr string, refused bool) { ch <- down{addr, refused} })
	return ch
}

func TestADeadPeerIsToldFromOneThatIsCutOff(t *testing.T) {
	s := NewSwitch()
	ports := map[string]*Port{}
	node := func(name string) *Link {
		ports[name] = s.Of(name)
		l := listen(t, Config{Network: ports[name]})
		l.Handle("echo", echo)
		return l
	}
	a, b, c := node("a"), node("b"), node("c")
	downs := watch(a)
	for _, l := range []*Link{b, c} {
		if _, err := a.Call(t.Context(), l.Addr(), "echo", nil); err != nil {
			t.Fatal(err)
		}
	}
	start := time.Now()
	ports["b"].Kill()
	if got := <-downs; got != (down{b.Addr(), true}) {
		t.Errorf("%+v", got)
	}
	t.Log("a killed peer was noticed after", time.Since(start))
	start = time.Now()
	s.Cut("a", "c")
	if _, err := a.Call(within(t, 100*time.Millisecond), c.Addr(), "echo", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	if got := <-downs; got != (down{c.Addr(), false}) {
		t.Errorf("%+v", got)
	}
	t.Log("a silent peer was noticed after", time.Since(start))
	s.Heal("c", "a")
	eventually(t, "a reaches c again", func() bool {
		_, err := a.Call(t.Context(), c.Addr(), "echo", nil)
		return err == nil
	})
}

// One that only b dialed is noticed by a too.
func TestAPeerThatDialedIsNoticedToo(t *testing.T) {
	a, b := listen(t, Config{}), listen(t, Config{})
	downs := watch(a)
	a.Handle("echo", echo)
	if _, err := b.Call(t.Context(), a.Addr(), "echo", nil); err != nil {
		t.Fatal(err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if got := <-downs; got != (down{b.Addr(), true}) {
		t.Errorf("%+v", got)
	}
}

func TestAPeerThatComesBackIsReached(t *testing.T) {
	a, b := listen(t, Config{}), listen(t, Config{})
	downs := watch(a)
	b.Handle("echo", echo)
	if _, err := a.Call(t.Context(), b.Addr(), "echo", nil); err != nil {
		t.Fatal(err)
	}
	addr := b.Addr()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	<-downs
	_, err := a.Call(t.Context(), addr, "echo", nil)
	if !errors.Is(err, ErrUnreachable) || !errors.Is(err, ErrRefused) {
		t.Errorf("%v", err)
	}
	b = listen(t, Config{Addr: addr})
	b.Handle("echo", echo)
	eventually(t, "it is reached", func() bool {
		_, err := a.Call(t.Context(), addr, "echo", nil)
		return err == nil
	})
}

func TestACallThatWasUnderWayIsLost(t *testing.T) {
	a, b := listen(t, Config{}), listen(t, Config{})
	began := make(chan struct{})
	b.Handle("wait", func(ctx context.Context, _ Peer, _ []byte) ([]byte, error) {
		close(began)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	go func() { <-began; _ = b.Close() }()
	if _, err := a.Call(t.Context(), b.Addr(), "wait", nil); !errors.Is(err, ErrLost) || errors.Is(err, ErrUnreachable) {
		t.Errorf("%v", err)
	}
}

// What waits for a peer that does not answer is bounded, and nobody waits to queue it.
func TestTheQueueIsBounded(t *testing.T) {
	s := NewSwitch()
	a, b := listen(t, Config{Network: s.Of("a")}), listen(t, Config{Network: s.Of("b")})
	s.Cut("a", "b")
	queued := 0
	for a.Send(b.Addr(), "m", make([]byte, 1<<20)) && queued < 100 {
		queued++
	}
	if queued < 10 || queued > outboxBytesMax>>20 {
		t.Errorf("%d MiB were queued", queued)
	}
	if a.Stats().Dropped < 1 {
		t.Errorf("%+v", a.Stats())
	}
}

func TestAHandlersPanicCostsTheCall(t *testing.T) {
	l := &logs{}
	a, b := listen(t, Config{}), listen(t, Config{Logger: l.logger()})
	b.Handle("panic", func(context.Context, Peer, []byte) ([]byte, error) { panic("own fault") })
	b.Handle("echo", echo)
	_, err := a.Call(t.Context(), b.Addr(), "panic", nil)
	if protocol.CodeOf(err) != protocol.UnknownServerError || !strings.Contains(l.String(), "own fault") {
		t.Errorf("%v; %s", err, l)
	}
	if _, err := a.Call(t.Context(), b.Addr(), "echo", nil); err != nil {
		t.Error(err)
	}
}
