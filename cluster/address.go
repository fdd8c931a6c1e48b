package cluster

import (
	"context"
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"

	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/protocol"
)

// AddressConfig is what an Address needs to know.
type AddressConfig struct {
	// Network is how brokers reach each other. Default: the machine's.
	Network link.Network

	// Listen is the host:port that other brokers dial. Advertise is what they are told, where that is not Listen.
	Listen, Advertise string

	// Key encrypts and authenticates everything between brokers, where it is not empty (moldau.gossip.key). All brokers
	// have the same.
	Key []byte

	Version string // of this build
	Logger  *slog.Logger
}

// Address is a broker's open cluster address. It is open before the broker knows who it is: a newcomer asks by it for its
// ids, and others find out by it that somebody waits there.
type Address struct {
	cfg  AddressConfig
	link *link.Link
	wire *wire

	mu   sync.Mutex
	self Identity
}

// Identity is who a broker is.
type Identity struct {
	ClusterID string            // empty: not known yet
	NodeID    protocol.BrokerID // -1: not known yet
	Quorum    uint64            // in the quorum; drawn anew with each new folder
}

// Listen opens a cluster address. Close must be called in the end, or Close of the Node that it was given to.
func Listen(ctx context.Context, cfg AddressConfig) (*Address, error) {
	if cfg.Network == nil {
		cfg.Network = link.OS()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	a := &Address{cfg: cfg, wire: newWire(), self: Identity{NodeID: -1}}
	l, err := link.Listen(ctx, link.Config{
		Network: cfg.Network, Addr: cfg.Listen, Advertise: cfg.Advertise, Key: cfg.Key, Build: cfg.Version,
		ClusterID: func() string { return a.Self().ClusterID },
		Name:      a.name,
		Logger:    cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	a.link = l
	l.Handle(methodWho, a.answerWho)
	return a, nil
}

// String is what other brokers dial.
func (a *Address) String() string { return a.link.Addr() }

// Self is who this broker is, as far as it knows.
func (a *Address) Self() Identity {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.self
}

// Identify says who this broker is.
func (a *Address) Identify(id Identity) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.self = id
}

func (a *Address) name() string {
	if id := a.Self().NodeID; id >= 0 {
		return strconv.Itoa(int(id))
	}
	return ""
}

// Close closes the address.
func (a *Address) Close() error { return a.link.Close() }

// call asks another broker, and reads its answer.
func (a *Address) call(ctx context.Context, addr, method string, ask, answer any) error {
	b, err := a.link.Call(ctx, addr, method, a.wire.encode(ask))
	if err != nil {
		return err
	}
	if err := a.wire.decode(b, answer); err != nil {
		return fmt.Errorf("%s answers %s: %w", addr, method, err)
	}
	return nil
}

const methodWho = "who"

// whoAnswer says who is at a cluster address.
type whoAnswer struct {
	ClusterID string
	NodeID    protocol.BrokerID
	Process   uint64 // drawn by each process
	Version   string
}

func (a *Address) answerWho(context.Context, link.Peer, []byte) ([]byte, error) {
	id := a.Self()
	return a.wire.encode(whoAnswer{ClusterID: id.ClusterID, NodeID: id.NodeID, Version: a.cfg.Version}), nil
}

// NewQuorumID draws an id in the quorum. It is far from those that older builds made of node ids.
func NewQuorumID() uint64 {
	var b [8]byte
	_, _ = crand.Read(b[:]) // never fails
	return binary.BigEndian.Uint64(b[:])>>3 | 1<<32
}

// errNoAddress says that a broker without a cluster address cannot do what was asked.
var errNoAddress = errors.New("this broker has no cluster address (--cluster-listen)")
