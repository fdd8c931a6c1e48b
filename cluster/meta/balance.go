package meta

import (
	"time"
)

// electionsMax is how many leaderships go back at a time, as in Kafka's controller; the next thousand follow at once.
const electionsMax = 1000

func (c *Controller) balanceInterval() time.Duration {
	return time.Duration(c.cfg.Static.Int("leader.imbalance.check.interval.seconds")) * time.Second
}

// giveBack elects the preferred replicas of partitions that others lead. After a broker was away, others lead what it led, and nothing
// else would ever give it back (auto.leader.rebalance.enable).
func (c *Controller) giveBack(now time.Time) []Record {
	left := electionsMax
	recs := c.change(c.voters(nil, -1), func(p *Partition) bool {
		if left == 0 || p.Leader == -1 || p.Leader == p.Replicas[0] || !c.couldLead(p) {
			return false
		}
		left--
		return true
	}, func(ch *partitionChange) { ch.election = electPreferred })
	c.balance = now.Add(c.balanceInterval())
	if left == 0 {
		c.balance = now
	}
	return recs
}

// couldLead says that the preferred replica of a partition may lead it now.
func (c *Controller) couldLead(p *Partition) bool {
	b := c.image.Broker(p.Replicas[0])
	return b != nil && !b.Draining && c.image.active(b.ID) && containsAny(p.ISR, p.Replicas[:1])
}
