package broker

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"moldau.io/moldau/cluster"
	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage"
)

// New opens the data folders and the metadata of the cluster. It starts nothing that clients see: that is Serve. A broker that
// joins a cluster is taken in before New returns, or ctx ends. Close must be called where Serve is not.
func New(ctx context.Context, cfg Config) (*Broker, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	who, err := cfg.identify(ctx)
	if err != nil {
		return nil, err
	}
	b := newBroker(cfg.Static, cfg.Log)
	b.cfg, b.address, b.started = cfg, who.address, time.Now()
	if cfg.Level != nil {
		b.loggers.level = cfg.Level
	}
	b.registry = newRegistry(b)
	if err := b.open(ctx, who); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *Broker) open(ctx context.Context, who identity) error {
	if err := b.openStore(who.clusterID); err != nil {
		return err
	}
	if err := checkFolders(b.cfg.FS, b.store.Dirs()); err != nil {
		return err
	}
	dir, err := metadataDir(b.cfg.FS, b.metadataPlaces())
	if err != nil {
		return err
	}
	b.metadataDir = dir
	if err := b.usableMetadata(); err != nil {
		return err
	}
	// The folder comes before the address: a second broker on the same folder should be told so, not that its port is taken.
	if b.address == nil && b.cfg.ClusterListen != "" {
		if b.address, err = b.cfg.openAddress(ctx); err != nil {
			return err
		}
	}
	node, err := cluster.Start(ctx, cluster.Config{
		FS: b.cfg.FS, Dir: dir, ClusterID: who.clusterID, NodeID: b.nodeID(), Static: b.static,
		Address: b.address, Joining: who.joining, Quorum: who.quorum, Members: who.members,
		Features: initialFeatures, Version: b.cfg.Version, Logger: b.log,
		Adopt:   func() (*meta.Adopt, error) { return b.adoptNew(who.clusterID, dir) },
		Adopted: b.sayRefused,
		Failed:  b.metadataFailed,
		Served:  func() int64 { return b.image().Offset() },
	})
	if err != nil {
		return err
	}
	b.node, b.fromKafka = node, path.Base(dir) == kafkasMetadata
	if err := b.adoptAgain(ctx, who.clusterID, dir); err != nil {
		return err
	}
	if err := b.keepAdoption(dir); err != nil {
		return err
	}
	sayFeatures(b.log, node.Image())
	b.partitions = newPartitions(b, b.store)
	b.fetchers = newFetchers(b)
	b.lag = newGroupLag(b)
	return nil
}

// openStore opens the logs. Until the metadata says how a topic is to be kept, nothing of it is deleted or compacted: a log
// may belong to no topic, or to one that keeps its records for ever.
func (b *Broker) openStore(clusterID string) error {
	tune := tuning(config.NewView(b.static, meta.Empty()))
	keep := storage.DefaultConfig()
	keep.Deletes, keep.Compacts = false, false
	store, err := storage.OpenStore(b.cfg.FS, b.cfg.Dirs, storage.Options{
		ClusterID: clusterID, NodeID: b.static.NodeID(), Logger: b.log,
		Config:          func(string) storage.Config { return keep },
		RecoveryThreads: int(b.static.Int("num.recovery.threads.per.data.dir")) * len(b.cfg.Dirs),
		CheckpointInterval: min(b.static.Millis("log.flush.offset.checkpoint.interval.ms"),
			b.static.Millis("log.flush.start.offset.checkpoint.interval.ms")),
		ExpiryInterval: b.static.Millis("producer.id.expiration.check.interval.ms"),
		Tuning:         &tune,
		OnOffline:      b.trouble,
	})
	if err != nil {
		return err
	}
	if b.store == nil { // the first time: adoptAgain may open it anew
		b.orderly = !slices.ContainsFunc(store.Dirs(), func(d storage.Dir) bool { return !d.Clean })
	}
	b.store = store
	return nil
}

