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
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/gossip"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/cluster/quorum"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// ErrOtherCluster says that the data folder belongs to another cluster than the one it was opened for.
var ErrOtherCluster = errors.New("the data folder belongs to another cluster")

// ErrIDInUse says that another process has this broker's id.
var ErrIDInUse = errors.New("the id is in use")

// Config is what a Node needs to know.
type Config struct {
	// FS holds the data folder, and Dir is that folder; the metadata log is in its subfolder "quorum".
	FS  vfs.FS
	Dir string

	// ClusterID is the cluster that the folder must belong to. Empty: whichever it belongs to, or a new one.
	ClusterID string

	// NodeID is this broker (node.id), 0 or more.
	NodeID protocol.BrokerID

	// Address is the open cluster address, which the node closes. Nil: nobody can join this cluster of one.
	Address *Address

	// Joining says that a new folder takes its metadata from the members of the cluster ClusterID, which has admitted this
	// broker, and begins none.
	Joining bool

	// Quorum is the id in the quorum that a new folder gets. Default: drawn.
	Quorum uint64

	// Members are cluster addresses at which others may be, besides those in the metadata.
	Members []string

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

	// Served is the offset of the metadata that this broker acts by, which may be behind Image. Default: Image's. It must
	// not block.
	Served func() int64

	// SnapshotBytes is the size of the metadata log at which it is replaced by a snapshot. Default 4 MiB.
	SnapshotBytes int64

	// VoterPatience is for how long a voter of the quorum may be dead before another votes in its place. Default 30 s.
	VoterPatience time.Duration

	Version string // of this build
	Logger  *slog.Logger
}

func (c *Config) defaults() error {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.SnapshotBytes <= 0 {
		c.SnapshotBytes = 4 << 20
	}
	if c.VoterPatience <= 0 {
		c.VoterPatience = 30 * time.Second
	}
	if c.Static == nil {
		c.Static = config.Empty()
	}
	if c.Quorum == 0 {
		c.Quorum = NewQuorumID()
	}
	if c.NodeID < 0 {
		return fmt.Errorf("node.id must not be negative: %d", c.NodeID)
	}
	if c.Joining && c.Address == nil {
		return errNoAddress
	}
	return nil
}

// Node is one broker's part in the cluster.
type Node struct {
	cfg         Config
	addr        *Address // nil: none
	self        Identity
	wire        *wire
	peers       *peers
	gossip      *gossip.Gossip // nil: no address
	started     time.Time
	incarnation protocol.TopicID // drawn by each process

	image   atomic.Pointer[meta.Image] // read by anyone, replaced by run
	moved   signal                     // image has been replaced
	lead    atomic.Pointer[leader]     // likewise
	alone   atomic.Bool                // the quorum is this node, and nobody else is known
	member  atomic.Bool                // of the quorum
	voters  atomic.Int32               // how many vote, as far as this node knows
	dropped atomic.Bool                // Abandon was called
	changes chan struct{}
	calls   chan call
	inbox   chan message
	orders  chan func()
	lease   lease

	ctx     context.Context // ends with Close
	stop    context.CancelFunc
	wg      sync.WaitGroup // all goroutines but run
	stopped chan struct{}  // closed when run has ended
	once    sync.Once
	closing error // what Close returns, set once

	// r is run's own; before run begins, Start's.
	r struct {
		log        *quorum.Log
		controller *meta.Controller // nil: this node does not lead, or not yet
		inflight   []entry          // sorted by index
		reads      []read           // sorted by ticket
		members    quorum.Members
		executed   executed
		asked      map[uint64]asked     // who has asked for a place
		silent     map[uint64]time.Time // members without a lease, and since when
		tended     time.Time
		broken     error
	}
}

