package link

import (
	"log/slog"
	"sync"
	"time"
)

// clockDifferenceMax is how far two brokers' clocks may be apart without a word.
const clockDifferenceMax = time.Minute

// clocks says of peers whose clocks are far from ours: once, and again when it has changed by as much.
type clocks struct {
	log *slog.Logger

	mu   sync.Mutex
	said map[string]time.Duration // by address
}

func (c *clocks) compare(peer Peer, ours, theirs time.Time) {
	d := theirs.Sub(ours)
	c.mu.Lock()
	defer c.mu.Unlock()
	said := c.said[peer.Addr]
	if (d - said).Abs() <= clockDifferenceMax {
		return
	}
	if d.Abs() <= clockDifferenceMax {
		delete(c.said, peer.Addr)
		c.log.Info("the clocks of two brokers agree again", "peer", peer.Addr, "broker", peer.Name)
		return
	}
	if len(c.said) >= peersMax {
		return
	}
	c.said[peer.Addr] = d
	c.log.Warn("the clocks of two brokers are minutes apart: timestamps of records and retention by time will differ; "+
		"let both machines take the time from the same source (NTP)",
		"peer", peer.Addr, "broker", peer.Name, "difference", d.Round(time.Second).String(),
		"here", ours.UTC().Format(time.RFC3339), "there", theirs.UTC().Format(time.RFC3339))
}
