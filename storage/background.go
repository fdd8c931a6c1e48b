package storage

import (
	"sync"
	"time"
)

// background is the work of a store that nobody waits for. Each chore has a goroutine of its own, so that a slow one keeps
// no other from running.
type background struct {
	wg   sync.WaitGroup
	stop chan struct{} // closed when the store is
	wake chan struct{} // for the flusher; holds at most one token
	look chan struct{} // for free space; holds at most one token

	probe chan struct{} // for the probing of folders; holds at most one token

	flusher flusher
	scrub   scrub
	removal removals
	cleaner cleaner
	news    news
}

// chore is one kind of background work.
type chore struct {
	name  string
	every func() time.Duration // asked for before each wait; it may change while the store runs
	wake  <-chan struct{}      // makes it due before its time; nil for none
	do    func(now time.Time)  // a long one looks at Store.stopping now and then
}

// chores is every kind of background work.
func (s *Store) chores() []chore {
	fixed := func(d time.Duration) func() time.Duration { return func() time.Duration { return d } }
	all := []chore{
		{name: "flush", every: fixed(time.Second), wake: s.background.wake, do: func(now time.Time) {
			s.flushByAge(now)
			s.flushByTime(now)
			s.flushPending()
			s.keepPoints(now)
		}},
		{name: "remove deleted files", every: fixed(time.Second), do: func(time.Time) { s.removeDue(false) }},
		{name: "write checkpoints", every: fixed(s.o.CheckpointInterval), do: func(time.Time) {
			if err := s.Checkpoint(nil); err != nil {
				s.logger.Warn("checkpoints cannot be written", "err", err)
			}
		}},
		{name: "retention", every: func() time.Duration { return s.Tuning().RetentionInterval }, do: s.retain},
		{name: "keep the reserve", every: fixed(spaceInterval), wake: s.background.look, do: func(time.Time) { s.keepReserves() }},
		{name: "scrub", every: fixed(time.Minute), wake: s.background.scrub.wake, do: s.scrubDue},
		{name: "compact", every: func() time.Duration { return s.Tuning().Cleaner.Backoff }, do: s.startCleaning},
		{name: "probe folders", every: fixed(probeInterval), wake: s.background.probe, do: s.probeSuspects},
		{name: "forget producers", every: fixed(s.o.ExpiryInterval), do: func(now time.Time) {
			for _, l := range s.logs() {
				l.ExpireProducers(now)
			}
		}},
		{name: "tell what is durable", every: fixed(time.Hour), wake: s.background.news.wake, do: func(time.Time) {
			s.tellAll()
		}},
	}
	for _, d := range s.dirs {
		all = append(all,
			chore{name: "move logs to " + d.path, every: fixed(time.Hour), wake: s.moves.wake[d],
				do: func(time.Time) { s.moveQueued(d) }},
			chore{name: "commit", every: fixed(time.Hour), wake: d.journal.Wake(), do: func(time.Time) { d.journal.Commit() }},
			chore{name: "reclaim", every: fixed(time.Hour), wake: d.journal.Full(), do: func(time.Time) { d.journal.Reclaim() }})
	}
	return all
}

func (b *background) init() {
	b.stop = make(chan struct{})
	b.wake = make(chan struct{}, 1)
	b.probe = make(chan struct{}, 1)
	b.look = make(chan struct{}, 1)
	b.flusher.init()
	b.cleaner.init()
	b.scrub.wake = make(chan struct{}, 1)
	b.news.wake = make(chan struct{}, 1)
}

func (b *background) start(s *Store) {
	for _, c := range s.chores() {
		b.wg.Go(func() { s.keep(c) })
	}
}

// end stops the chores and waits for those that are under way.
func (b *background) end() {
	close(b.stop)
	b.wg.Wait()
}

func (b *background) nudge() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// keep does one chore until the store is closed.
func (s *Store) keep(c chore) {
	timer := time.NewTimer(c.every())
	defer timer.Stop()
	for {
		select {
		case <-s.background.stop:
			return
		case <-c.wake:
		case <-timer.C:
		}
		c.do(s.o.Now())
		timer.Reset(c.every())
	}
}

// stopping says that the store is being closed: a long chore ends early.
func (s *Store) stopping() bool {
	select {
	case <-s.background.stop:
		return true
	default:
		return false
	}
}
