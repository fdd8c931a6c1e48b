package storage

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"moldau.io/moldau/protocol"
)

// flusher holds what has been asked to be flushed in the background.
type flusher struct {
	mu   sync.Mutex
	todo map[*Log]protocol.Offset

	// The flushing goroutine's.
	failing map[*Log]bool
	flushed bool      // something has been, since recovery points were written
	kept    time.Time // when that was
}

func (f *flusher) init() { f.todo = map[*Log]protocol.Offset{} }

// flushSoon implements keeper.
func (s *Store) flushSoon(l *Log, upTo protocol.Offset) {
	f := &s.background.flusher
	f.mu.Lock()
	f.todo[l] = max(f.todo[l], upTo)
	f.mu.Unlock()
	s.background.nudge()
}

// flushPending flushes what has been asked for. A log that goes offline says so itself; one that cannot be flushed for want
// of space is tried again by and by.
func (s *Store) flushPending() {
	f := &s.background.flusher
	f.mu.Lock()
	todo := f.todo
	f.init()
	f.mu.Unlock()
	for _, l := range slices.SortedFunc(maps.Keys(todo), byPartition) {
		f.flushed = true
		err := l.flushBehind(todo[l])
		again := err != nil && !errors.Is(err, ErrClosed) && l.Failure() == nil
		if again {
			f.mu.Lock()
			f.todo[l] = max(f.todo[l], todo[l])
			f.mu.Unlock()
		}
		if again && !f.failing[l] {
			s.logger.Error("a log cannot be flushed; it is tried again every second", "topic", l.tp.Topic,
				"partition", l.tp.Partition, "err", err)
		}
		f.note(l, again)
	}
}

// note keeps in mind which logs could not be flushed.
func (f *flusher) note(l *Log, failing bool) {
	if !failing {
		delete(f.failing, l)
		return
	}
	if f.failing == nil {
		f.failing = map[*Log]bool{}
	}
	f.failing[l] = true
}

// flushByTime asks for flushes of logs that flush.ms makes due and nobody appends to.
func (s *Store) flushByTime(now time.Time) {
	for _, l := range s.logs() {
		if l.dueByTime(now) {
			s.flushSoon(l, l.active().Next())
		}
	}
}
