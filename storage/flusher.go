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

// flushPending flushes what has been asked for. A log that fails says so itself.
func (s *Store) flushPending() {
	f := &s.background.flusher
	f.mu.Lock()
	todo := f.todo
	f.init()
	f.mu.Unlock()
	for _, l := range slices.SortedFunc(maps.Keys(todo), byPartition) {
		if err := l.flush(todo[l]); err != nil && !errors.Is(err, ErrClosed) {
			s.logger.Error("flush", "topic", l.tp.Topic, "partition", l.tp.Partition, "err", err)
		}
	}
}

// flushByTime asks for flushes of logs that flush.ms makes due and nobody appends to.
func (s *Store) flushByTime(now time.Time) {
	for _, l := range s.logs() {
		if l.dueByTime(now) {
			s.flushSoon(l, l.active().Next())
		}
	}
}
