package coordinator

import (
	"slices"
	"strings"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// What is here is for who looks at groups from outside: metrics, the console, commands. They can do without an answer, so
// that they never wait in front of a coordinator that is busy or being loaded; its groups are missing from what they see.

// Glance is Submit for them.
func (g *Groups) Glance(id string, req group.Request, reply func(group.Response)) {
	s := g.shardOf(id)
	if s == nil {
		reply(req.Refuse(protocol.NotCoordinator))
		return
	}
	s.offer(call{req: req, reply: reply})
}

// shardOf is the shard that coordinates a group; nil where that is not here.
func (g *Groups) shardOf(id string) *shard {
	n := g.partitions()
	if n == 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shards[PartitionFor(id, n)]
}

// Overview is the groups of all partitions led here, sorted by name, as far as their coordinators answer.
func (g *Groups) Overview(reply func([]group.ListedGroup)) {
	g.askBy((*shard).offer, func() group.Request { return &group.List{} }, func(all []group.Response) {
		var sum []group.ListedGroup
		for _, r := range all {
			sum = append(sum, r.(*group.ListResult).Groups...)
		}
		slices.SortFunc(sum, func(a, b group.ListedGroup) int { return strings.Compare(a.Group, b.Group) })
		reply(sum)
	})
}

// Committed collects what the groups of all partitions led here have committed: at most so many offsets, those of the
// groups that come first by name.
func (g *Groups) Committed(most int, reply func(*group.CommittedResult)) {
	g.askBy((*shard).offer, func() group.Request { return &group.Committed{Max: most} }, func(all []group.Response) {
		sum := &group.CommittedResult{}
		for _, r := range all {
			one := r.(*group.CommittedResult)
			sum.Offsets = append(sum.Offsets, one.Offsets...)
			sum.LeftOut += one.LeftOut
		}
		// A group is in one answer only, and sorted there.
		slices.SortStableFunc(sum.Offsets, func(a, b group.CommittedOffset) int { return strings.Compare(a.Group, b.Group) })
		if over := len(sum.Offsets) - most; over > 0 {
			sum.Offsets = slices.Clip(sum.Offsets[:most])
			sum.LeftOut += over
		}
		reply(sum)
	})
}
