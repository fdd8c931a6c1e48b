package meta

import (
	"cmp"
	"slices"

	"moldau.io/moldau/protocol"
)

// growInternal gives the topic of the groups the replicas that it could not have when it was made, because there were too few brokers: a
// cluster that grew from one broker would otherwise lose its groups with that one. Replicas are added by reassignments like
// any others; none is ever taken away.
func (c *Controller) growInternal() []Record {
	var cs changes
	t := c.image.Topic(OffsetsTopic)
	if t == nil {
		return nil
	}
	factor := int(c.cfg.Static.Int("offsets.topic.replication.factor"))
	usable := c.usable()
	load, r, all := loadOf(t), c.rulesOf(c.view(), t), c.voters(nil, -1)
	for i := range t.Partitions {
		p := &t.Partitions[i]
		if len(p.Replicas) >= factor || len(p.Adding)+len(p.Removing) > 0 || p.Leader == -1 {
			continue
		}
		ch := changeOf(p, r, all)
		ch.adding = load.choose(c.image, usable, p.Replicas, factor-len(p.Replicas))
		if len(ch.adding) == 0 {
			continue
		}
		ch.replicas = load.order(append(slices.Clone(p.Replicas), ch.adding...), p.Replicas[0])
		if to, ok := ch.build(); ok {
			cs.add(t, int32(i), &to)
		}
	}
	return cs.records()
}

// load counts what brokers have of some topics.
type load struct {
	replicas, first map[protocol.BrokerID]int // first: as the preferred leader
}

func loadOf(topics ...*Topic) load {
	l := load{replicas: map[protocol.BrokerID]int{}, first: map[protocol.BrokerID]int{}}
	for _, t := range topics {
		for i := range t.Partitions {
			for j, id := range t.Partitions[i].Replicas {
				l.replicas[id]++
				if j == 0 {
					l.first[id]++
				}
			}
		}
	}
	return l
}

// choose takes up to n more brokers for a partition: from racks that it is not in yet, and those with least.
func (l load) choose(im *Image, usable []*Broker, have []protocol.BrokerID, n int) []protocol.BrokerID {
	var chosen []protocol.BrokerID
	all := slices.Clone(have)
	for range n {
		crowd := func(b *Broker) (same int) { // replicas in b's rack
			for _, id := range all {
				if o := im.Broker(id); o != nil && o.Rack == b.Rack {
					same++
				}
			}
			return same
		}
		var best *Broker
		for _, b := range usable {
			if !slices.Contains(all, b.ID) && (best == nil ||
				cmp.Or(cmp.Compare(crowd(b), crowd(best)), cmp.Compare(l.replicas[b.ID], l.replicas[best.ID])) < 0) {
				best = b
			}
		}
		if best == nil {
			break
		}
		l.replicas[best.ID]++
		all, chosen = append(all, best.ID), append(chosen, best.ID)
	}
	return chosen
}

// order puts the replica first that is first least often, so that leaderships spread with the replicas.
func (l load) order(replicas []protocol.BrokerID, was protocol.BrokerID) []protocol.BrokerID {
	best := 0
	l.first[was]--
	for i, id := range replicas {
		if l.first[id] < l.first[replicas[best]] {
			best = i
		}
	}
	l.first[replicas[best]]++
	first := replicas[best]
	return slices.Insert(slices.Delete(replicas, best, best+1), 0, first)
}
