package group

import (
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
	"moldau.io/moldau/protocol"
)

// hear takes note of a request that names a member.
func (life *simLife) hear(req Request) {
	now := life.clock()
	switch q := req.(type) {
	case *Join:
		life.heardOf(q.Group, q.Member).maybe = now
	case *Sync:
		life.heardOf(q.Group, q.Member).maybe = now
	case *Heartbeat:
		life.heardOf(q.Group, q.Member).maybe = now
	case *CommitOffsets:
		life.heardOf(q.Group, q.Member).maybe = now
	case *ConsumerHeartbeat:
		life.heardOf(q.Group, q.Member).maybe = now
	}
}

func (life *simLife) heardOf(group, member string) *simHeard {
	of := life.heard[group]
	if of == nil {
		of = map[string]*simHeard{}
		life.heard[group] = of
	}
	h := of[member]
	if h == nil {
		h = &simHeard{}
		of[member] = h
	}
	return h
}

// greet takes note of members that a join brought in.
func (life *simLife) greet(group string) {
	if g := life.m.groups[group]; g != nil {
		for _, mem := range g.members {
			if life.heard[group][mem.id] == nil {
				h := life.heardOf(group, mem.id)
				h.sure, h.maybe = life.clock(), life.clock()
			}
		}
	}
}

// greetConverted takes note of members that have a new session because their group is of the other kind now.
func (life *simLife) greetConverted(id string) {
	if g := life.m.groups[id]; g != nil {
		for _, mem := range g.members {
			life.heardOf(id, mem.id).maybe = life.clock()
		}
	}
	if g := life.m.consumers[id]; g != nil {
		for name := range g.members {
			life.heardOf(id, name).maybe = life.clock()
		}
	}
}

// greetStatic takes note of static members that were to get a new id and kept the old one, since that was not written.
func (life *simLife) greetStatic() {
	for id, g := range life.m.groups {
		for _, mem := range g.static {
			life.heardOf(id, mem.id).maybe = life.clock()
		}
	}
}

// rejoinHeard gives all members that were loaded their sessions.
func (life *simLife) rejoinHeard() {
	for id, g := range life.m.groups {
		for _, mem := range g.members {
			h := life.heardOf(id, mem.id)
			h.sure, h.maybe = life.clock(), life.clock()
		}
	}
	for id, g := range life.m.consumers {
		for name := range g.members {
			h := life.heardOf(id, name)
			h.sure, h.maybe = life.clock(), life.clock()
		}
	}
}

// decided takes note of answers that begin a session anew.
func (r *simRules) decided(life *simLife, eff Effects) {
	now := life.clock()
	for _, reply := range eff.Replies {
		c := life.calls[reply.To]
		if c == nil {
			continue
		}
		group := c.req.GroupID()
		switch resp := reply.Resp.(type) {
		case *JoinResult:
			h := life.heardOf(group, resp.Member)
			h.maybe = now
			if resp.Code == 0 && life.m.consumers[group] != nil {
				h.sure = now
			}
			if g := life.m.groups[group]; resp.Code == 0 && g != nil && g.state == CompletingRebalance {
				h.sure = now
				for _, mem := range g.members { // also static ones that did not rejoin
					life.heardOf(group, mem.id).maybe = now
				}
			}
		case *SyncResult:
			life.heardOf(group, c.req.(*Sync).Member).maybe = now
		case *HeartbeatResult:
			if resp.Code == 0 || resp.Code == protocol.RebalanceInProgress {
				life.heardOf(group, c.req.(*Heartbeat).Member).sure = now
			}
		case *ConsumerHeartbeatResult:
			if resp.Code == 0 && resp.Epoch >= 0 {
				h := life.heardOf(group, resp.Member)
				h.sure, h.maybe = now, now
			}
		case *CommitResult:
			q := c.req.(*CommitOffsets)
			if life.m.groups[group] != nil && len(resp.Partitions) > 0 && resp.Partitions[0].Code == 0 {
				life.heardOf(group, q.Member).sure = now
			}
		}
	}
}

// ticked holds the members that are gone against when they were heard of, and those that stay.
func (r *simRules) ticked(life *simLife, b *simBefore, eff Effects) {
	r.decided(life, eff)
	r.expired(life, eff)
	now := life.clock()
	for id, was := range b.groups {
		g := life.m.groups[id]
		for member, seen := range was.members {
			if g != nil && g.byID[member] != nil {
				continue
			}
			silent := now.Sub(life.heardOf(id, member).sure)
			switch {
			case silent >= seen.session:
				r.w.mark("a silent member is removed")
			case was.state == PreparingRebalance && !seen.rejoined:
				r.w.mark("a member that does not rejoin is removed")
			case seen.unsynced:
				r.w.mark("a member that does not sync is removed")
			default:
				r.w.failf("%s was heard of %v ago, its session is %v, and it is removed from %s, which was in %s", simShort(member),
					silent, seen.session, id, was.state)
			}
		}
	}
}

