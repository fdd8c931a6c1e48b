package cluster

import (
	"slices"
	"sync"

	"moldau.io/moldau/cluster/meta"
)

// peers says at which cluster address a member of the quorum is. What a member has said itself, with a message, is newest;
// else the registrations count, and what gossip has heard.
type peers struct {
	mu    sync.Mutex
	heard map[uint64]string // from messages
	told  map[uint64]string // from registrations, replaced with each image that changes a broker
	hints map[uint64]string // from gossip
}

// heardMax bounds what strangers can make a broker remember.
const heardMax = 4096

func newPeers() *peers {
	return &peers{heard: map[uint64]string{}, told: map[uint64]string{}, hints: map[uint64]string{}}
}

func (p *peers) addr(quorum uint64) string {
	if addrs := p.addrs(quorum); len(addrs) > 0 {
		return addrs[0]
	}
	return ""
}

// addrs is where a member may be. As long as it has not said a word itself that is where it is registered and also where gossip
// says that it is: after all brokers have come back at other addresses no registration leads anywhere, and a message that
// arrives twice, or at somebody else, does no harm.
func (p *peers) addrs(quorum uint64) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if a := p.heard[quorum]; a != "" {
		return []string{a}
	}
	var out []string
	for _, m := range []map[uint64]string{p.told, p.hints} {
		if a := m[quorum]; a != "" && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	return out
}

func (p *peers) hear(quorum uint64, addr string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if addr != "" && (len(p.heard) < heardMax || p.heard[quorum] != "") {
		p.heard[quorum] = addr
	}
}

// register takes the addresses from the registrations. One that has changed wins over what was heard before.
func (p *peers) register(im *meta.Image) {
	p.mu.Lock()
	defer p.mu.Unlock()
	told := make(map[uint64]string, len(im.Brokers()))
	for _, n := range im.Nodes() {
		told[n.Quorum] = n.Cluster
	}
	for _, b := range im.Brokers() {
		if b.Cluster != "" {
			told[b.Quorum] = b.Cluster
		}
	}
	delete(told, 0) // registered before there were clusters
	for q, addr := range told {
		if p.told[q] != addr {
			delete(p.heard, q)
		}
	}
	p.told = told
}

func (p *peers) hint(hints map[uint64]string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hints = hints
}

// hinted is the addresses that gossip knows.
func (p *peers) hinted() (addrs []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, a := range p.hints {
		addrs = append(addrs, a)
	}
	return addrs
}
