package group

import (
	"slices"

	"moldau.io/moldau/protocol"
)

// written looks at a record that goes into a log, before the model has it: epochs rise (EpochMonotone).
func (r *simRules) written(l *simLog, rec Record, converted bool) {
	g := l.model.of(rec.Group)
	if rec.Value == nil {
		if rec.Kind == KindMember {
			r.removed[rec.Group+"/"+rec.Name]++
		}
		if (rec.Kind == KindSaved || rec.Kind == KindEpoch) && !converted {
			r.beginAnew(rec.Group) // generations and epochs begin anew
		}
		if converted && rec.Kind == KindSaved && g.saved != nil {
			r.generations[rec.Group] = g.saved.Generation
			r.w.mark("a classic group becomes a consumer group")
		}
		if converted && rec.Kind == KindEpoch && g.epoch != nil {
			r.generations[rec.Group] = g.epoch.Epoch
			r.w.mark("a consumer group becomes a classic group")
		}
		return
	}
	switch v := rec.Value.(type) {
	case *Saved:
		r.rejoined(rec.Group, g.saved, v)
		if converted && v.Generation < r.generations[rec.Group] && len(v.Members) > 0 {
			r.w.failf("group %s was in epoch %d and becomes a classic group of generation %d", rec.Group, r.generations[rec.Group], v.Generation)
		}
	case *Epoch:
		if converted && v.Epoch < r.generations[rec.Group] {
			r.w.failf("group %s was in generation %d and becomes a consumer group of epoch %d", rec.Group, r.generations[rec.Group], v.Epoch)
		}
		if g.epoch != nil && v.Epoch < g.epoch.Epoch {
			r.w.failf("the epoch of group %s falls from %d to %d", rec.Group, g.epoch.Epoch, v.Epoch)
		}
	case *Target:
		if g.target != nil && v.Epoch < g.target.Epoch {
			r.w.failf("the target of group %s falls from epoch %d to %d", rec.Group, g.target.Epoch, v.Epoch)
		}
	case *Current:
		if was := g.current[rec.Name]; was != nil && v.Epoch < was.Epoch && v.Epoch != leaveStaticEpoch {
			r.w.failf("member %s of group %s falls from epoch %d to %d", simShort(rec.Name), rec.Group, was.Epoch, v.Epoch)
		}
	}
}

// rejoined holds the members of a new generation of a classic group against who joined it: others are out, but for static
// members, who may come back within their sessions.
func (r *simRules) rejoined(group string, was, is *Saved) {
	if was == nil || is.Generation <= was.Generation || !r.purelyClassic(group) {
		return
	}
	for _, mem := range is.Members {
		if mem.Instance == nil && r.of(group).joined[mem.Member] != is.Generation {
			r.w.failf("%s is a member of group %s in generation %d, which it did not join", simShort(mem.Member), group, is.Generation)
		}
	}
}

// consumerModel holds what the records of a consumer group say, once all of a decision is written: epochs in their order
// (ValidMemberEpoch), no partition with two owners (OneOwner), and targets that give each partition to one member that is
// there and wants its topic (LegalTarget).
func (r *simRules) consumerModel(id string, g *simModelGroup) {
	if !g.consumer() {
		return
	}
	if g.saved != nil {
		r.w.failf("group %s is of both kinds", id)
	}
	epoch, targetEpoch := g.epochs()
	if targetEpoch > epoch {
		r.w.failf("group %s has a target of epoch %d and is in epoch %d", id, targetEpoch, epoch)
	}
	owner := map[simTP]string{}
	for _, name := range sortedKeys(g.current) {
		c := g.current[name]
		if g.members[name] == nil {
			r.w.failf("group %s knows what %s has, which is no member", id, simShort(name))
		}
		if c.Epoch > epoch || c.Epoch > targetEpoch {
			r.w.failf("member %s of group %s is in epoch %d, the group in %d, its target in %d", simShort(name), id, c.Epoch,
				epoch, targetEpoch)
		}
		for _, t := range slices.Concat(c.Assigned, c.Revoking) {
			for _, p := range t.Partitions {
				tp := simTP{t.ID, p}
				if other := owner[tp]; other != "" {
					r.w.failf("partition %v of group %s has the owners %s and %s", tp, id, simShort(other), simShort(name))
				}
				owner[tp] = name
			}
		}
	}
	r.targetModel(id, g)
}

// consumer says that it is a group of the consumer protocol.
func (g *simModelGroup) consumer() bool { return g.epoch != nil || len(g.members) > 0 }

// epochs of the group and of its target. A group whose only member wants nothing that is there has no record of either.
func (g *simModelGroup) epochs() (epoch, target int32) {
	epoch, target = initialEpoch, initialEpoch
	if g.epoch != nil {
		epoch = g.epoch.Epoch
	}
	if g.target != nil {
		target = g.target.Epoch
	}
	return epoch, target
}

