package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"moldau.io/moldau/cluster"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// New opens the data folders and the metadata of the cluster. It starts nothing that clients see: that is Serve. Close
// must be called where Serve is not.
func New(cfg Config) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	b := newBroker(cfg.Static, cfg.Log)
	b.cfg, b.started = cfg, time.Now()
	if cfg.Level != nil {
		b.loggers.level = cfg.Level
	}
	b.registry = newRegistry(b)
	if err := b.open(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *Broker) open() error {
	for _, dir := range b.cfg.Dirs {
		if err := b.cfg.FS.MkdirAll(dir); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
		lock, err := b.cfg.FS.Lock(filepath.Join(dir, ".lock"))
		if err != nil {
			return err
		}
		b.locks = append(b.locks, lock)
	}
	node, err := cluster.Start(cluster.Config{
		FS: b.cfg.FS, Dir: b.cfg.Dirs[0], ClusterID: b.cfg.ClusterID, NodeID: b.nodeID(), Static: b.static,
		Features: initialFeatures, Logger: b.log,
	})
	if err != nil {
		return err
	}
	b.node = node
	return nil
}

// Serve registers this broker with the cluster and answers clients on the listeners until ctx ends. It then closes
// everything, and returns when all is on disk.
func (b *Broker) Serve(ctx context.Context, listeners ...Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	failed := make(chan error, len(listeners)+1)

	b.served.publish(b.node.Image())
	wg.Go(func() { b.follow(ctx) })
	err := b.register(ctx, listeners)
	if err == nil {
		wg.Go(func() { b.server.sweep(ctx) })
		for _, l := range listeners {
			wg.Go(func() {
				if err := b.server.accept(ctx, l, l.Advertised.Name); err != nil {
					failed <- err
				}
			})
		}
		b.ready.Store(true)
		select {
		case <-ctx.Done():
		case err = <-failed:
		}
	}
	b.ready.Store(false)
	cancel()
	for _, l := range listeners {
		_ = l.Close()
	}
	b.server.stop()
	wg.Wait()
	return errors.Join(err, b.Close())
}

// follow shows each new image of the metadata to the handlers.
func (b *Broker) follow(ctx context.Context) {
	for {
		select {
		case <-b.node.Changes():
			b.served.publish(b.node.Image())
		case <-ctx.Done():
			return
		}
	}
}

// register tells the cluster that this broker is there, and where.
func (b *Broker) register(ctx context.Context, listeners []Listener) error {
	rack, _ := b.static.Get("broker.rack")
	cmd := meta.RegisterBroker{ID: b.nodeID(), Rack: rack}
	for _, l := range listeners {
		a := l.Advertised
		cmd.Listeners = append(cmd.Listeners, meta.Listener{Name: a.Name, Host: a.Host, Port: a.Port, Protocol: a.Protocol})
	}
	if _, err := b.propose(ctx, cmd); err != nil {
		return fmt.Errorf("register with the cluster: %w", err)
	}
	return nil
}

// Close gives back what New has opened. It is for a broker that never served; Serve closes by itself.
func (b *Broker) Close() error {
	var faults []error
	b.groups.Close()
	if b.node != nil {
		faults = append(faults, b.node.Close())
	}
	for _, lock := range b.locks {
		faults = append(faults, lock.Close())
	}
	b.locks = nil
	return errors.Join(faults...)
}

// Metrics is everything that the broker counts.
func (b *Broker) Metrics() prometheus.Gatherer { return b.registry }

// locks keep other processes out of the data folders.
type locks []io.Closer

// Ready is nil while clients are answered.
func (b *Broker) Ready() error {
	if !b.ready.Load() {
		return protocol.Errorf(protocol.BrokerNotAvailable, "the broker is starting or stopping")
	}
	return nil
}
