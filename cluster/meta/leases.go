package meta

import (
	"math"
	"time"
)

// leaseDefault is how long a broker is taken for alive after its last heartbeat.
const leaseDefault = 2 * time.Second

// standing is what the controller knows of a registered broker beside the image. It is lost with the controller: the next one
// begins with fresh leases and asks everybody to apply what it began from.
type standing struct {
	epoch   int64     // of the registration that all this is about
	until   time.Time // end of the lease
	applied int64     // offset of the metadata that the broker has applied
	stop    int64     // offset from which on the others know that a stopping broker leads nothing; -1: it is not stopping

	// registered is the offset of the registration: a broker that has not applied it does not know what it leads.
	registered int64
}

// offsetPending stands for the offset of records that are not in the log yet.
const offsetPending = math.MaxInt64

// standing is that of the broker's registration.
func (c *Controller) standing(b *Broker) *standing {
	s := c.standings[b.ID]
	if s == nil || s.epoch != b.Epoch {
		s = &standing{epoch: b.Epoch, until: c.seen.Add(c.cfg.Lease), stop: -1}
		c.standings[b.ID] = s
	}
	return s
}

// clock takes note of the time. A controller that has just begun, or that was itself stopped for so long that it may have missed
// heartbeats, gives every broker a fresh lease: else the first thing that it did would be to fence everybody.
func (c *Controller) clock(now time.Time) {
	due, late := c.expiry(), c.cfg.Lease/2
	if !c.seen.IsZero() && (due.IsZero() || now.Sub(due) <= late || now.Sub(c.seen) <= late) {
		if now.After(c.seen) {
			c.seen = now
		}
		return
	}
	began := c.seen.IsZero()
	c.seen = now
	for _, b := range c.image.Brokers() {
		s := c.standing(b)
		s.until = now.Add(c.cfg.Lease)
		if began {
			s.registered = c.image.Offset()
			if b.Stopping {
				s.stop = c.image.Offset()
			}
		}
	}
}

// leased says that a broker must renew its lease. The only one of its cluster need not, since nobody could take over from it;
// nor need one that was registered by a build that knew of no leases.
func (c *Controller) leased(b *Broker) bool {
	return !b.Fenced && !b.Incarnation.IsZero() && len(c.image.Brokers()) > 1
}

// living says that another process with a broker's id would be one too many.
func (c *Controller) living(now time.Time, b *Broker) bool {
	return !b.Fenced && (!c.leased(b) || now.Before(c.standing(b).until))
}

// expiry is when the first lease ends, zero for never.
func (c *Controller) expiry() time.Time {
	var first time.Time
	for _, b := range c.image.Brokers() {
		if !c.leased(b) {
			continue
		}
		if s := c.standing(b); first.IsZero() || s.until.Before(first) {
			first = s.until
		}
	}
	return first
}

// Logged says that all records that have been applied are in the log up to this offset. A broker that asks to be let in, or to
// be let go, must have applied them.
func (c *Controller) Logged(offset int64) {
	for _, s := range c.standings {
		if s.registered == offsetPending {
			s.registered = offset
		}
		if s.stop == offsetPending {
			s.stop = offset
		}
	}
}
