package meta

import (
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

// upkeep is what a controller does without being asked. It is soft state: a controller that begins looks at everything once.
type upkeep struct {
	recheck bool // partitions without a leader may get one now
	reform  bool // the records may be written in a newer form now
	grow    bool // topics of coordinators may get replicas now that they could not have before

	moves   time.Time                       // when replicas may have to be moved off a broker next; zero for never
	balance time.Time                       // when leaderships go back to the preferred replicas next; zero for never
	away    map[protocol.BrokerID]time.Time // since when a broker is fenced
}

// Deadline is when Tick must be called next, zero for never.
func (c *Controller) Deadline() time.Time {
	if c.seen.IsZero() || c.recheck || c.reform || c.grow {
		return time.Unix(0, 0) // at once
	}
	return earliest(c.expiry(), c.moves, c.balance)
}

func earliest(ts ...time.Time) time.Time {
	var first time.Time
	for _, t := range ts {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

func due(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }

// Tick fences the brokers whose leases have run out, elects leaders where elections have become possible, has internal topics
// grow with the cluster, moves replicas off brokers that are emptied or stay away, and gives leaderships back to the
// preferred replicas; one of these at a time, and Deadline says that there is more. As with Handle, the caller puts the
// records into the log and calls Apply.
func (c *Controller) Tick(now time.Time) []Record {
	c.clock(now)
	var silent []protocol.BrokerID
	for _, b := range c.image.Brokers() {
		if c.leased(b) && due(c.standing(b).until, now) {
			silent = append(silent, b.ID)
		}
	}
	if len(silent) > 0 {
		return c.fence(silent)
	}
	c.schedule(now)
	if c.reform {
		c.reform = false
		if recs := c.raiseFormat(); len(recs) > 0 {
			return recs
		}
	}
	switch {
	case c.recheck:
		c.recheck = false
		return c.electLeaderless(-1)
	case c.grow:
		c.grow = false
		return c.growInternal()
	case due(c.moves, now):
		return c.evacuate(now)
	case due(c.balance, now):
		return c.giveBack(now)
	}
	return nil
}

// schedule says when moves and the balance are due. The only broker of a cluster has nobody to move anything to.
func (c *Controller) schedule(now time.Time) {
	if len(c.image.Brokers()) < 2 {
		c.moves, c.balance, c.away = time.Time{}, time.Time{}, nil
		return
	}
	if c.balance.IsZero() && c.cfg.Static.Bool("auto.leader.rebalance.enable") {
		c.balance = now.Add(c.balanceInterval())
	}
	if c.away == nil {
		c.away = map[protocol.BrokerID]time.Time{}
		c.moves = now // whatever the controller before this one has left half done
	}
	for _, b := range c.image.Brokers() {
		c.notice(b.ID, b.Fenced, now)
	}
}

// notice keeps since when a broker is away.
func (c *Controller) notice(id protocol.BrokerID, fenced bool, now time.Time) {
	_, noted := c.away[id]
	switch {
	case !fenced:
		delete(c.away, id)
	case !noted && c.away != nil:
		c.away[id] = now
		if heal := c.healAfter(); heal > 0 {
			c.moves = earliest(c.moves, now.Add(heal))
		}
	}
}

// changed takes note of what a record means for the upkeep.
func (c *Controller) changed(before *Image, r Record) {
	switch r := r.(type) {
	case ConfigRecord:
		c.recheck = c.recheck || r.Key == "unclean.leader.election.enable"
		if r.Key == autoHeal && r.Resource.Type == config.BrokerResource {
			c.moves = c.seen
		}
	case BrokerChangeRecord:
		c.grow = c.grow || !r.Fenced && !r.Draining && !r.Stopping
		if b := before.Broker(r.ID); b != nil && (b.Draining != r.Draining || b.Fenced && !r.Fenced) {
			c.moves = c.seen // something to move, or somewhere to move it to
		}
		c.notice(r.ID, r.Fenced, c.seen)
	case BrokerRecord:
		c.reform = true // it may have been the last of an older build
	case RemoveBrokerRecord:
		c.reform = true
		delete(c.standings, r.ID)
		delete(c.away, r.ID)
		c.moves = c.seen
	case PartitionChangesRecord:
		// Replicas that have arrived make room for more.
		if t := before.Topic(OffsetsTopic); t != nil && t.ID == r.Topic {
			c.grow = true
		}
		for i := range r.Changes {
			if r.Changes[i].Fields&(FieldAdding|FieldRemoving) != 0 && !c.moves.IsZero() {
				c.moves = c.seen
			}
		}
	}
}