// overdue is asked when all that a tick wanted is done: nobody may be silent for more than a session.
func (r *simRules) overdue(life *simLife) {
	now := life.clock()
	if !life.m.Deadline().After(now) {
		return // it has more to do
	}
	for _, g := range life.m.groups {
		r.present(life, g, now)
	}
	for id, g := range life.m.consumers {
		session := r.longestSession()
		limit := session
		if r.w.opt.refusals || !life.leads() {
			limit += 8 * time.Second // in which its tombstones may be refused
		}
		for name, mem := range g.members {
			limit := limit
			if mem.desc.Classic != nil {
				limit += mem.desc.Classic.session() - session
			}
			if silent := now.Sub(life.heardOf(id, name).maybe); silent > limit {
				r.w.failf("%s was not heard of for %v and is still a member of %s", simShort(name), silent, id)
			}
		}
	}
}

// longestSession of consumers: it is that of the member's last heartbeat.
func (r *simRules) longestSession() time.Duration {
	if r.w.opt.configs {
		return 2 * simSession
	}
	return simSession
}

// event holds the removal of a consumer against when it was heard of.
func (r *simRules) event(life *simLife, e Event) {
	r.w.mark("event: " + e.Kind.String())
	if life.m.consumers[e.Group] == nil {
		return
	}
	silent := life.clock().Sub(life.heardOf(e.Group, e.Who.Member).sure)
	session := simSession // at least
	if mem := life.m.consumers[e.Group].members[e.Who.Member]; mem != nil && mem.desc.Classic != nil {
		session = mem.desc.Classic.session()
	}
	switch e.Kind {
	case MemberExpired:
		if silent < session {
			r.w.failf("%s was heard of %v ago, its session is %v, and it is removed from %s", simShort(e.Who.Member), silent, session, e.Group)
		}
		if c := life.log.model.of(e.Group).current[e.Who.Member]; c != nil && c.State == MemberUnrevoked {
			r.w.mark("a consumer is silent while it is to give partitions back")
		}
	case MemberRemoved:
		r.w.mark("a consumer keeps what it is to give back for too long")
	case MemberReturned:
		if g := life.m.consumers[e.Group]; g.state() != Stable {
			r.w.mark("a static consumer comes back during a rebalance")
		}
	}
}

// present are the members of a classic group. Those that wait for an answer need not say more.
func (r *simRules) present(life *simLife, g *group, now time.Time) {
	for _, mem := range g.members {
		limit := mem.session
		if mem.isNew {
			limit = max(limit, life.m.cfg.NewMemberJoinTimeout)
		} else if mem.joinTicket != 0 || mem.syncTicket != 0 {
			continue
		}
		if silent := now.Sub(life.heardOf(g.id, mem.id).maybe); silent > limit {
			r.w.failf("%s was not heard of for %v and is still a member of %s, which is in %s", simShort(mem.id), silent, g.id, g.state)
		}
	}
}

// expired holds offsets that a tick removes against their age, and against what members are subscribed to.
func (r *simRules) expired(life *simLife, eff Effects) {
	wall, keep := life.clock().UnixMilli(), life.m.cfg.OffsetsRetention.Milliseconds()
	for _, rec := range eff.Records {
		if rec.Kind != KindCommit || rec.Value != nil || !life.leads() {
			continue
		}
		g := life.log.model.of(rec.Group)
		since := int64(-1) // the group is without members; then its offsets are as old as that
		if cg := life.m.groups[rec.Group]; cg != nil && cg.kind != "" && cg.state == Empty {
			since = cg.since
		}
		if c := g.commit(rec.Topic, rec.Partition); c == nil || wall-c.Timestamp < keep && (since < 0 || wall-since < keep) {
			r.w.failf("an offset of %s-%d of group %s was removed before its time: %+v", rec.Topic, rec.Partition, rec.Group, c)
		}
		r.w.mark("an offset expires")
		if g.wants(rec.Topic) && life.members(rec.Group) > 0 {
			r.w.failf("an offset of %s-%d expired, and members of group %s are subscribed to it", rec.Topic, rec.Partition, rec.Group)
		}
	}
}

// wants says that a member is subscribed to the topic, by name or because its expression was found to match it.
func (g *simModelGroup) wants(topic string) bool {
	for _, mem := range g.members {
		re := g.regexes[mem.pattern()]
		if slices.Contains(mem.Topics, topic) || re != nil && slices.Contains(re.Topics, topic) {
			return true
		}
	}
	if g.saved == nil {
		return false
	}
	return slices.ContainsFunc(g.saved.Members, func(mem SavedMember) bool {
		var m kmsg.ConsumerMemberMetadata
		return m.ReadFrom(mem.Metadata) == nil && slices.Contains(m.Topics, topic)
	})
}