func (r *simRules) targetModel(id string, g *simModelGroup) {
	owner := map[simTP]string{}
	for _, name := range sortedKeys(g.targets) {
		mem := g.members[name]
		if mem == nil {
			r.w.failf("group %s has a target for %s, which is no member", id, simShort(name))
			return
		}
		for _, t := range g.targets[name].Topics {
			for _, p := range t.Partitions {
				tp := simTP{t.ID, p}
				if other := owner[tp]; other != "" {
					r.w.failf("the target of group %s gives %v to %s and to %s", id, tp, simShort(other), simShort(name))
				}
				owner[tp] = name
			}
		}
	}
}

// settledModel holds a consumer group in the end: its target is that of its epoch, everybody has it, and it is all that
// anybody wants (ValidStableGroup).
func (g *simGroup) settledModel() string {
	m := g.log.model.of(g.id)
	epoch, targetEpoch := m.epochs()
	if targetEpoch != epoch {
		return "has no target for its epoch"
	}
	for _, name := range sortedKeys(m.members) {
		c, target := m.current[name], m.targets[name]
		if re := m.members[name].pattern(); re != "" {
			if known := m.regexes[re]; known == nil || !slices.Equal(known.Topics, g.w.topics.matching(re)) {
				return "has not found all topics of " + re
			}
		}
		if target == nil { // it joined without a topic to subscribe to, which asks for no new target
			target = &MemberTarget{}
		}
		if c == nil || c.Epoch != epoch || c.State != MemberStable || len(c.Revoking) > 0 {
			return "has member " + simShort(name) + ", which is not there yet"
		}
		if !slices.Equal(tpsOf(c.Assigned), tpsOf(target.Topics)) {
			return "has member " + simShort(name) + ", which has " + simParts(c.Assigned) + " and not " + simParts(target.Topics)
		}
	}
	return ""
}

func tpsOf(ts []TopicPartitions) []simTP {
	set := simSet{}
	for _, t := range ts {
		for _, p := range t.Partitions {
			set[simTP{t.ID, p}] = true
		}
	}
	return set.sorted()
}

// mayBeat holds a heartbeat that was taken against the log: the member is there and knows its epoch, or the one before.
func (r *simRules) mayBeat(life *simLife, req *ConsumerHeartbeat, eff Effects) {
	if req.Epoch <= 0 || !life.leads() || len(eff.Replies) != 1 || codeOf(eff.Replies[0].Resp) != protocol.None {
		return
	}
	c := life.log.model.of(req.Group).current[req.Member]
	switch {
	case c == nil:
		r.w.failf("a heartbeat of %s was taken by group %s, where it is no member", simShort(req.Member), req.Group)
	case req.Epoch == c.PreviousEpoch && req.Epoch != c.Epoch:
		has := tpsOf(c.Assigned)
		for _, tp := range tpsOf(req.Owned) {
			if !slices.Contains(has, tp) {
				r.w.failf("a heartbeat of %s in its epoch of before, %d, was taken with %v, which it was not assigned", simShort(req.Member), req.Epoch, tp)
			}
		}
		r.w.mark("a consumer that did not hear of its new epoch goes on")
	case req.Epoch != c.Epoch:
		r.w.failf("a heartbeat of %s in epoch %d was taken, it is in %d", simShort(req.Member), req.Epoch, c.Epoch)
	}
}

// mayCommitConsumer holds a commit that a consumer group let through against the log: the member is there and knows its
// epoch, or believes in one since which it has had the partition.
func (r *simRules) mayCommitConsumer(life *simLife, req *CommitOffsets) {
	g := life.log.model.of(req.Group)
	if req.Generation < 0 {
		if len(g.members) > 0 {
			r.w.failf("a commit without a member was taken by group %s, which has %d", req.Group, len(g.members))
		}
		return
	}
	c := g.current[req.Member]
	switch {
	case c == nil:
		r.w.failf("a commit of %s was taken by group %s, where it is no member", simShort(req.Member), req.Group)
	case req.Generation == c.Epoch:
	case req.Generation > c.Epoch:
		r.w.failf("a commit of %s in epoch %d was taken, it is in %d", simShort(req.Member), req.Generation, c.Epoch)
	default:
		r.w.mark("a commit in an earlier epoch is taken")
		for _, p := range req.Partitions {
			since := int32(1 << 30)
			for _, t := range slices.Concat(c.Assigned, c.Revoking) {
				if i := slices.Index(t.Partitions, p.Partition); t.ID == p.TopicID && i >= 0 && i < len(t.Epochs) {
					since = t.Epochs[i]
				}
			}
			if req.Generation < since {
				r.w.failf("a commit of %s in epoch %d was taken for a partition that it has since %d", simShort(req.Member), req.Generation, since)
			}
		}
	}
}

// conversions are the groups with members that a batch makes groups of the other kind.
func (life *simLife) conversions(records []Record) map[string]bool {
	kinds := map[string]int{}
	both := map[string]bool{}
	for _, r := range records {
		switch r.Kind {
		case KindSaved:
			kinds[r.Group] |= 1
		case KindEpoch:
			kinds[r.Group] |= 2
		}
		if kinds[r.Group] == 3 && life.members(r.Group) > 0 {
			both[r.Group] = true
		}
	}
	return both
}