// Start opens the metadata log in the data folder, or begins a new cluster in it, and returns when all of the log is in the
// image. A broker that joins has the metadata sent by the members, which Start waits for. Close must be called in the end.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.defaults(); err != nil {
		return nil, err
	}
	n := &Node{
		cfg: cfg, addr: cfg.Address, wire: newWire(), peers: newPeers(), incarnation: newIncarnation(),
		started: time.Now(), changes: make(chan struct{}, 1), calls: make(chan call, callsMax),
		inbox: make(chan message, inboxMax), orders: make(chan func(), ordersMax),
		stopped: make(chan struct{}),
	}
	n.r.asked, n.r.silent = map[uint64]asked{}, map[uint64]time.Time{}
	n.r.executed.begin(0)
	n.setLeader(leader{})
	n.ctx, n.stop = context.WithCancel(context.Background())
	err := n.open(ctx)
	if err != nil {
		n.stop()
		if n.r.log != nil {
			_ = n.r.log.Close() // the first error says more
		}
		return nil, err
	}
	go n.run(n.ctx)
	err = n.connect()
	if err == nil {
		err = n.awaitCluster(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) open(ctx context.Context) error {
	n.image.Store(meta.Empty())
	log, found, err := quorum.Open(quorum.Config{
		FS: n.cfg.FS, Dir: path.Join(n.cfg.Dir, "quorum"), Node: n.cfg.NodeID, Raft: n.cfg.Quorum, Join: n.cfg.Joining,
		Logger: n.cfg.Logger,
	})
	if err != nil {
		return err
	}
	n.r.log = log
	n.self = Identity{ClusterID: n.cfg.ClusterID, NodeID: n.cfg.NodeID, Quorum: found.ID}
	n.membersAre(found.Members)
	if found.Snapshot != nil {
		if err := n.apply(quorum.Ready{Snapshot: &quorum.Snapshot{Index: found.SnapshotIndex, Data: found.Snapshot}}); err != nil {
			return err
		}
	}
	if n.advance(); n.r.broken != nil {
		return n.r.broken
	}
	if err := n.begin(); err != nil {
		return err
	}
	if n.addr != nil {
		n.addr.Identify(n.self)
	}
	if err := n.checkMembers(ctx); err != nil {
		return err
	}
	return n.checkTwin(ctx)
}

// begin makes a new cluster, or sees that the folder belongs to the right one.
func (n *Node) begin() error {
	have := n.Image().ClusterID()
	switch {
	case have != "" && n.cfg.ClusterID != "" && n.cfg.ClusterID != have:
		return fmt.Errorf("%w: %s is in cluster %s, not in %s", ErrOtherCluster, n.cfg.Dir, have, n.cfg.ClusterID)
	case have != "":
		n.self.ClusterID = have
		return nil
	case !n.lead.Load().here: // a member of a cluster that has not sent anything yet
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
	n.decide(meta.Bootstrap{ClusterID: id, Features: n.cfg.Features})
	if n.Image().ClusterID() != id {
		return fmt.Errorf("begin cluster %s in %s: the metadata log did not take it", id, n.cfg.Dir)
	}
	n.self.ClusterID = id
	return nil
}

// decide has a command decided before run begins.
func (n *Node) decide(cmd meta.Command) result {
	c := call{cmd: cmd, done: make(chan result, 1)}
	n.take([]call{c})
	n.advance()
	select {
	case r := <-c.done:
		return r
	default:
		return result{err: errUnknown} // not a quorum of one
	}
}

// adopt begins the cluster with what another broker's metadata says.
func (n *Node) adopt(found meta.Adopt) error {
	found.Features = featuresOf(n.cfg.Features, found.Features)
	r := n.decide(found)
	if r.err != nil {
		return fmt.Errorf("adopt cluster %s in %s: %w", found.ClusterID, n.cfg.Dir, r.err)
	}
	n.self.ClusterID = found.ClusterID
	if n.cfg.Adopted != nil {
		n.cfg.Adopted(r.reply.(meta.AdoptReply))
	}
	return nil
}

// checkTwin refuses to go on where another process has this broker's id: a copy of the folder must never act for it.
func (n *Node) checkTwin(ctx context.Context) error {
	b := n.Image().Broker(n.cfg.NodeID)
	if n.addr == nil || b == nil || b.Cluster == "" || b.Cluster == n.addr.String() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, twinTime)
	defer cancel()
	var who whoAnswer
	err := n.addr.call(ctx, b.Cluster, methodWho, struct{}{}, &who)
	if err != nil || who.ClusterID != n.self.ClusterID || who.NodeID != n.cfg.NodeID {
		return nil // nobody is there, or somebody else by now
	}
	return fmt.Errorf("%w: broker %d of this cluster already runs, with the cluster address %s; stop that one, or start this one "+
		"with an empty data folder of its own (--data) and without --node-id", ErrIDInUse, n.cfg.NodeID, b.Cluster)
}

// twinTime is how long the last address of this broker is given to say who is there now.
const twinTime = time.Second

// connect has the address serve the cluster.
func (n *Node) connect() error {
	if n.addr == nil {
		return nil
	}
	l := n.addr.link
	l.Handle(methodPropose, n.answerPropose)
	l.Handle(methodAdmit, n.answerAdmit)
	l.Handle(methodSeat, n.answerSeat)
	l.Handle(methodQuorum, n.answerQuorum)
	l.OnMessage(kindQuorum, n.receive)
	l.OnDown(n.peerDown)
	n.wg.Go(n.keepSeat)
	return n.startGossip()
}

// awaitCluster returns when the metadata says which cluster this is.
func (n *Node) awaitCluster(ctx context.Context) error {
	for {
		moved := n.moved.wait()
		if n.Image().ClusterID() != "" {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.stopped:
			return ErrClosed
		}
	}
}

// newController is the controller of a node that has come to lead the quorum.
func (n *Node) newController() (*meta.Controller, error) {
	random, err := newRandom()
	if err != nil {
		return nil, err
	}
	lasts, _ := n.leaseTimes()
	return meta.NewController(meta.ControllerConfig{
		Partitions:        int32(n.cfg.Static.Int("num.partitions")),
		ReplicationFactor: int16(n.cfg.Static.Int("default.replication.factor")),
		Static:            n.cfg.Static,
		Lease:             lasts,
		Random:            random,
	}, n.Image()), nil
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

// newIncarnation is different for each process.
func newIncarnation() (id protocol.TopicID) {
	_, _ = crand.Read(id[:]) // never fails
	return id
}

func newRandom() (*rand.Rand, error) {
	var seed [32]byte
	if _, err := crand.Read(seed[:]); err != nil {
		return nil, err
	}
	return rand.New(rand.NewChaCha8(seed)), nil
}

// Incarnation tells this process from others with the same id. It is in this broker's registration once that is in the image.
func (n *Node) Incarnation() protocol.TopicID { return n.incarnation }

// Image is the newest committed metadata. It never blocks.
func (n *Node) Image() *meta.Image { return n.image.Load() }

// Changes has a token after the image has changed: one, however many changes there were since the last was taken. There
// can be one reader.
func (n *Node) Changes() <-chan struct{} { return n.changes }

// closeTime bounds the handing over of the quorum's leadership.
const closeTime = time.Second

// Close stops the node. Commands that have not been answered are refused.
func (n *Node) Close() error {
	n.once.Do(func() {
		n.handOver()
		faults := []error{n.endGossip()}
		n.stop()
		<-n.stopped
		if n.addr != nil {
			faults = append(faults, n.addr.Close())
		}
		n.wg.Wait()
		n.closing = errors.Join(append(faults, n.r.log.Close())...)
	})
	return n.closing
}

// Abandon has Shutdown and Close hand over nothing, as if the process had been killed.
func (n *Node) Abandon() { n.dropped.Store(true) }

// handOver gives the leadership of the quorum to another voter, if there is one that has all of the log: the others then need
// not find out that this one is silent.
func (n *Node) handOver() {
	if n.alone.Load() || n.dropped.Load() {
		return
	}
	ctx, cancel := context.WithTimeout(n.ctx, closeTime)
	defer cancel()
	for {
		lead := n.lead.Load()
		if !lead.here {
			return
		}
		found := make(chan bool, 1)
		n.order(func() { found <- n.transfer() })
		select {
		case ok := <-found:
			if !ok {
				return
			}
		case <-n.stopped:
			return
		}
		select {
		case <-lead.changed:
		case <-ctx.Done():
			return
		}
	}
}

// transfer begins to hand over. It says whether there is anybody to hand over to.
func (n *Node) transfer() bool {
	st := n.r.log.Status()
	var best quorum.Progress
	for _, p := range st.Progress {
		if !p.Learner && p.Active && p.ID != n.self.Quorum && p.Match > best.Match {
			best = p
		}
	}
	if best.ID == 0 {
		return false
	}
	n.r.log.Transfer(best.ID)
	return true
}
