package gossip

import (
	"bytes"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/memberlist"

	"moldau.io/moldau/cluster/link"
)

// hooks are what memberlist asks and tells. It holds a lock of its own meanwhile, so that it must not be asked anything.
type hooks struct{ g *Gossip }

// NodeMeta is what memberlist spreads of this broker.
func (h hooks) NodeMeta(int) []byte {
	g := h.g
	g.mu.Lock()
	defer g.mu.Unlock()
	b, err := g.me.encode()
	if err != nil {
		return nil // it was checked before it became me
	}
	return b
}

// These are of no use here.
func (h hooks) NotifyMsg([]byte)                {}
func (h hooks) GetBroadcasts(int, int) [][]byte { return nil }
func (h hooks) LocalState(bool) []byte          { return nil }
func (h hooks) MergeRemoteState([]byte, bool)   {}

// NotifyAlive refuses members of other clusters, and those that do not say who they are.
func (h hooks) NotifyAlive(n *memberlist.Node) error {
	g := h.g
	if n.Name == g.name {
		return nil
	}
	m, err := decode(n.Meta)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if m.ClusterID != g.me.ClusterID {
		if !g.said[m.ClusterID] && len(g.said) < membersMax {
			g.said[m.ClusterID] = true
			g.cfg.Logger.Warn("a broker of another cluster gossips with this one; it is not listened to",
				"peer", m.Addr, "broker", m.ID, "cluster", m.ClusterID, "ours", g.me.ClusterID)
		}
		return fmt.Errorf("%w: %s", link.ErrOtherCluster, m.ClusterID)
	}
	if _, known := g.members[n.Name]; !known && len(g.members) >= membersMax {
		return fmt.Errorf("more than %d members", membersMax)
	}
	return nil
}

// NotifyMerge refuses what another cluster knows as a whole.
func (h hooks) NotifyMerge(nodes []*memberlist.Node) error {
	var last error
	for _, n := range nodes {
		if last = h.NotifyAlive(n); last == nil {
			return nil
		}
	}
	return last
}

// NotifyJoin is told of new members.
func (h hooks) NotifyJoin(n *memberlist.Node) { h.g.there(n) }

// NotifyUpdate is told of those that say something new of themselves.
func (h hooks) NotifyUpdate(n *memberlist.Node) { h.g.there(n) }

func (g *Gossip) there(n *memberlist.Node) {
	if n.Name == g.name {
		return
	}
	m, err := decode(n.Meta)
	if err != nil {
		return // NotifyAlive has refused it
	}
	g.mu.Lock()
	_, known := g.members[n.Name]
	g.members[n.Name] = m
	delete(g.lost, m.Addr)
	news := !known && g.newest(m)
	g.mu.Unlock()
	if news {
		g.cfg.Logger.Info("heard of a broker", "broker", m.ID, "peer", m.Addr, "version", m.Version)
	}
	g.changed()
}

// newest says whether m is the life of a broker that counts, and none of this one's. g.mu is held.
func (g *Gossip) newest(m Member) bool {
	for _, other := range g.members {
		if other.ID == m.ID && other.Started.After(m.Started) {
			return false
		}
	}
	return m.ID != g.me.ID
}

// NotifyLeave is told of those that are not heard of any more, whether or not they have said good-bye.
func (h hooks) NotifyLeave(n *memberlist.Node) { h.g.gone(n.Name, true) }

// gone forgets a member. Those that have not said good-bye are looked for.
func (g *Gossip) gone(name string, look bool) {
	g.mu.Lock()
	m, known := g.members[name]
	delete(g.members, name)
	for _, other := range g.members { // it has come back as another process already
		look = look && other.Addr != m.Addr && other.ID != m.ID
	}
	look = look && m.ID != g.me.ID && m.Addr != g.me.Addr
	if known && look && len(g.lost) < membersMax {
		g.lost[m.Addr] = search{since: time.Now(), next: time.Now().Add(g.cfg.Pace)}
	}
	g.mu.Unlock()
	if !known {
		return
	}
	level := slog.LevelInfo
	if !look { // it has said good-bye, or its next life is there
		level = slog.LevelDebug
	}
	g.cfg.Logger.Log(g.ctx, level, "a broker is not heard of any more", "broker", m.ID, "peer", m.Addr)
	g.changed()
}

// left is told that a member stops.
func (g *Gossip) left(_ link.Peer, name []byte) { g.gone(string(name), false) }

// logWriter passes on what memberlist writes, for those who look closely: what matters is said by events.
type logWriter struct{ log *slog.Logger }

func (w *logWriter) Write(p []byte) (int, error) {
	line := bytes.TrimSpace(p)
	if i := bytes.Index(line, []byte("memberlist: ")); i >= 0 {
		line = line[i:]
	}
	w.log.Debug("gossip", "said", clean(line))
	return len(p), nil
}
