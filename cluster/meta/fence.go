package meta

import (
	"slices"

	"moldau.io/moldau/protocol"
)

// fence takes brokers for dead: they leave every in-sync set, and others lead what they led. All that die at the same time are
// fenced together, so that no leadership goes from one dead broker to the next.
func (c *Controller) fence(ids []protocol.BrokerID) []Record {
	recs := c.leave(ids, nil)
	for _, id := range ids {
		b := *c.image.Broker(id)
		b.Fenced = true
		recs = append(recs, brokerChange(&b))
	}
	return recs
}

// leave takes brokers out of every in-sync set and every leadership, as far as others can take over. Those in uncleanly may
// have lost records: they leave the ELR as well.
func (c *Controller) leave(ids, uncleanly []protocol.BrokerID) []Record {
	return c.change(c.voters(ids, -1), func(p *Partition) bool {
		return slices.Contains(ids, p.Leader) || containsAny(p.ISR, ids) || containsAny(p.ELR, uncleanly)
	}, func(ch *partitionChange) {
		ch.isr, ch.uncleanly = without(ch.isr, ids...), uncleanly
	})
}

// electLeaderless looks for leaders of partitions that have none. coming is a broker that is about to be unfenced, or -1.
func (c *Controller) electLeaderless(coming protocol.BrokerID) []Record {
	return c.change(c.voters(nil, coming),
		func(p *Partition) bool { return p.Leader == -1 }, func(*partitionChange) {})
}

// change makes the same change to all partitions that are concerned by it, in the order of their topics' names.
func (c *Controller) change(v *voters, concerned func(*Partition) bool, want func(*partitionChange)) []Record {
	var cs changes
	view := c.view()
	for _, t := range c.image.Topics() {
		var r rules
		known := false
		for i := range t.Partitions {
			p := &t.Partitions[i]
			if !concerned(p) {
				continue
			}
			if !known {
				r, known = c.rulesOf(view, t), true
			}
			ch := changeOf(p, r, v)
			want(&ch)
			if to, ok := ch.build(); ok {
				cs.add(t, int32(i), &to)
			}
		}
	}
	return cs.records()
}

func brokerChange(b *Broker) BrokerChangeRecord {
	return BrokerChangeRecord{ID: b.ID, Epoch: b.Epoch, Fenced: b.Fenced, Stopping: b.Stopping, Draining: b.Draining}
}

func containsAny(all, ids []protocol.BrokerID) bool {
	for _, id := range ids {
		if slices.Contains(all, id) {
			return true
		}
	}
	return false
}

func (c *Controller) brokerGone(cmd BrokerGone) ([]Record, Reply, error) {
	b := c.image.Broker(cmd.ID)
	if b == nil || b.Epoch != cmd.Epoch || !c.leased(b) {
		return nil, BrokerGoneReply{}, nil // it has come back, or was fenced already
	}
	return c.fence([]protocol.BrokerID{b.ID}), BrokerGoneReply{}, nil
}

// unregisterBroker forgets a broker for good. What it held is held to be lost: one that comes back with this id begins anew.
func (c *Controller) unregisterBroker(cmd UnregisterBroker) ([]Record, Reply, error) {
	b := c.image.Broker(cmd.ID)
	if _, admitted := c.image.Node(cmd.ID); b == nil && admitted { // it was given its id, and never came
		return []Record{RemoveBrokerRecord{ID: cmd.ID, Epoch: -1}}, UnregisterBrokerReply{}, nil
	}
	if b == nil {
		return nil, nil, protocol.Errorf(protocol.BrokerIDNotRegistered, "Broker ID %d is not currently registered", cmd.ID)
	}
	ids := []protocol.BrokerID{b.ID}
	return append(c.leave(ids, ids), RemoveBrokerRecord{ID: b.ID, Epoch: b.Epoch}), UnregisterBrokerReply{}, nil
}
