package meta

import "time"

// autoHeal is after how long the replicas of a broker that stays away are given to others; 0 for never.
const autoHeal = "moldau.auto.heal"

func (c *Controller) healAfter() time.Duration {
	v, _ := c.view().Broker(autoHeal)
	d, err := time.ParseDuration(v)
	if err != nil {
		return 0
	}
	return d
}

// nextHeal is when the next broker will have been away for too long, zero for never.
func (c *Controller) nextHeal(now time.Time) time.Time {
	heal := c.healAfter()
	if heal == 0 {
		return time.Time{}
	}
	var next time.Time
	for _, b := range c.image.Brokers() {
		if since, away := c.away[b.ID]; away && now.Before(since.Add(heal)) {
			next = earliest(next, since.Add(heal))
		}
	}
	return next
}
