package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// The scrub reads what nobody reads: every closed segment once in scrubInterval, slowly, so that damage is known while
// there still are good replicas. A round goes through a data folder's logs by name; where it is, is kept in a file, so that
// it goes on there after a restart.
const (
	scrubInterval = 7 * 24 * time.Hour
	scrubFile     = "moldau.scrub"
	scrubVersion  = 1
	// scrubKept is how often the file is written, at most.
	scrubKept = time.Minute
)

// scrub is the state of the chore.
type scrub struct {
	asked atomic.Bool   // somebody wants everything read now
	wake  chan struct{} // holds at most one token
	pace  pace
	bytes atomic.Int64 // read since the store was opened
	last  atomic.Int64 // how long the last whole round took, in nanoseconds
	kept  time.Time    // when the file was last written

	mu    sync.Mutex // held for a few instructions
	state ScrubState
}

// ScrubState is what a scrub that was asked for has done.
type ScrubState struct {
	Running  bool
	Began    time.Time // zero: none was asked for
	Ended    time.Time
	Bytes    int64 // read so far
	Of       int64 // to be read
	Segments int   // read so far
	Mended   int   // indexes that were damaged and have been made anew
	Unread   int   // segments that could not be read, or went meanwhile
}

// Damaged is a log that is offline because of what is on the disk.
type Damaged struct {
	Partition protocol.TopicPartition
	Err       error
}

// ScrubTotals is what metrics say.
type ScrubTotals struct {
	Bytes     int64
	LastRound time.Duration // 0: none was ended
}

// place is where a round has come to, as it is in the file of a data folder.
type place struct {
	Version   int             `json:"version"`
	Began     int64           `json:"began"` // seconds since 1970; 0: no round was begun
	Ended     int64           `json:"ended"` // 0: it is under way
	Topic     string          `json:"topic"` // the log and the segment that were read last
	Partition int32           `json:"partition"`
	Base      protocol.Offset `json:"base"`
}

// Scrub asks for everything to be read and checked now, as fast as the disk gives it. Where that is under way already
// nothing changes. ScrubState says how it goes.
func (s *Store) Scrub() ScrubState {
	sc := &s.background.scrub
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if !sc.state.Running {
		sc.state = ScrubState{Running: true, Began: s.o.Now()}
		sc.asked.Store(true)
		sc.wakeUp()
	}
	return sc.state
}

func (sc *scrub) wakeUp() {
	select {
	case sc.wake <- struct{}{}:
	default:
	}
}

// ScrubState is that of the last scrub that was asked for.
func (s *Store) ScrubState() ScrubState {
	sc := &s.background.scrub
	sc.mu.Lock()
	defer sc.mu.Unlock()
	return sc.state
}

// ScrubTotals are those of every scrub, asked for or not.
func (s *Store) ScrubTotals() ScrubTotals {
	sc := &s.background.scrub
	return ScrubTotals{Bytes: sc.bytes.Load(), LastRound: time.Duration(sc.last.Load())}
}

