package gossip

import (
	"slices"
	"time"
)

// run looks for brokers that were there, and keeps the memory. While all are there it sleeps without a timer.
func (g *Gossip) run() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		g.remember()
		timer.Stop()
		if next, ok := g.nextSearch(); ok {
			timer.Reset(max(time.Until(next), 0))
		}
		select {
		case <-g.ctx.Done():
			return
		case <-g.poke:
		case <-timer.C:
			g.searchDue()
		}
	}
}

func (g *Gossip) nextSearch() (next time.Time, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.lost {
		if !ok || s.next.Before(next) {
			next, ok = s.next, true
		}
	}
	return next, ok
}

// searchDue dials those whose time has come, and doubles their pause.
func (g *Gossip) searchDue() {
	now := time.Now()
	var due []string
	g.mu.Lock()
	for addr, s := range g.lost {
		switch {
		case now.Sub(s.since) > lostMax:
			delete(g.lost, addr)
		case !s.next.After(now):
			s.pause = min(max(2*s.pause, g.cfg.Pace), retryMax*g.cfg.Pace)
			s.next = now.Add(s.pause)
			g.lost[addr] = s
			due = append(due, addr)
		}
	}
	g.mu.Unlock()
	slices.Sort(due)
	for _, addr := range due {
		if g.ctx.Err() != nil {
			return
		}
		if _, err := g.Join(g.ctx, addr); err != nil {
			g.cfg.Logger.Debug("a broker that was there is still not", "peer", addr, "err", err)
		}
	}
}
