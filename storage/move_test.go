package storage

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

var twoDirs = []string{"/a", "/b"}

// moving is a store of two folders whose background work the test does, with one log.
func moving(t *testing.T, fsys vfs.FS, cfg Config) (*Store, *Log) {
	t.Helper()
	s, err := openIdle(fsys, twoDirs, testOptions(cfg))
	if err != nil {
		t.Fatal(err)
	}
	return s, create(t, s, cfg)
}

// doMoves does what has been asked for.
func doMoves(s *Store) {
	for _, d := range s.dirs {
		s.moveQueued(d)
	}
}

func other(l *Log) string {
	if path.Dir(l.Dir()) == "/a" {
		return "/b"
	}
	return "/a"
}

// folders are the names in both data folders that belong to the partition.
func folders(t *testing.T, fsys vfs.FS) (names []string) {
	t.Helper()
	for _, d := range twoDirs {
		entries, err := fsys.List(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if e.Dir && strings.HasPrefix(e.Name, "t-0") {
				names = append(names, path.Join(d, e.Name))
			}
		}
	}
	return names
}

func movedConfig() Config {
	cfg := DefaultConfig()
	cfg.SegmentBytes, cfg.IndexInterval, cfg.DeleteDelay = 600, 100, 0
	return cfg
}

func TestAMovedLogIsTheSameLog(t *testing.T) {
	m := vfs.NewMem()
	s, l := moving(t, m, movedConfig())
	for i := range 40 {
		mustAppend(t, l, records(t, int64(1000+i), fmt.Sprintf("v%d", i), "x"))
	}
	if err := l.Advance(31); err != nil {
		t.Fatal(err)
	}
	l.SetHighWatermark(70)
	before, target := readAll(t, l, 31), other(l)
	open, err := l.Read(40, 80, 1, true) // a reader that has its bytes coming
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Move(tp0, target); err != nil {
		t.Fatal(err)
	}
	if got := s.Moves(); len(got) != 1 || got[0].Dir != target || got[0].Partition != tp0 || got[0].Total != l.Size() {
		t.Fatalf("moves %+v", got)
	}
	doMoves(s)
	if len(s.Moves()) != 0 || path.Dir(l.Dir()) != target {
		t.Fatalf("the log is in %s; moves %+v", l.Dir(), s.Moves())
	}
	if raw, err := open.Bytes(nil); err != nil || len(raw) == 0 {
		t.Errorf("the open reader got %d bytes, %v", len(raw), err)
	}
	open.Release()
	mustAppend(t, l, records(t, 2000, "after"))
	want := fmt.Sprint(append(before, readAll(t, l, 80)...))
	s.removeDue(true)
	if got := folders(t, m); !slices.Equal(got, []string{target + "/t-0"}) {
		t.Errorf("folders %v", got)
	}
	for _, how := range []string{"closed", "killed"} {
		if how == "closed" {
			closeStore(t, s)
		} else {
			s.abandon()
		}
		s, l = moving(t, m, movedConfig())
		if got := fmt.Sprint(readAll(t, l, 31)); got != want || path.Dir(l.Dir()) != target {
			t.Errorf("%s: in %s: %s\nwant %s", how, l.Dir(), got, want)
		}
		if b := l.Bounds(); b.Start != 31 || l.HighWatermark() < 70 {
			t.Errorf("%s: bounds %+v, high watermark %d", how, b, l.HighWatermark())
		}
		checkIndexes(t, l)
	}
	if _, err := m.Stat(path.Join(l.Dir(), movedFile)); err == nil {
		t.Error("the mark of the move is still there")
	}
}

