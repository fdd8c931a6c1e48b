package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"moldau.io/moldau/broker"
	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/storage/vfs"
)

// devBroker is one broker of a devCluster, whether or not it runs.
type devBroker struct {
	c    *devCluster
	id   int
	name string // its id, for the switch
	dir  string
	rack string
	join []string

	kafka, cluster, admin string // addresses, the same over restarts

	mu    sync.Mutex
	state devState
	last  readyState // of its last start
	run   *devRun    // nil: it does not run
}

type devState string

const (
	devNew      devState = "new"
	devStarting devState = "starting"
	devUp       devState = "up"
	devStopped  devState = "stopped"
	devKilled   devState = "killed"
	devFailed   devState = "failed" // ended by itself
)

// devRun is one life of a broker: what kill takes from it.
type devRun struct {
	sv   *server
	port *link.Port
	disk *vfs.Mortal
	log  *muffler
	stop context.CancelFunc
	done chan struct{} // closed when it has ended
	err  error         // set before done is closed
}

// start begins a life and returns when the broker is ready.
func (b *devBroker) start(ctx context.Context) error {
	if err := b.buried(); err != nil {
		return err
	}
	b.mu.Lock()
	if b.run != nil {
		b.mu.Unlock()
		return fmt.Errorf("broker %d runs already", b.id)
	}
	r := &devRun{
		port: b.c.sw.Of(b.name), disk: vfs.NewMortal(vfs.OS()), log: &muffler{w: b.c.w.stderr}, done: make(chan struct{}),
	}
	b.run, b.state = r, devStarting
	b.mu.Unlock()

	ready := make(chan readyState, 1)
	if err := b.open(ctx, r, ready); err != nil {
		r.err = err
		b.ended(r)
		close(r.done)
		return fmt.Errorf("broker %d: %w", b.id, err)
	}
	running, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() {
		r.err = r.sv.run(running)
		b.ended(r)
		close(r.done)
	}()
	ctx, cancel := context.WithTimeout(ctx, devReadyTime)
	defer cancel()
	select {
	case state := <-ready:
		b.mu.Lock()
		b.last, b.state = state, devUp
		b.mu.Unlock()
		b.c.out.ready(b, state)
		return nil
	case <-r.done:
		return fmt.Errorf("broker %d ended before it was ready: %w", b.id, errors.Join(r.err, ctx.Err()))
	case <-ctx.Done():
		return fmt.Errorf("broker %d is not ready after %v: the brokers that run may be too few for a controller: %w", b.id,
			devReadyTime, ctx.Err())
	}
}

// buried waits until nothing of a life that was killed is left in this process.
func (b *devBroker) buried() error {
	b.mu.Lock()
	r, killed := b.run, b.state == devKilled
	b.mu.Unlock()
	if r == nil || !killed {
		return nil
	}
	return b.await(r)
}

// open makes the server as serve would, from the same settings.
func (b *devBroker) open(ctx context.Context, r *devRun, ready chan<- readyState) error {
	s, err := b.settings()
	if err != nil {
		return err
	}
	level := new(slog.LevelVar)
	if !b.c.f.verbose {
		level.Set(slog.LevelError) // connections that break are what dev is for
	}
	log := slog.New(slog.NewTextHandler(r.log, &slog.HandlerOptions{Level: level})).With("broker", b.id)
	r.sv = &server{
		w: b.c.w, s: s, log: log, start: time.Now(), network: r.port, fs: r.disk, ready: func(s readyState) { ready <- s },
	}
	if b.id == 1 {
		r.sv.sayNotes() // they are the same for all
		b.c.voters = devVoters(int(s.static.Int("moldau.quorum.voters")), len(b.c.brokers))
	}
	return r.sv.open(ctx, level)
}

// devVoters is how many brokers vote before a cluster counts as formed: so many that one can be missed.
func devVoters(most, brokers int) int {
	if min(most, brokers) < 3 {
		return 1
	}
	return 3
}

func (b *devBroker) settings() (settings, error) {
	replicas := min(3, b.c.f.brokers)
	args := []string{
		"--data", b.dir, "--listen", b.kafka, "--cluster-listen", b.cluster, "--admin-listen", b.admin,
		"--node-id", strconv.Itoa(b.id), "--join", strings.Join(b.join, ","),
		"--set", fmt.Sprint("default.replication.factor=", replicas), // unless it is among the following
	}
	if b.rack != "" {
		args = append(args, "--rack", b.rack)
	}
	if b.c.f.configFile != "" {
		args = append(args, "--config", b.c.f.configFile)
	}
	for _, s := range b.c.f.set {
		args = append(args, "--set", s)
	}
	var f serveFlags
	cmd := &cobra.Command{}
	f.register(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		return settings{}, err
	}
	return f.settings(cmd, b.c.w.environ)
}

// ended notes that a life is over, and says so where nobody wanted it.
func (b *devBroker) ended(r *devRun) {
	b.mu.Lock()
	if b.run == r {
		b.run = nil
	}
	unasked := b.state == devUp || b.state == devStarting
	if unasked {
		b.state = devFailed
	}
	b.mu.Unlock()
	if unasked && r.sv != nil && r.sv.broker != nil {
		b.c.out.fail("ended", b.id, fmt.Errorf("broker %d ended by itself: %w", b.id, r.err))
	}
}

// life is what runs, and from now on ends in a state.
func (b *devBroker) life(ends devState) (*devRun, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.run == nil || b.state != devUp && b.state != devStarting || b.run.sv == nil || b.run.sv.broker == nil {
		return nil, fmt.Errorf("broker %d does not run", b.id)
	}
	b.state = ends
	return b.run, nil
}

// kill ends the broker as the end of its process would: its sockets are reset, and from one moment to the next nothing
// reaches others or the disk any more. What is left of it ends unseen.
func (b *devBroker) kill() error {
	r, err := b.life(devKilled)
	if err != nil {
		return err
	}
	r.log.muffled.Store(true)
	r.port.Kill()
	r.disk.Kill()
	r.sv.broker.Abandon()
	r.stop()
	return nil
}

// end stops the broker in order. Abandoned, it hands over nothing.
func (b *devBroker) end(abandoned bool) error {
	r, err := b.life(devStopped)
	if err != nil {
		return b.buried() // it does not run, which is what is wanted
	}
	if abandoned {
		r.sv.broker.Abandon()
	}
	r.stop()
	if err := b.await(r); err != nil {
		return err
	}
	return r.err
}

func (b *devBroker) await(r *devRun) error {
	select {
	case <-r.done:
		return nil
	case <-time.After(devStopTime):
		return fmt.Errorf("broker %d has not ended after %v", b.id, devStopTime)
	}
}

// up is the broker where it runs and is ready, else nil.
func (b *devBroker) up() *broker.Broker {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state != devUp || b.run == nil {
		return nil
	}
	return b.run.sv.broker
}

func (b *devBroker) is() devState {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.state == "" {
		return devNew
	}
	return b.state
}

// muffler passes on a broker's log until it is killed: the dead say nothing.
type muffler struct {
	w       io.Writer
	muffled atomic.Bool
}

func (m *muffler) Write(p []byte) (int, error) {
	if m.muffled.Load() {
		return len(p), nil
	}
	return m.w.Write(p)
}
