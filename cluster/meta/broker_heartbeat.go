package meta

import (
	"time"

	"moldau.io/moldau/protocol"
)

// brokerHeartbeat renews a lease, lets a broker in that has caught up, and lets one go that stops (Kafka's
// BrokerHeartbeatManager). It makes records only where the broker's state changes.
func (c *Controller) brokerHeartbeat(now time.Time, cmd BrokerHeartbeat) ([]Record, Reply, error) {
	b, err := c.registered(cmd.ID, cmd.Epoch)
	if err != nil {
		return nil, nil, err
	}
	s := c.standing(b)
	s.until = now.Add(c.cfg.Lease)
	s.applied = cmd.Offset
	reply := BrokerHeartbeatReply{CaughtUp: cmd.Offset >= s.registered, Fenced: b.Fenced}
	next := *b
	switch {
	case b.Fenced && cmd.WantShutdown, c.alone(b) && cmd.WantShutdown:
		reply.Shutdown = true // it leads nothing, or nobody is there to lead it instead
		return nil, reply, nil
	case b.Fenced && !cmd.WantFence && reply.CaughtUp:
		next.Fenced, next.Stopping, reply.Fenced = false, false, false
		return append([]Record{brokerChange(&next)}, c.electLeaderless(b.ID)...), reply, nil
	case !b.Fenced && cmd.WantFence:
		reply.Fenced, reply.Shutdown = true, cmd.WantShutdown
		return c.fence([]protocol.BrokerID{b.ID}), reply, nil
	case !b.Fenced && (cmd.WantShutdown || b.Stopping):
		recs := c.stop(s, b, &reply)
		return recs, reply, nil
	}
	return nil, reply, nil
}

// stop moves everything that a broker leads to others, and lets it go when they all know.
func (c *Controller) stop(s *standing, b *Broker, reply *BrokerHeartbeatReply) []Record {
	switch {
	case c.leads(b.ID):
		s.stop = offsetPending
		recs := c.leave([]protocol.BrokerID{b.ID}, nil)
		if !b.Stopping {
			next := *b
			next.Stopping = true
			recs = append(recs, brokerChange(&next))
		}
		return recs
	case b.Stopping && c.lowestApplied() < s.stop:
		return nil
	}
	reply.Fenced, reply.Shutdown = true, true
	return c.fence([]protocol.BrokerID{b.ID})
}

// lowestApplied is the offset that every broker which is to stay has applied.
func (c *Controller) lowestApplied() int64 {
	lowest := int64(offsetPending)
	for _, b := range c.image.Brokers() {
		if c.leased(b) && !b.Stopping {
			lowest = min(lowest, c.standing(b).applied)
		}
	}
	return lowest
}

// alone says that b is the only broker that there is.
func (c *Controller) alone(b *Broker) bool {
	return len(c.image.Brokers()) == 1 && c.image.Brokers()[0].ID == b.ID
}

// registered is the broker, if it is known under this epoch.
func (c *Controller) registered(id protocol.BrokerID, epoch int64) (*Broker, error) {
	b := c.image.Broker(id)
	switch {
	case b == nil:
		return nil, protocol.Errorf(protocol.StaleBrokerEpoch, "broker %d is not registered", id)
	case b.Epoch != epoch:
		return nil, protocol.Errorf(protocol.StaleBrokerEpoch, "broker %d is known under epoch %d, not %d", id, b.Epoch, epoch)
	}
	return b, nil
}