func TestAMoveEndsWhenItIsNotWanted(t *testing.T) {
	for name, end := range map[string]func(s *Store, l *Log) error{
		"back":    func(s *Store, l *Log) error { return s.Move(tp0, path.Dir(l.Dir())) },
		"deleted": func(s *Store, l *Log) error { return s.Delete(tp0) },
	} {
		t.Run(name, func(t *testing.T) {
			m := vfs.NewMem()
			s, l := moving(t, m, movedConfig())
			for range 20 {
				mustAppend(t, l, records(t, 1, "a", "b"))
			}
			from := l.Dir()
			if err := s.Move(tp0, other(l)); err != nil {
				t.Fatal(err)
			}
			x := s.moves.next(s.dirAt(other(l)))
			if err := x.prepare(s); err != nil {
				t.Fatal(err)
			}
			if _, err := x.round(s); err != nil {
				t.Fatal(err)
			}
			if err := end(s, l); err != nil {
				t.Fatal(err)
			}
			if _, err := x.round(s); err == nil {
				t.Error("the mover goes on")
			}
			if done, err := s.finishMove(x); done || !errors.Is(err, errMoveEnded) {
				t.Errorf("the move came to its end: %v, %v", done, err)
			}
			s.removeDue(true)
			want := []string{from}
			if name == "deleted" {
				want = nil
			}
			if got := folders(t, m); !slices.Equal(got, want) || len(s.Moves()) != 0 {
				t.Errorf("folders %v, want %v; moves %v", got, want, s.Moves())
			}
		})
	}
}

func TestAMoveIsRefused(t *testing.T) {
	s, l := moving(t, vfs.NewMem(), movedConfig())
	defer closeStore(t, s)
	for _, tc := range []struct {
		tp   protocol.TopicPartition
		dir  string
		want protocol.Code
	}{
		{tp0, "/c", protocol.LogDirNotFound},
		{tp0, "", protocol.LogDirNotFound},
		{tp0, path.Dir(l.Dir()), protocol.None},
		{protocol.TopicPartition{Topic: "u"}, "/b", protocol.ReplicaNotAvailable},
		{protocol.TopicPartition{Topic: strings.Repeat("n", 249)}, "/b", protocol.InvalidTopicException},
	} {
		err := s.Move(tc.tp, tc.dir)
		if tc.want == protocol.None && err != nil || tc.want != protocol.None && protocol.CodeOf(err) != tc.want {
			t.Errorf("%v to %q: %v, want %v", tc.tp, tc.dir, err, tc.want)
		}
	}
	if len(s.Moves()) != 0 {
		t.Errorf("moves %v", s.Moves())
	}
	// What was asked for before the log was there holds once it is.
	l, err := s.Create(protocol.TopicPartition{Topic: "u"}, protocol.TopicID{2}, movedConfig())
	if err != nil || path.Dir(l.Dir()) != "/b" {
		t.Errorf("the log is in %s, %v", l.Dir(), err)
	}
}

