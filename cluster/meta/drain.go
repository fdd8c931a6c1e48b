package meta

import (
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

const (
	// movesMax is how many partitions are on their way to other replicas at a time. More wait, so that what has arrived is of
	// use while the rest is copied, and operators can stop in the middle.
	movesMax = 64

	// movesAgain is how often those are looked at that could not be moved.
	movesAgain = 10 * time.Second
)

// drainBroker marks a broker as one that is to be emptied, or takes that back. What is on its way then arrives.
func (c *Controller) drainBroker(cmd DrainBroker) ([]Record, Reply, error) {
	b := c.image.Broker(cmd.ID)
	if b == nil {
		return nil, nil, protocol.Errorf(protocol.BrokerIDNotRegistered, "Broker ID %d is not currently registered", cmd.ID)
	}
	if b.Draining == cmd.Drain {
		return nil, DrainBrokerReply{}, nil
	}
	if cmd.Drain && !slices.ContainsFunc(c.usable(), func(o *Broker) bool { return o.ID != b.ID }) {
		return nil, nil, protocol.Errorf(protocol.InvalidRequest, "broker %d cannot be emptied: no other broker is alive that could "+
			"take what it has", cmd.ID)
	}
	next := *b
	next.Draining = cmd.Drain
	return []Record{brokerChange(&next)}, DrainBrokerReply{}, nil
}

// usable is the brokers that may be given replicas.
func (c *Controller) usable() []*Broker {
	var bs []*Broker
	for _, b := range c.image.Brokers() {
		if c.image.active(b.ID) && !b.Draining {
			bs = append(bs, b)
		}
	}
	return bs
}

// evacuate moves leaderships and replicas off the brokers that are emptied, and off those that stay away for too long. A replica's
// place goes to a broker that is alive, in a rack where the partition has fewest replicas, with least on it. Where there is
// no such broker the replica stays.
func (c *Controller) evacuate(now time.Time) []Record {
	c.moves = c.nextHeal(now)
	leaving := c.leaving(now)
	if leaving == nil {
		return nil
	}
	c.moves = earliest(c.moves, now.Add(movesAgain))
	ev := evacuation{c: c, usable: c.usable(), leaving: leaving, load: loadOf(c.image.Topics()...), room: movesMax}
	for _, t := range c.image.Topics() {
		for i := range t.Partitions {
			if moving(&t.Partitions[i]) {
				ev.room--
			}
		}
	}
	return c.change(c.voters(nil, -1), func(p *Partition) bool {
		return p.Leader != -1 && slices.ContainsFunc(p.Replicas, leaving)
	}, ev.move)
}

// leaving says which brokers are to have nothing any more; nil for none.
func (c *Controller) leaving(now time.Time) func(protocol.BrokerID) bool {
	heal, any := c.healAfter(), false
	for _, b := range c.image.Brokers() {
		any = any || b.Draining
	}
	if heal == 0 && !any {
		return nil
	}
	return func(id protocol.BrokerID) bool {
		b := c.image.Broker(id)
		if b == nil {
			return heal > 0 // it was forgotten and will not come back
		}
		since, away := c.away[id]
		return b.Draining || away && heal > 0 && !now.Before(since.Add(heal))
	}
}

// moving says that a reassignment of the partition is under way.
func moving(p *Partition) bool { return len(p.Adding)+len(p.Removing) > 0 }

type evacuation struct {
	c       *Controller
	usable  []*Broker
	leaving func(protocol.BrokerID) bool
	load    load
	room    int
}

// move makes a reassignment of what a partition has on brokers that are to have nothing. Where none can be made, the
// election that comes with every change still takes the leadership away.
func (ev *evacuation) move(ch *partitionChange) {
	if moving(ch.was) || ev.room <= 0 {
		return
	}
	stay := slices.DeleteFunc(slices.Clone(ch.was.Replicas), ev.leaving)
	adding := ev.load.choose(ev.c.image, ev.usable, stay, len(ch.was.Replicas)-len(stay))
	if len(adding) == 0 {
		return
	}
	target, removing := slices.Clone(ch.was.Replicas), []protocol.BrokerID(nil)
	for i, id := range target {
		if n := len(removing); ev.leaving(id) && n < len(adding) {
			target[i], removing = adding[n], append(removing, id)
			ev.load.replicas[id]--
		}
	}
	ch.replicas, ch.adding, ch.removing = append(target, removing...), adding, removing
	ev.room--
}
