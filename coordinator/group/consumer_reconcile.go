package group

import (
	"slices"

	"moldau.io/moldau/protocol"
)

// reconcile takes the member one step from what it has to what it is to have. It must first give back what it is not to
// have any more; then it gets what nobody else has; what others have not given back yet it waits for.
//
//	stable      in the epoch of the target, with all of it
//	unrevoked   was told to give partitions back and has not said that it did; it stays in its epoch until then
//	unreleased  in the epoch of the target, waits for partitions of others
func (m *Machine) reconcile(b *beat, owned []TopicPartitions) *refusal {
	was := b.wasCur
	b.cur = was
	if !b.subscription && was.settledAt(b.targetEpoch) {
		return nil
	}
	s := step{g: b.g, was: was, owned: owned, target: sorted(b.target), epoch: b.targetEpoch}
	s.subscribed = b.subscribedIDs(m.topics.Now())
	next, no := s.next(b.subscription)
	if no != nil {
		return no
	}
	if !next.equal(was) {
		b.cur = next
		m.record(Record{Kind: KindCurrent, Group: b.g.id, Name: b.id, Value: next})
		m.tellSettled(b)
	}
	return nil
}

// tellSettled tells that a rebalance is over, if this member was the last one on its way.
func (m *Machine) tellSettled(b *beat) {
	g := b.g
	if b.targetEpoch < b.epoch || !b.cur.settledAt(b.targetEpoch) {
		return
	}
	others := 0
	if b.targetEpoch == g.targetEpoch {
		others = g.settled
		if mem := g.members[b.id]; mem != nil && mem.settledAt(g.targetEpoch) {
			others--
		}
	}
	if others < b.members()-1 {
		return
	}
	m.tell(Event{
		Kind: RebalanceCompleted, Group: g.id, Generation: b.epoch, Members: b.members(), Reason: g.reason, Stored: true,
	})
}

// step is what the way of one member is decided from.
type step struct {
	g          *consumerGroup
	was        *Current
	owned      []TopicPartitions // what the member says that it has; nil: it does not say
	target     []TopicPartitions
	epoch      int32              // of the target
	subscribed []protocol.TopicID // sorted
}

func (s *step) next(subscriptionChanged bool) (*Current, *refusal) {
	switch s.was.State {
	case MemberStable:
		if s.was.Epoch != s.epoch {
			return s.advance(s.was.Epoch), nil
		}
		if subscriptionChanged {
			return s.unsubscribe(), nil
		}
		return s.was, nil
	case MemberUnrevoked:
		if !s.keeps(s.was.Revoking) {
			return s.advance(s.was.Epoch), nil
		}
		if subscriptionChanged {
			return s.unsubscribe(), nil
		}
		return s.was, nil
	case MemberUnreleased:
		return s.advance(s.was.Epoch), nil
	}
	// The record was written by something newer. Only a member that has nothing can be brought to a state that is known.
	if s.owned == nil || len(s.owned) > 0 {
		return nil, refuse(protocol.FencedMemberEpoch, "The consumer group member is in a unknown state. The member must "+
			"abandon all its partitions and rejoin.")
	}
	return s.advance(s.epoch), nil
}

// keeps says that the member may still have some of the partitions.
func (s *step) keeps(list []TopicPartitions) bool { return s.owned == nil || holdsAny(list, s.owned) }

func (s *step) isSubscribed(id protocol.TopicID) bool {
	_, ok := slices.BinarySearchFunc(s.subscribed, id, compareIDs)
	return ok
}

// unsubscribe takes the topics away at once that the member has unsubscribed from, without waiting for a target.
func (s *step) unsubscribe() *Current {
	next := &Current{Epoch: s.was.Epoch, PreviousEpoch: s.was.Epoch, State: s.was.State}
	var gone []TopicPartitions
	for _, t := range s.was.Assigned {
		if s.isSubscribed(t.ID) {
			next.Assigned = append(next.Assigned, t)
		} else {
			gone = append(gone, t)
		}
	}
	if gone == nil {
		return s.was
	}
	revoking := merge(s.was.Revoking, gone)
	if s.keeps(revoking) {
		next.State, next.Revoking = MemberUnrevoked, revoking
	} else {
		next.Revoking = s.was.Revoking
	}
	return next
}