// Serve registers this broker with the cluster and answers clients on the listeners until ctx ends. It then has others take
// over what this broker leads, closes everything, and returns when all is on disk.
func (b *Broker) Serve(ctx context.Context, listeners ...Listener) error {
	living, cancel := context.WithCancel(context.WithoutCancel(ctx)) // it goes on while others take over
	var wg sync.WaitGroup
	failed := make(chan error, len(listeners)+1)

	b.partitions.apply(b.node.Image())
	b.partitions.starting = false
	b.trouble() // what went offline before anybody looked
	wg.Go(func() { b.partitions.run(living) })
	err := b.register(ctx, listeners)
	if err == nil {
		b.partitions.strays(b.log)
		wg.Go(func() { b.server.sweep(living) })
		wg.Go(func() { b.keepHouse(living) })
		wg.Go(func() { b.inSync.run(living) })
		wg.Go(func() { b.keepInSync(living) })
		for _, l := range listeners {
			wg.Go(func() {
				if err := b.server.accept(living, l, l.Advertised.Name); err != nil {
					failed <- err
				}
			})
		}
		wg.Go(func() {
			if b.node.AwaitUnfenced(living) == nil { // until then nobody is sent here
				b.ready.Store(true)
				close(b.readied)
			}
		})
		select {
		case <-ctx.Done():
			b.handOver(living)
		case err = <-failed:
		case err = <-b.fatal:
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		err = nil // it was stopped in the middle of registering
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

// handOverTime bounds how long a broker that is told to stop waits for others to take over.
const handOverTime = 10 * time.Second

// handOver has others lead what this broker leads. Clients are answered meanwhile: one that comes too late is told who leads.
func (b *Broker) handOver(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, handOverTime)
	defer cancel()
	began := time.Now()
	if err := b.node.Shutdown(ctx); err != nil {
		b.log.Warn("stopping though others have not taken over everything that this broker leads", "after",
			time.Since(began).Round(time.Millisecond), "err", err)
		return
	}
	_ = b.awaitImage(ctx, b.node.Image().Offset()) // so that who asks is told
}

// register tells the cluster that this broker is there, and where.
func (b *Broker) register(ctx context.Context, listeners []Listener) error {
	rack, _ := b.static.Get("broker.rack")
	cmd := meta.RegisterBroker{Rack: rack, SameEpochs: b.keepsEpochs(), CleanEpoch: b.cleanEpoch()}
	cmd.Features = append(cmd.Features, meta.RecordFormat())
	for _, f := range supportedFeatures {
		cmd.Features = append(cmd.Features, meta.FeatureRange{Name: f.Name, Min: f.MinVersion, Max: f.MaxVersion})
	}
	for _, l := range listeners {
		a := l.Advertised
		cmd.Listeners = append(cmd.Listeners, meta.Listener{Name: a.Name, Host: a.Host, Port: a.Port, Protocol: a.Protocol})
	}
	if err := b.node.Register(ctx, cmd); err != nil {
		return fmt.Errorf("register with the cluster: %w", err)
	}
	return b.awaitImage(ctx, b.node.Image().Offset())
}

// cleanEpoch is the epoch under which this broker was known when it last ended, if it did so in order; else -1. It is what the
// folders say: the metadata may know of a later life, whose records are not in folders that were brought back from a copy.
func (b *Broker) cleanEpoch() int64 {
	dirs := b.store.Dirs()
	for _, d := range dirs {
		if !b.orderly || d.CleanEpoch != dirs[0].CleanEpoch {
			return -1
		}
	}
	return dirs[0].CleanEpoch
}

// Abandon has this broker end without handing anything over to others, as if its process had been killed.
func (b *Broker) Abandon() { b.node.Abandon() }

// Close gives back what New has opened. It is for a broker that never served; Serve closes by itself.
func (b *Broker) Close() error {
	var faults []error
	if b.fetchers != nil {
		b.fetchers.stop()
	}
	b.groups.Close()
	switch {
	case b.node != nil:
		if e := b.node.BrokerEpoch(); e >= 0 && b.store != nil {
			b.store.SetBrokerEpoch(e)
		}
		faults = append(faults, b.node.Close())
	case b.address != nil:
		faults = append(faults, b.address.Close())
	}
	if b.store != nil {
		if b.partitions != nil {
			b.partitions.retireAll()
			faults = append(faults, b.store.Checkpoint(b.partitions.highWatermarks()))
		}
		faults = append(faults, b.store.Close())
	}
	return errors.Join(faults...)
}

// Metrics is everything that the broker counts.
func (b *Broker) Metrics() prometheus.Gatherer { return b.registry }

// Ready is nil while clients are answered.
func (b *Broker) Ready() error {
	if !b.ready.Load() {
		return protocol.Errorf(protocol.BrokerNotAvailable, "the broker is starting or stopping")
	}
	return nil
}

// AwaitReady returns when clients are answered for the first time, and the cluster counts on this broker.
func (b *Broker) AwaitReady(ctx context.Context) error {
	select {
	case <-b.readied:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
