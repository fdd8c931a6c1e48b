package group

import (
	"maps"
	"slices"
	"time"
)

// expireOffsets removes the offsets whose time is over, and the groups that nothing is left of. What counts (KIP-211):
//
//	no members, had some   the time since the group became empty
//	never had members      the time since the commit
//	stable, of consumers   the time since the commit, for topics that nobody is subscribed to
//	others                 nothing expires
//
// What an open transaction is about to replace stays, and so does its group. A commit that brought a time of its own
// (OffsetCommit v2-v4) goes by that.
func (m *Machine) expireOffsets(now time.Time) {
	wall := now.UnixMilli()
	keep := m.cfg.OffsetsRetention.Milliseconds()
	m.expireConsumers(wall, keep)
	for _, id := range slices.Sorted(maps.Keys(m.groups)) {
		g := m.groups[id]
		if !g.mayExpire() {
			continue
		}
		none := m.removeOffsets(id, func(topic string, p int32, c *Commit) bool {
			switch {
			case m.pending.unstable(id, topic, p):
				return false
			case g.subscribedTo(topic):
				return false
			case c.Expires >= 0:
				return wall >= c.Expires
			case g.kind != "" && g.state == Empty && g.since >= 0:
				return wall-g.since >= keep
			}
			return wall-c.Timestamp >= keep
		})
		if none && g.state == Empty && len(g.pending) == 0 && !m.pending.any(id) {
			m.record(savedRecord(id, nil))
			m.cut()
			m.stored(g, GroupDeleted, Who{}, "it has no members and no offsets")
		}
	}
}

func (g *group) mayExpire() bool {
	return g.kind == "" || g.state == Empty || g.state == Stable && g.kind == consumerType && g.topics != nil
}