// advance compares what the member has with the target.
func (s *step) advance(epoch int32) *Current {
	var kept, gone, free []TopicPartitions
	unreleased := false
	s.eachTopic(func(id protocol.TopicID, has TopicPartitions, target []int32) {
		if !s.isSubscribed(id) {
			target = nil
		}
		stay, go_ := TopicPartitions{ID: id}, TopicPartitions{ID: id}
		for i, p := range has.Partitions {
			to := &go_
			if _, ok := slices.BinarySearch(target, p); ok {
				to = &stay
			}
			to.Partitions, to.Epochs = append(to.Partitions, p), append(to.Epochs, has.Epochs[i])
		}
		get := TopicPartitions{ID: id}
		for _, p := range target {
			if _, ok := slices.BinarySearch(has.Partitions, p); ok {
				continue
			}
			if s.isTaken(id, p) {
				unreleased = true
				continue
			}
			get.Partitions, get.Epochs = append(get.Partitions, p), append(get.Epochs, s.epoch)
		}
		kept, gone, free = appendSome(kept, stay), appendSome(gone, go_), appendSome(free, get)
	})
	if gone != nil && s.keeps(gone) {
		return &Current{Epoch: epoch, PreviousEpoch: s.was.Epoch, State: MemberUnrevoked, Assigned: kept, Revoking: gone}
	}
	next := &Current{Epoch: s.epoch, PreviousEpoch: s.was.Epoch, State: MemberStable, Assigned: merge(kept, free)}
	if unreleased {
		next.State = MemberUnreleased
	}
	return next
}

// isTaken says that the partition is not free. What the member itself was giving back it may have again.
func (s *step) isTaken(id protocol.TopicID, partition int32) bool {
	if s.g.owners[ownedPartition{id, partition}] == nil {
		return false
	}
	_, mine := has(s.was.Revoking, id, partition)
	return !mine
}

// eachTopic walks the topics of what the member has and of the target, by id.
func (s *step) eachTopic(f func(id protocol.TopicID, has TopicPartitions, target []int32)) {
	a, b := s.was.Assigned, s.target
	for len(a) > 0 || len(b) > 0 {
		order := 0
		switch {
		case len(a) == 0:
			order = 1
		case len(b) == 0:
			order = -1
		default:
			order = compareIDs(a[0].ID, b[0].ID)
		}
		switch {
		case order < 0:
			f(a[0].ID, a[0], nil)
			a = a[1:]
		case order > 0:
			f(b[0].ID, TopicPartitions{}, b[0].Partitions)
			b = b[1:]
		default:
			f(a[0].ID, a[0], b[0].Partitions)
			a, b = a[1:], b[1:]
		}
	}
}

func appendSome(list []TopicPartitions, t TopicPartitions) []TopicPartitions {
	if len(t.Partitions) == 0 {
		return list
	}
	return append(list, t)
}

// merge is the partitions of both lists, which have none in common, with their epochs.
func merge(a, b []TopicPartitions) []TopicPartitions {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make([]TopicPartitions, 0, len(a)+len(b))
	for _, t := range a {
		o := find(b, t.ID)
		if o == nil {
			out = append(out, t)
			continue
		}
		n := TopicPartitions{ID: t.ID, Partitions: slices.Concat(t.Partitions, o.Partitions), Epochs: slices.Concat(t.Epochs, o.Epochs)}
		out = append(out, n)
	}
	for _, t := range b {
		if find(a, t.ID) == nil {
			out = append(out, t)
		}
	}
	return normal(out, 0)
}
