package cluster

import (
	"context"
	crand "crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"path"
	"slices"
	"sync"
	"sync/atomic"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/cluster/quorum"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// ErrOtherCluster says that the data folder belongs to another cluster than the one it was opened for.
var ErrOtherCluster = errors.New("the data folder belongs to another cluster")

// Config is what a Node needs to know.
type Config struct {
	// FS holds the data folder, and Dir is that folder; the metadata log is in its subfolder "quorum".
	FS  vfs.FS
	Dir string

	// ClusterID is the cluster that the folder must belong to. Empty: whichever it belongs to, or a new one.
	ClusterID string

	// NodeID is this broker (node.id), 0 or more.
	NodeID protocol.BrokerID

	// Static is what this broker was started with. The controller takes the defaults of new topics from it (num.partitions,
	// default.replication.factor) and judges configurations by it. Default: Kafka's own defaults.
	Static *config.Static

	// Features are finalized when the cluster is new.
	Features []meta.Feature

	// Adopt is asked when the cluster is new: what it says is taken over from another broker's metadata. It may be nil, and
	// it may say nil for nothing.
	Adopt func() (*meta.Adopt, error)

	// Adopted is told what of it was not taken, when it is committed.
	Adopted func(meta.AdoptReply)

	// Failed is told that the metadata log could not be written. It may be nil, and must return at once.
	Failed func(error)

	// SnapshotBytes is the size of the metadata log at which it is replaced by a snapshot. Default 4 MiB.
	SnapshotBytes int64

	Logger *slog.Logger
}

// callsMax is how many commands wait for the metadata log to finish with those before them. More wait in their callers.
const callsMax = 256

// Node is one broker's part in the cluster.
type Node struct {
	cfg Config

	image   atomic.Pointer[meta.Image] // read by anyone, replaced by run
	changes chan struct{}
	calls   chan call

	stop    context.CancelFunc
	stopped chan struct{} // closed when run has ended
	once    sync.Once
	closing error // what Close returns, set once

	// run's own.
	log        *quorum.Log
	controller *meta.Controller
}

// Start opens the metadata log in the data folder, or begins a new cluster in it, and returns when all of the log is in the
// image. Close must be called in the end.
func Start(cfg Config) (*Node, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.SnapshotBytes <= 0 {
		cfg.SnapshotBytes = 4 << 20
	}
	if cfg.Static == nil {
		cfg.Static = config.Empty()
	}
	if cfg.NodeID < 0 {
		return nil, fmt.Errorf("node.id must not be negative: %d", cfg.NodeID)
	}
	n := &Node{
		cfg: cfg, changes: make(chan struct{}, 1), calls: make(chan call, callsMax), stopped: make(chan struct{}),
	}
	if err := n.open(); err != nil {
		if n.log != nil {
			_ = n.log.Close() // the first error says more
		}
		return nil, err
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	go n.run(ctx)
	return n, nil
}

func (n *Node) open() error {
	log, found, err := quorum.Open(quorum.Config{
		FS: n.cfg.FS, Dir: path.Join(n.cfg.Dir, "quorum"), Node: n.cfg.NodeID, Logger: n.cfg.Logger,
	})
	if err != nil {
		return err
	}
	n.log = log
	im := meta.Empty()
	if found.Snapshot != nil {
		recs, err := meta.DecodeRecords(found.Snapshot)
		if err != nil {
			return fmt.Errorf("read metadata snapshot: %w", err)
		}
		if im, err = im.With(found.SnapshotIndex, recs...); err != nil {
			return fmt.Errorf("read metadata snapshot: %w", err)
		}
	}
	n.image.Store(im)
	rd, err := n.log.Process()
	if err != nil {
		return err
	}
	if err := n.apply(rd.Entries); err != nil {
		return err
	}
	random, err := newRandom()
	if err != nil {
		return err
	}
	n.controller = meta.NewController(meta.ControllerConfig{
		Partitions:        int32(n.cfg.Static.Int("num.partitions")),
		ReplicationFactor: int16(n.cfg.Static.Int("default.replication.factor")),
		Static:            n.cfg.Static,
		Random:            random,
	}, n.Image())
	return n.join()
}

// join makes a new cluster, or sees that the folder belongs to the right one.
func (n *Node) join() error {
	have := n.Image().ClusterID()
	if have != "" {
		if n.cfg.ClusterID != "" && n.cfg.ClusterID != have {
			return fmt.Errorf("%w: %s is in cluster %s, not in %s", ErrOtherCluster, n.cfg.Dir, have, n.cfg.ClusterID)
		}
		return nil
	}
	if n.cfg.Adopt != nil {
		found, err := n.cfg.Adopt()
		if err != nil {
			return err
		}
		if found != nil {
			return n.adopt(*found)
		}
	}
	id := n.cfg.ClusterID
	if id == "" {
		var err error
		if id, err = newClusterID(); err != nil {
			return err
		}
	}
	n.process([]call{{cmd: meta.Bootstrap{ClusterID: id, Features: n.cfg.Features}, done: make(chan result, 1)}})
	if n.Image().ClusterID() != id {
		return fmt.Errorf("begin cluster %s in %s: the metadata log did not take it", id, n.cfg.Dir)
	}
	return nil
}

// adopt begins the cluster with what another broker's metadata says.
func (n *Node) adopt(found meta.Adopt) error {
	found.Features = featuresOf(n.cfg.Features, found.Features)
	c := call{cmd: found, done: make(chan result, 1)}
	n.process([]call{c})
	r := <-c.done
	if r.err != nil {
		return fmt.Errorf("adopt cluster %s in %s: %w", found.ClusterID, n.cfg.Dir, r.err)
	}
	if n.cfg.Adopted != nil {
		n.cfg.Adopted(r.reply.(meta.AdoptReply))
	}
	return nil
}

// featuresOf is ours, at the levels of those that the other broker had finalized where they are known.
func featuresOf(ours, theirs []meta.Feature) []meta.Feature {
	out := slices.Clone(ours)
	for i := range out {
		for _, f := range theirs {
			if f.Name == out[i].Name {
				out[i].Level = min(out[i].Level, f.Level)
			}
		}
	}
	return out
}

// newClusterID is 16 random bytes in URL-safe base64, as Kafka's are.
func newClusterID() (string, error) {
	var id [16]byte
	for {
		if _, err := crand.Read(id[:]); err != nil {
			return "", err
		}
		if s := base64.RawURLEncoding.EncodeToString(id[:]); s[0] != '-' { // a command line would take it for a flag
			return s, nil
		}
	}
}

func newRandom() (*rand.Rand, error) {
	var seed [32]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return nil, err
	}
	return rand.New(rand.NewChaCha8(seed)), nil
}

// Image is the newest committed metadata. It never blocks.
func (n *Node) Image() *meta.Image { return n.image.Load() }

// Changes has a token after the image has changed: one, however many changes there were since the last was taken. There
// can be one reader.
func (n *Node) Changes() <-chan struct{} { return n.changes }

// Close stops the node. Commands that have not been answered are refused.
func (n *Node) Close() error {
	n.once.Do(func() {
		n.stop()
		<-n.stopped
		n.closing = n.log.Close()
	})
	return n.closing
}
