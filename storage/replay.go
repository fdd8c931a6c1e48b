package storage

import (
	"fmt"
	"slices"

	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/segment"
)

// wayOut is for a log that does not fit what the journal has of it.
const wayOut = "move the folder away to get the partition back from its replicas, or without replicas remove " +
	rescueFile + " from it to go on without those records"

// replayJournal appends what the journal has behind the log's end: it was acknowledged, and a crash took it from the log's
// own files. What lies below the end is there already. Nothing of it is synced.
func (r *recovery) replayJournal() error {
	var buf []byte
	for _, from := range r.o.replays {
		for _, e := range from.entries {
			if e.End <= r.next {
				continue
			}
			if e.From > r.next {
				return fmt.Errorf("acknowledged records are missing: the journal goes on at offset %d, the log ends at %d; %s",
					e.From, r.next, wayOut)
			}
			raw, err := from.found.Batches(e, buf)
			if err != nil {
				return err
			}
			if err := r.replayEntry(raw); err != nil {
				return err
			}
			buf = raw[:0]
		}
	}
	return nil
}

func (r *recovery) replayEntry(raw []byte) error {
	for len(raw) > 0 {
		b, rest, err := batch.Next(raw)
		if err != nil {
			return fmt.Errorf("a batch in the journal at offset %d: %w", r.next, err)
		}
		raw = rest
		if b.LastOffset() < r.next {
			continue
		}
		if b.BaseOffset() < r.next {
			return fmt.Errorf("the log ends at offset %d, inside of the journal's batch %d to %d", r.next, b.BaseOffset(),
				b.LastOffset())
		}
		if err := r.append(b); err != nil {
			return err
		}
	}
	return nil
}

// append writes one batch at the log's end, in a new segment where it does not fit the last one.
func (r *recovery) append(b batch.Batch) error {
	cfg := &r.o.cfg
	s := r.segs[len(r.segs)-1]
	if s.Size() > 0 && (s.Size()+int64(len(b)) > cfg.SegmentBytes || !s.Fits(b.LastOffset(), cfg.IndexBytes)) {
		if err := s.Finish(); err != nil {
			return err
		}
		if err := r.snapshot(b.BaseOffset()); err != nil {
			return err
		}
		next, err := segment.Create(r.o.files, r.o.dir, b.BaseOffset())
		if err != nil {
			return err
		}
		r.segs = append(slices.Clone(r.segs), next)
		r.disk.segments = append(r.disk.segments, b.BaseOffset())
		s.Closed()
		s = next
	}
	if err := s.Write(b, []batch.Batch{b}, cfg.IndexInterval); err != nil {
		return err
	}
	r.next = s.Next()
	r.done.Replayed++
	return r.apply(s, b)
}
