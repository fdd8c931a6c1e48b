package storage

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"syscall"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// TestALogIsKeptWhileItMoves: between the rounds of a move segments are deleted, records are cut off, indexes are made
// anew. The log that arrives is the one that would have been there without a move.
func TestALogIsKeptWhileItMoves(t *testing.T) {
	calls := 0
	for name, upkeep := range map[string]func(s *Store, l *Log) error{
		"deletion": func(s *Store, l *Log) error { return l.Advance(l.Bounds().Start + 7) },
		"truncation": func(s *Store, l *Log) error {
			if err := l.Truncate(l.Bounds().End - 9); err != nil {
				return err
			}
			_, err := l.Append(testNow, 0, records(t, 1, "other", "records", "than", "before"))
			return err
		},
		"truncation of all": func(s *Store, l *Log) error {
			if err := l.TruncateFully(l.Bounds().Start + 1); err != nil {
				return err
			}
			for range 20 {
				if _, err := l.Append(testNow, 0, records(t, 1, "new")); err != nil {
					return err
				}
			}
			return nil
		},
		"mending": func(s *Store, l *Log) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			if calls++; calls%2 == 1 { // an index lies, and is copied
				f, err := s.fs.Open(path.Join(l.Dir(), segment.FileName(0, segment.IndexSuffix)))
				if err != nil {
					return err
				}
				_, err = f.WriteAt([]byte{9, 9, 9, 9}, 4)
				return errors.Join(err, f.Close())
			}
			for i, seg := range *l.segments.Load() {
				if err := seg.Mend(l.Config().IndexInterval, i < l.Segments()-1); err != nil {
					return err
				}
			}
			return nil
		},
		"compaction": func(s *Store, l *Log) error {
			cfg := l.Config()
			cfg.Compacts, cfg.MinCleanableRatio = true, 0
			if err := l.Reconfigure(cfg); err != nil {
				return err
			}
			for i := range 30 {
				b := batch.NewBuilder(batch.BuilderOptions{})
				b.Add(1, fmt.Appendf(nil, "k%d", i%3), []byte("value"))
				if _, err := l.Append(testNow, 0, b.Build()); err != nil {
					return err
				}
			}
			before := l.cleaned.Load()
			l.SetHighWatermark(l.Bounds().End)
			s.cleanNow(testNow)
			if now := l.cleaned.Load(); now <= before {
				return fmt.Errorf("compacted up to %d, and up to %d before", now, before)
			}
			return nil
		},
		"appends": func(s *Store, l *Log) error {
			for range 12 {
				if _, err := l.Append(testNow, 0, records(t, 1, "more", "of it")); err != nil {
					return err
				}
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, l := moving(t, vfs.NewMem(), movedConfig())
			for i := range 40 {
				mustAppend(t, l, records(t, 1, fmt.Sprintf("v%d", i), "x"))
			}
			target := other(l)
			if err := s.Move(tp0, target); err != nil {
				t.Fatal(err)
			}
			x := s.moves.next(s.dirAt(target))
			if err := x.prepare(s); err != nil {
				t.Fatal(err)
			}
			done := false
			for round := 0; !done; round++ {
				if round < 3 {
					if err := upkeep(s, l); err != nil {
						t.Fatal(err)
					}
				}
				left, err := x.round(s)
				if err == nil && left <= x.hold {
					if round < 3 {
						if err := upkeep(s, l); err != nil {
							t.Fatal(err)
						}
					}
					x.hold = 1 << 20
					done, err = s.finishMove(x)
				}
				if err != nil || round > 20 {
					t.Fatalf("round %d: %v", round, err)
				}
			}
			start := l.Bounds().Start
			want := fmt.Sprint(readAll(t, l, start))
			if path.Dir(l.Dir()) != target {
				t.Errorf("the log is in %s", l.Dir())
			}
			checkIndexes(t, l)
			s.removeDue(true)
			s.abandon()
			s, l = moving(t, s.fs, movedConfig())
			if got := fmt.Sprint(readAll(t, l, start)); got != want || l.Bounds().Start != start {
				t.Errorf("after a kill: from %d: %s\nwant from %d: %s", l.Bounds().Start, got, start, want)
			}
			checkIndexes(t, l)
			closeStore(t, s)
		})
	}
}

// TestAnyFailureOfAMoveKeepsTheLog fails each operation of a move in turn, once or from then on: what was acknowledged is
// there, in one folder, now and after the next start.
func TestAnyFailureOfAMoveKeepsTheLog(t *testing.T) {
	reads := []string{"ReadAt", "Stat", "List", "Open"}
	for _, tc := range []struct {
		errno syscall.Errno
		again bool // it goes on failing
	}{{syscall.EIO, false}, {syscall.EIO, true}, {syscall.ENOSPC, false}, {syscall.ENOSPC, true}} {
		tried := 0
		for k := 1; ; k++ {
			f := newFailing()
			s, l := moving(t, f, movedConfig())
			for i := range 15 {
				mustAppend(t, l, records(t, 1, fmt.Sprintf("v%d", i), "x"))
			}
			if err := s.Move(tp0, other(l)); err != nil {
				t.Fatal(err)
			}
			n, failed := 0, false
			fault := func(op vfs.Op) error {
				if slices.Contains(reads, op.Kind) && tc.errno == syscall.ENOSPC {
					return nil
				}
				if n++; n == k || tc.again && n > k {
					failed = true
					return tc.errno
				}
				return nil
			}
			f.fault.Store(&fault)
			doMoves(s)
			f.heal()
			if !failed {
				break
			}
			tried++
			acked := l.Bounds().End
			if _, err := l.Append(testNow, 0, records(t, 1, "after")); err == nil {
				acked++
			} else if protocol.CodeOf(err) != protocol.KafkaStorageError {
				t.Fatalf("operation %d: %v", k, err)
			}
			s.abandon()
			s, err := openIdle(f, twoDirs, testOptions(movedConfig()))
			if err != nil {
				t.Fatalf("operation %d: %v", k, err)
			}
			l, ok := s.Log(tp0)
			if !ok {
				t.Fatalf("operation %d: no log: %v", k, s.Failed(tp0))
			}
			doMoves(s)
			s.removeDue(true)
			if got := folders(t, f); l.Bounds().End < acked || !slices.Equal(got, []string{l.Dir()}) {
				t.Fatalf("operation %d: the log ends at %d, %d was acknowledged; folders %v", k, l.Bounds().End, acked, got)
			}
			checkIndexes(t, l)
			closeStore(t, s)
		}
		if tried < 50 {
			t.Errorf("%v: %d operations were failed", tc.errno, tried)
		}
	}
}
