package broker

import (
	"context"
	"io"
	"log/slog"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

// inBubble runs f with one connection to a broker without data, in fake time.
func inBubble(t *testing.T, hs map[int16]handler, f func(b *Broker, client net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBroker(config.Empty(), slog.New(slog.DiscardHandler))
		b.handlers = hs
		ctx, cancel := context.WithCancel(t.Context())
		swept := make(chan struct{})
		go func() {
			b.server.sweep(ctx)
			close(swept)
		}()
		client, server := net.Pipe()
		b.server.admit(ctx, server, "PLAINTEXT")
		f(b, client)
		_ = client.Close()
		b.server.stop()
		cancel()
		<-swept
	})
}

// ends waits until the broker closes the connection and says when that was.
func ends(t *testing.T, client net.Conn) time.Duration {
	t.Helper()
	start := time.Now()
	if n, err := io.Copy(io.Discard, client); err != nil || n > 0 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	return time.Since(start)
}

func between(t *testing.T, what string, d, low, high time.Duration) {
	t.Helper()
	if d < low || d > high {
		t.Errorf("%s: closed after %v, want %v to %v", what, d, low, high)
	}
}

func TestHalfAFrameAndSilenceEndsAfterHalfAMinute(t *testing.T) {
	for _, n := range []int{1, 3, 5, 20} {
		inBubble(t, map[int16]handler{keyHeartbeat: answerHeartbeat}, func(b *Broker, client net.Conn) {
			if _, err := client.Write(heartbeat(1)[:n]); err != nil {
				t.Fatal(err)
			}
			between(t, "half a frame", ends(t, client), frameTime, frameTime+2*sweepInterval)
			if b.metrics.closedSlow.load() != 1 {
				t.Error("not counted")
			}
		})
	}
}

func TestAFrameThatTricklesEndsAndOneThatMovesDoesNot(t *testing.T) {
	for _, c := range []struct {
		what    string
		bytes   int // each second
		arrives bool
	}{{"a trickle", 100, false}, {"just enough", 2 * movingRate, true}} {
		inBubble(t, map[int16]handler{19: func(_ *Broker, r *request) { r.Reply(kmsg.NewPtrCreateTopicsResponse()) }},
			func(_ *Broker, client net.Conn) {
				req := kmsg.NewPtrCreateTopicsRequest()
				topic := kmsg.NewCreateTopicsRequestTopic()
				topic.Topic = string(make([]byte, 30_000))
				for range 60 * c.bytes / 30_000 {
					req.Topics = append(req.Topics, topic)
				}
				if len(req.Topics) == 0 {
					req.Topics = append(req.Topics, topic)
				}
				answered := make(chan bool)
				go func() {
					_, err := readAnswer(client)
					answered <- err == nil
				}()
				for rest := frame(1, req); len(rest) > 0; {
					n := min(len(rest), c.bytes)
					if _, err := client.Write(rest[:n]); err != nil {
						break // closed by the broker
					}
					rest = rest[n:]
					time.Sleep(time.Second)
				}
				if got := <-answered; got != c.arrives {
					t.Errorf("%s: answered %v", c.what, got)
				}
			})
	}
}

func TestAReaderThatDoesNotReadEndsAfterHalfAMinute(t *testing.T) {
	inBubble(t, map[int16]handler{keyHeartbeat: func(_ *Broker, r *request) {
		r.ReplyRaw(&protocol.Response{Head: make([]byte, 100_000)})
	}}, func(b *Broker, client net.Conn) {
		if _, err := client.Write(heartbeat(1)); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		for b.server.count() > 0 && time.Since(start) < time.Hour {
			time.Sleep(time.Second)
		}
		between(t, "an answer that is not read", time.Since(start), frameTime, frameTime+3*sweepInterval)
	})
}

func TestAnIdleConnectionEndsAfterTenMinutesAndAWaitingOneDoesNot(t *testing.T) {
	inBubble(t, map[int16]handler{keyHeartbeat: answerHeartbeat}, func(_ *Broker, client net.Conn) {
		between(t, "idle", ends(t, client), 10*time.Minute, 10*time.Minute+2*sweepInterval)
	})
	waiting := make(chan *request, 1)
	inBubble(t, map[int16]handler{keyHeartbeat: func(_ *Broker, r *request) { waiting <- r }},
		func(_ *Broker, client net.Conn) {
			if _, err := client.Write(heartbeat(1)); err != nil {
				t.Fatal(err)
			}
			r := <-waiting
			<-time.After(time.Hour) // a member that waits for its group; the clock of the bubble
			go answerHeartbeat(nil, r)
			if _, err := readAnswer(client); err != nil {
				t.Error(err)
			}
		})
}

func TestConnectionsThatComeTooFastWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st, _, err := config.NewStatic(config.Layer{Values: map[string]string{"max.connection.creation.rate": "5"}})
		if err != nil {
			t.Fatal(err)
		}
		b := newBroker(st, slog.New(slog.DiscardHandler))
		start := time.Now()
		for range 25 {
			if err := b.server.paceAccept(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(start).Round(100 * time.Millisecond); d != 4*time.Second {
			t.Errorf("25 connections, 5 a second and 5 in hand, took %v", d)
		}
	})
}