// Damaged are the logs that are offline because of damage, by name.
func (s *Store) Damaged() []Damaged {
	var out []Damaged
	add := func(tp protocol.TopicPartition, err error) {
		var flushed *DamagedError
		var log *segment.DamageError
		if errors.As(err, &flushed) || errors.As(err, &log) {
			out = append(out, Damaged{Partition: tp, Err: err})
		}
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for tp, err := range s.mu.failed {
		add(tp, err)
	}
	for tp, l := range s.mu.logs {
		if err := l.Failure(); err != nil {
			add(tp, err)
		}
	}
	slices.SortFunc(out, func(a, b Damaged) int { return comparePartitions(a.Partition, b.Partition) })
	return out
}

var errScrubEnds = errors.New("the scrub ends")

// scrubDue is the chore.
func (s *Store) scrubDue(time.Time) {
	if s.background.scrub.asked.Swap(false) {
		s.scrubAll()
	}
	for _, d := range s.dirs {
		if s.Tuning().ScrubBytesPerSecond <= 0 || s.stopping() {
			return
		}
		if err := s.scrubDir(d); err != nil {
			if !errors.Is(err, errScrubEnds) {
				s.logger.Warn("where the scrub is cannot be kept", "dir", d.path, "err", err)
			}
			return
		}
	}
}

// scrubAll reads everything, also the segments that are being written, at full speed.
func (s *Store) scrubAll() {
	sc := &s.background.scrub
	note := func(f func(*ScrubState)) {
		sc.mu.Lock()
		defer sc.mu.Unlock()
		f(&sc.state)
	}
	logs := s.All()
	for _, l := range logs {
		size := l.Size()
		note(func(st *ScrubState) { st.Of += size })
	}
	pace := func(bytes int) error {
		if s.stopping() {
			return errScrubEnds
		}
		sc.bytes.Add(int64(bytes))
		note(func(st *ScrubState) { st.Bytes += int64(bytes) })
		return nil
	}
	for _, l := range logs {
		for i := range *l.segments.Load() {
			if s.stopping() {
				return
			}
			mended, err := s.scrubSegment(l, i, pace)
			note(func(st *ScrubState) {
				st.Segments++
				if mended {
					st.Mended++
				}
				if err != nil && l.Failure() == nil {
					st.Unread++
				}
			})
		}
	}
	note(func(st *ScrubState) { st.Running, st.Ended = false, s.o.Now() })
	st := s.ScrubState()
	s.logger.Info("everything has been read and checked", "bytes", st.Bytes, "segments", st.Segments, "mended", st.Mended,
		"unread", st.Unread, "damaged", len(s.Damaged()), "ms", st.Ended.Sub(st.Began).Milliseconds())
}

// scrubDir goes on with the round of one folder, up to its end.
func (s *Store) scrubDir(d *dataDir) error {
	p := s.scrubPlace(d)
	now := s.o.Now()
	if p.Ended != 0 {
		if now.Sub(time.Unix(p.Began, 0)) < scrubInterval {
			return nil
		}
		p = place{}
	}
	if p.Began == 0 {
		p = place{Version: scrubVersion, Began: now.Unix(), Base: -1}
	}
	at := protocol.TopicPartition{Topic: p.Topic, Partition: p.Partition}
	for _, l := range s.All() {
		c := comparePartitions(l.tp, at)
		if path.Dir(l.Dir()) != d.path || c < 0 {
			continue
		}
		segs := *l.segments.Load()
		for i, x := range segs[:len(segs)-1] {
			if c == 0 && x.Base() <= p.Base {
				continue
			}
			if _, err := s.scrubSegment(l, i, s.paceScrub); errors.Is(err, errScrubEnds) {
				return errors.Join(err, s.keepPlace(d, p, true))
			}
			p.Topic, p.Partition, p.Base = l.tp.Topic, l.tp.Partition, x.Base()
			if err := s.keepPlace(d, p, false); err != nil {
				return err
			}
		}
	}
	p.Ended = s.o.Now().Unix()
	s.background.scrub.last.Store(int64(s.o.Now().Sub(time.Unix(p.Began, 0))))
	return s.keepPlace(d, p, true)
}

// paceScrub lets a slow scrub read on when it may. It ends it for one that was asked for, and with the store.
func (s *Store) paceScrub(bytes int) error {
	sc := &s.background.scrub
	for {
		rate := s.Tuning().ScrubBytesPerSecond
		if s.stopping() || sc.asked.Load() || rate <= 0 {
			return errScrubEnds
		}
		wait := sc.pace.admit(time.Now(), int64(bytes), rate)
		if wait == 0 {
			sc.bytes.Add(int64(bytes))
			return nil
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-s.background.stop:
		case <-sc.wake:
			if sc.asked.Load() { // the chore is to run again at once
				sc.wakeUp()
			}
		}
		t.Stop()
	}
}

// scrubSegment reads one segment of a log. What is wrong with it has consequences: an index is made anew, damage takes the
// log offline.
func (s *Store) scrubSegment(l *Log, i int, pace func(int) error) (mended bool, err error) {
	segs := *l.segments.Load()
	if i >= len(segs) || l.Failure() != nil {
		return false, nil
	}
	x := segs[i]
	if err = x.Scrub(pace); err == nil && x.HasAborted() {
		if err = l.sureAborted(segs, i); err != nil {
			return false, l.mend(err)
		}
		return false, nil
	}
	var damage *segment.DamageError
	var index *segment.IndexError
	switch {
	case errors.As(err, &damage):
		return false, l.confirm(x, func() error { return x.Scrub(nil) }) // writers wait: not slowly
	case errors.As(err, &index):
		return true, l.mendIndex(index)
	}
	return false, err
}

// scrubPlace reads how far a folder's round is. A file that cannot be read begins a new one.
func (s *Store) scrubPlace(d *dataDir) place {
	var p place
	b, err := vfs.ReadFile(s.fs, path.Join(d.path, scrubFile), smallFileMax)
	if err != nil || json.Unmarshal(b, &p) != nil || p.Version != scrubVersion || p.Began > s.o.Now().Unix() {
		return place{}
	}
	return p
}

// keepPlace writes how far a folder's round is; not more often than scrubKept, unless now is set. It is not synced: to
// read something once more does no harm.
func (s *Store) keepPlace(d *dataDir, p place, now bool) error {
	sc := &s.background.scrub
	if at := s.o.Now(); now || at.Sub(sc.kept) >= scrubKept {
		sc.kept = at
		b, err := json.Marshal(p)
		if err != nil {
			return fmt.Errorf("%s: %w", scrubFile, err)
		}
		return vfs.WriteFileUnsynced(s.fs, path.Join(d.path, scrubFile), append(b, '\n'))
	}
	return nil
}
