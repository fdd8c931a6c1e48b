package brokertest

import (
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"moldau.io/moldau/broker"
	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/storage/vfs"
)

// Options say what is not as usual.
type Options struct {
	// Settings are Kafka's properties.
	Settings map[string]string
	// FS holds the data folder "data". Default: memory.
	FS vfs.FS
	// Dirs are the data folders. Default: "data".
	Dirs []string
	// Quiet keeps the broker's log out of the test's.
	Quiet bool
	// Racks are where the brokers of a cluster stand, by their index. Default: nowhere.
	Racks []string
	// Broken says that the broker may end with an error, as it does where a log is offline.
	Broken bool
}

// Broker is a broker of a test.
type Broker struct {
	*broker.Broker
	T    testing.TB
	Addr string // of its listener, named PLAINTEXT

	o    Options
	stop context.CancelFunc
	done chan error

	link *cable // nil for a broker that is all of its cluster
}

// Start runs a broker until the test ends. Data is in memory and timers of groups are short, unless Options say
// otherwise.
func Start(t testing.TB, o Options) *Broker {
	t.Helper()
	if o.FS == nil {
		o.FS = vfs.NewMem()
	}
	if o.Dirs == nil {
		o.Dirs = []string{"data"}
	}
	b := &Broker{T: t, o: o}
	b.run()
	t.Cleanup(func() {
		if b.stop != nil {
			b.Stop()
		}
	})
	return b
}

// testLog writes the broker's log into the test's.
type testLog struct{ t testing.TB }

func (w testLog) Write(p []byte) (int, error) {
	w.t.Logf("%s", p)
	return len(p), nil
}

func (b *Broker) run() {
	t := b.T
	t.Helper()
	settings := map[string]string{"group.initial.rebalance.delay.ms": "0", "offsets.topic.num.partitions": "3"}
	for k, v := range b.o.Settings {
		settings[k] = v
	}
	static, _, err := config.NewStatic(config.Layer{Origin: "the test", Values: settings})
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	if !b.o.Quiet {
		log = slog.New(slog.NewTextHandler(testLog{t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	cfg := broker.Config{Static: static, FS: b.o.FS, Dirs: b.o.Dirs, Log: log}
	b.link.plug(&cfg)
	b.Broker, err = broker.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := b.listen(cfg.Network)
	if err != nil {
		t.Fatal(err)
	}
	b.Addr = ln.Addr().String()
	told := config.Listener{Name: "PLAINTEXT", Host: "127.0.0.1", Port: int32(ln.Addr().(*net.TCPAddr).Port),
		Protocol: "PLAINTEXT"}
	ctx, cancel := context.WithCancel(context.Background())
	b.stop, b.done = cancel, make(chan error, 1)
	go func() { b.done <- b.Serve(ctx, broker.Listener{Listener: ln, Advertised: told}) }()
}

// Stop ends the broker, and returns when everything is on its disk.
func (b *Broker) Stop() {
	b.T.Helper()
	b.stop()
	b.stop = nil
	if err := <-b.done; err != nil && !b.o.Broken {
		b.T.Errorf("the broker ended with: %v", err)
	}
}

// Ended waits for the broker to end by itself, and says with what error.
func (b *Broker) Ended() error {
	b.T.Helper()
	select {
	case err := <-b.done:
		b.stop()
		b.stop = nil
		return err
	case <-time.After(20 * time.Second):
		b.T.Fatal("the broker goes on")
		return nil
	}
}

// Restart stops the broker, where it runs, and starts it again on the same data. Its address is another.
func (b *Broker) Restart() {
	b.T.Helper()
	if b.stop != nil {
		b.Stop()
	}
	b.run()
}

// Dial connects a client.
func (b *Broker) Dial() *Client {
	b.T.Helper()
	return Dial(b.T, b.Addr)
}
