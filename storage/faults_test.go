package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

var errDisk = errors.New("injected disk error")

// TestRandomFaults fails file operations at random while a log is written, flushed and its start moved: what was
// acknowledged must be there when it is opened again, and what was refused must not be, unless the log went offline.
func TestRandomFaults(t *testing.T) {
	offline, refused := 0, 0
	for seed := range uint64(300) {
		t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			h := newHistory(t, seed)
			rng := rand.New(rand.NewPCG(seed, 11))
			rate, armed := 20+rng.IntN(200), false
			h.mem = vfs.NewMem()
			h.fs = vfs.WithFaults(h.mem, func(op vfs.Op) error {
				if armed && rng.IntN(rate) == 0 {
					return errDisk
				}
				return nil
			})
			h.open()
			armed = true
			for range 150 {
				if !h.faultyStep(&refused) {
					offline++
					break
				}
			}
			armed = false
			h.s.unlock()
			s, err := openIdle(h.mem, []string{"/data"}, testOptions(h.cfg))
			if err != nil {
				t.Fatal(err)
			}
			l, ok := s.Log(tp0)
			if !ok {
				t.Fatal(s.Failed(tp0))
			}
			b := l.Bounds()
			// A start is written with the checkpoints only, as Kafka's.
			if h.l.Failure() == nil && (b.End != h.m.end() || b.Start > h.m.start) {
				t.Fatalf("bounds %+v, want %d..%d", b, h.m.start, h.m.end())
			}
			h.m.synced = 0
			h.check(l, h.m, false)
		})
	}
	if offline == 0 || refused == 0 {
		t.Errorf("%d logs went offline, %d appends were refused: the faults do not reach", offline, refused)
	}
}

// faultyStep does something that may fail, and says whether the log is still online.
func (h *history) faultyStep(refused *int) bool {
	t := h.t
	switch p := h.rng.IntN(100); {
	case p < 80:
		before, seqs := h.m.clone(), map[int64]int32{}
		for id, seq := range h.m.seqs {
			seqs[id] = seq
		}
		b := h.next()
		_, err := h.l.Append(testNow, h.m.epoch, b)
		if err == nil {
			break
		}
		if !errors.Is(err, errDisk) {
			t.Fatal(err)
		}
		if h.l.Failure() != nil {
			return false // it may be there or not
		}
		*refused++
		h.m.batches, h.m.seqs = before.batches, seqs
	case p < 90:
		_ = h.l.Flush()
	case p < 94:
		_ = h.s.Checkpoint(nil)
	case p < 96:
		to := h.m.start + (h.m.end()-h.m.start)/2
		_ = h.l.Advance(to)
		h.m.start = h.l.Bounds().Start
	case p < 97:
		h.l.SetHighWatermark(h.m.end())
		cfg := h.cfg
		cfg.RetentionBytes = h.l.Size() / 2
		if err := h.l.Reconfigure(cfg); err != nil {
			t.Fatal(err)
		}
		h.s.retain(testNow)
		h.m.start = h.l.Bounds().Start
	case p < 98:
		to := h.m.end() - protocol.Offset(h.rng.IntN(8))
		kept := h.m.cutAt(max(to, h.m.start))
		if kept.end() < h.m.start {
			break
		}
		// With an error and offline any part of what was to go may be there.
		if err := h.l.Truncate(max(to, h.m.start)); err == nil || h.l.Failure() == nil && h.l.Bounds().End == kept.end() {
			h.m = kept
		}
	default:
		h.s.flushPending()
		h.s.removeDue(true)
	}
	return h.l.Failure() == nil
}
