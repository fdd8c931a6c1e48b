package coordinator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

const (
	loadBufferBytes = 1 << 20
	slowLoad        = 500 * time.Millisecond // an operator may want to know of those
)

// load makes a new machine from all records of the log. Records of kinds that are not known (groups of later protocols)
// are left alone; damaged ones are skipped with a word in the log, as Kafka does: one bad record must not take away the
// other groups.
func (s *shard) load(ctx context.Context) error {
	began := time.Now()
	s.core = group.New(s.cfg, s.topics, newRand())
	l := newLoader(s.core)
	at, end := s.log.Bounds()
	buf := make([]byte, 0, loadBufferBytes)
	for at < end {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := s.log.Read(at, buf)
		if err != nil {
			return fmt.Errorf("load groups from offset %d: %w", at, err)
		}
		next, err := l.batches(b)
		if err != nil {
			return fmt.Errorf("load groups from offset %d: %w", at, err)
		}
		if next <= at {
			return fmt.Errorf("load groups from offset %d: %w", at, errTruncated)
		}
		at, buf = next, b[:0]
	}
	s.next = end
	if l.damaged != nil {
		s.logger.Error("records of groups cannot be read and are left out", "records", l.skipped, "first", l.damaged)
	}
	now := time.Now()
	eff := s.core.Loaded(now)
	level := slog.LevelDebug
	if now.Sub(began) > slowLoad {
		level = slog.LevelInfo
	}
	s.logger.Log(ctx, level, "groups are loaded", "records", l.applied, "took", now.Sub(began))
	s.counted, s.stale = time.Time{}, true
	return s.commit(now, eff)
}

// loader applies the records of batches to a machine.
type loader struct {
	core    *group.Machine
	dec     *decoder
	applied int
	skipped int
	damaged error // the first
}

func newLoader(core *group.Machine) *loader {
	return &loader{core: core, dec: newDecoder()}
}

// batches applies whole batches and returns the offset after the last one.
func (l *loader) batches(b []byte) (next protocol.Offset, err error) {
	for len(b) > 0 {
		one, rest, err := batch.Next(b)
		if errors.Is(err, io.ErrUnexpectedEOF) {
			break // cut off by the size of the buffer
		}
		if err != nil {
			return next, err
		}
		if err := l.batch(one); err != nil {
			return next, err
		}
		next, b = one.LastOffset()+1, rest
	}
	return next, nil
}

func (l *loader) batch(b batch.Batch) error {
	inTransaction := b.IsTransactional() && !b.IsControl()
	for r, err := range b.Records(nil) {
		if err != nil {
			return fmt.Errorf("batch at offset %d: %w", b.BaseOffset(), err)
		}
		if b.IsControl() {
			l.marker(b.ProducerID(), r.Key)
			continue
		}
		l.record(r.Key, r.Value, b.ProducerID(), inTransaction)
	}
	return nil
}

func (l *loader) record(key, value []byte, producer int64, inTransaction bool) {
	r, err := l.dec.decode(key, value)
	switch {
	case errors.Is(err, errForeign):
		return
	case err != nil:
		l.skipped++
		if l.damaged == nil {
			l.damaged = err
		}
		return
	}
	if inTransaction {
		l.core.ApplyInTransaction(producer, r)
	} else {
		l.core.Apply(r)
	}
	l.applied++
}

// marker ends a transaction: its key is int16 version, int16 type, and type 1 commits.
func (l *loader) marker(producer int64, key []byte) {
	in := input{b: key}
	in.int16()
	committed := in.int16() == 1
	l.core.EndTransaction(producer, committed && !in.bad)
}