// TestALogIsReadAndWrittenWhileItMoves has it go to and fro under a writer and readers.
func TestALogIsReadAndWrittenWhileItMoves(t *testing.T) {
	o := options()
	cfg := movedConfig()
	cfg.SegmentBytes = 20_000
	s, err := OpenStore(vfs.OS(), []string{t.TempDir(), t.TempDir()}, o)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	l := create(t, s, cfg)
	const last = 3000
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range last {
			if _, err := l.Append(time.UnixMilli(1000), 0, records(t, 1, fmt.Sprintf("v%d", i))); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 2 {
		wg.Go(func() {
			for at := 0; at < last; {
				for _, got := range readAll(t, l, protocol.Offset(at)) {
					if want := fmt.Sprintf("%d=v%d", at, at); got != want {
						t.Errorf("read %s, want %s", got, want)
						return
					}
					at++
				}
			}
		})
	}
	written := make(chan struct{})
	go func() { wg.Wait(); close(written) }()
	moves := 0
	for done := false; !done; {
		select {
		case <-written:
			done = true
		default:
		}
		for _, d := range s.dirs {
			if err := s.Move(tp0, d.path); err != nil {
				t.Error(err)
			}
			for len(s.Moves()) > 0 {
				runtime.Gosched()
			}
			if path.Dir(l.Dir()) != d.path {
				t.Errorf("the log is in %s", l.Dir())
				done = true
			}
			moves++
		}
	}
	t.Logf("%d moves", moves)
	checkIndexes(t, l)
}

func TestMovesArePaced(t *testing.T) {
	var p pace
	now := time.UnixMilli(0)
	for _, tc := range []struct {
		later time.Duration
		bytes int64
		want  time.Duration
	}{
		{0, 400, 0},
		{0, 100, 400 * time.Millisecond},
		{100 * time.Millisecond, 100, 300 * time.Millisecond},
		{300 * time.Millisecond, 100, 0},
		{time.Hour, 5000, 0}, // what was not used is not saved up
		{time.Second, 1, pauseMax},
		{4 * time.Second, 1, 0},
	} {
		now = now.Add(tc.later)
		if got := p.admit(now, tc.bytes, 1000); got != tc.want {
			t.Errorf("after %v: %v, want %v", tc.later, got, tc.want)
		}
	}
}

// moveHistory is a history of a log that moves.
type moveHistory struct {
	*history
	x      *move
	kept   []int             // by crash point: how much of what was not synced the crash kept
	acked  protocol.Offset   // the end before the append under way
	ackeds []protocol.Offset // by crash point
}

func newMoveHistory(t *testing.T, seed uint64) *moveHistory {
	h := &moveHistory{history: &history{t: t, rng: rand.New(rand.NewPCG(seed, 7)), mem: vfs.NewMem(),
		m: &model{seqs: map[int64]int32{}}}}
	h.every = 1 + h.rng.IntN(12)
	h.fs = vfs.WithFaults(h.mem, func(op vfs.Op) error {
		h.ops++
		if h.armed && op.Kind != "ReadAt" && op.Kind != "Stat" && op.Kind != "List" && h.ops%h.every == 0 {
			keep := []int{0, 50, 90, 100}[h.rng.IntN(4)]
			disk := h.mem.CrashClone(rand.New(rand.NewPCG(seed, uint64(h.ops))), keep)
			h.points = append(h.points, crashPoint{disk: disk, m: h.m.clone(), op: op})
			h.kept, h.ackeds = append(h.kept, keep), append(h.ackeds, h.acked)
		}
		return nil
	})
	h.cfg = DefaultConfig()
	h.cfg.SegmentBytes = 1500 + h.rng.Int64N(4000)
	h.cfg.IndexInterval = h.rng.Int64N(600)
	h.cfg.DeleteDelay = time.Duration(h.rng.IntN(2)) * time.Hour
	h.openTwo(h.fs)
	return h
}

func (h *moveHistory) openTwo(fsys vfs.FS) {
	h.s, h.l = moving(h.t, fsys, h.cfg)
	h.x = nil
}

func (h *moveHistory) step() {
	var err error
	switch p := h.rng.IntN(100); {
	case p < 40:
		h.acked = h.m.end()
		h.append()
		h.acked = h.m.end()
	case p < 45:
		err = h.l.Flush()
	case p < 50:
		h.s.flushPending()
	case p < 55:
		err = h.s.Checkpoint(map[protocol.TopicPartition]protocol.Offset{tp0: h.l.HighWatermark()})
	case p < 58:
		to := h.m.start + protocol.Offset(h.rng.Int64N(int64(h.m.end()-h.m.start)+1))
		h.m.start = to
		err = h.l.Advance(to)
	case p < 59:
		h.acked = h.m.start
		err = h.truncate()
		h.acked = h.m.end()
	case p < 61:
		h.s.removeDue(h.rng.IntN(2) == 0)
	case p < 66:
		if err = h.s.Move(tp0, twoDirs[h.rng.IntN(2)]); err == nil && h.x != nil && h.x.over() {
			h.x = nil
		}
	case p < 97:
		err = h.stepMove()
	default:
		if err = h.s.Close(); err == nil {
			h.m.synced = h.l.Bounds().Synced
			h.openTwo(h.fs)
			h.check(h.l, h.m, true)
		}
	}
	if err != nil {
		h.t.Fatal(err)
	}
	h.m.synced = max(h.m.synced, h.l.Bounds().Synced)
}

// stepMove does one part of the move that is asked for.
func (h *moveHistory) stepMove() error {
	if h.x == nil {
		for _, d := range h.s.dirs {
			if h.x == nil {
				h.x = h.s.moves.next(d)
			}
		}
		if h.x == nil {
			return nil
		}
		return h.x.prepare(h.s)
	}
	left, err := h.x.round(h.s)
	if err != nil || left > h.x.hold || h.rng.IntN(2) == 0 {
		return err
	}
	h.x.hold = 1 << 20
	done, err := h.s.finishMove(h.x)
	if done {
		h.x = nil
	}
	return err
}

// reopenTwo opens a crashed disk: there must be one log, with what was durable; after a crash of the process alone with
// everything that was acknowledged. The move goes on there, and the log is the same afterwards.
func (h *moveHistory) reopenTwo(i int) {
	p := h.points[i]
	defer func() {
		if h.t.Failed() {
			h.t.Logf("crash %d at %+v, keeping %d%%\n%v", i, p.op, h.kept[i], p.disk)
		}
	}()
	s, err := openIdle(p.disk, twoDirs, testOptions(h.cfg))
	if err != nil {
		h.t.Fatalf("crash %d at %+v: %v", i, p.op, err)
	}
	l, ok := s.Log(tp0)
	if !ok {
		if err := s.Failed(tp0); err != nil || p.m.synced > 0 {
			h.t.Fatalf("no log: %v; synced %d", err, p.m.synced)
		}
		return
	}
	h.check(l, p.m, false)
	if end := l.Bounds().End; h.kept[i] == 100 && end < h.ackeds[i] {
		h.t.Fatalf("the log ends at %d, %d was acknowledged", end, h.ackeds[i])
	}
	end := l.Bounds().End
	doMoves(s)
	if len(s.Moves()) > 0 || l.Bounds().End != end {
		h.t.Fatalf("moves %v, end %d, want %d", s.Moves(), l.Bounds().End, end)
	}
	h.check(l, p.m, false)
	s.removeDue(true)
	if got := folders(h.t, p.disk); !slices.Equal(got, []string{l.Dir()}) {
		h.t.Fatalf("folders %v, the log is in %s", got, l.Dir())
	}
	if err := s.Close(); err != nil {
		h.t.Fatal(err)
	}
	if s, err = openIdle(p.disk, twoDirs, testOptions(h.cfg)); err != nil {
		h.t.Fatal(err)
	}
	if l, ok = s.Log(tp0); !ok || l.Bounds().End != end {
		h.t.Fatalf("after an orderly end: %v, want the end %d", ok, end)
	}
	h.check(l, p.m, false)
}

// TestCrashesOfMoves crashes the disk at random operations while a log moves and is written.
func TestCrashesOfMoves(t *testing.T) {
	seeds := 100
	if testing.Short() {
		seeds = 30
	}
	points, moves := 0, 0
	for seed := range uint64(seeds) {
		ok := t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			h := newMoveHistory(t, seed)
			h.armed = true
			was := h.l.Dir()
			for range 60 + h.rng.IntN(120) {
				h.step()
				if now := h.l.Dir(); now != was {
					was = now
					moves++
				}
			}
			h.armed = false
			h.check(h.l, h.m, true)
			points += len(h.points)
			for i := range h.points {
				h.reopenTwo(i)
			}
		})
		if !ok {
			return
		}
	}
	t.Logf("%d crashed disks, %d moves", points, moves)
}
