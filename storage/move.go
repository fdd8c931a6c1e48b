package storage

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// A log moves from one data folder to another while it is written and read. Its files are copied into a folder
// "topic-partition.unique-future", round after round, each with less to copy than the one before it; then writers wait
// for the last piece, the folder gets its final name, and the log goes on in it (see move_finish.go).

// moves is every move that is asked for or under way, at most one a partition. mu is held for a few instructions, and
// nothing is locked under it.
type moves struct {
	pace pace

	mu          sync.Mutex
	byPartition map[protocol.TopicPartition]*move
	queued      map[*dataDir][]*move // by target, in the order in which they were asked for
	wake        map[*dataDir]chan struct{}
	preferred   map[protocol.TopicPartition]*dataDir // for logs that are not there yet
}

// preferredMax bounds what is remembered of logs that nobody may ever create.
const preferredMax = 10_000

// move is one log on its way.
type move struct {
	l      *Log
	to     *dataDir
	folder string // what is copied so far

	ended  chan struct{} // closed when nobody wants it any more
	bytes  atomic.Int64  // copied
	behind atomic.Int64  // the offset after the last record that is copied

	// The mover's.

	copies map[*segment.Segment]*segmentCopy
	cuts   int   // as of the last round; see Log.w.cuts
	hold   int64 // so many bytes may be copied while writers wait
}

// segmentCopy is how much of a segment's files is in the target.
type segmentCopy struct {
	base  protocol.Offset
	sizes segment.Sizes
	mends int32
	sure  bool // complete: the segment was closed when it was copied
}

// Moving describes a move.
type Moving struct {
	Partition protocol.TopicPartition
	Dir       string          // the target, a data folder
	Bytes     int64           // that are there
	Total     int64           // the log's bytes
	End       protocol.Offset // records below it are there
}

// errMoveEnded says that a move is not wanted any more.
var errMoveEnded = errors.New("the move is not wanted any more")

func (m *moves) init(dirs []*dataDir) {
	m.byPartition = map[protocol.TopicPartition]*move{}
	m.queued = map[*dataDir][]*move{}
	m.wake = map[*dataDir]chan struct{}{}
	m.preferred = map[protocol.TopicPartition]*dataDir{}
	for _, d := range dirs {
		m.wake[d] = make(chan struct{}, 1)
	}
}

// Move has a log brought into another data folder, in the background (AlterReplicaLogDirs). A move of it to elsewhere
// ends. Where the log is not there yet, Create will make it in that folder; the error then carries
// REPLICA_NOT_AVAILABLE, as Kafka's.
func (s *Store) Move(tp protocol.TopicPartition, dir string) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	if len(futureDir(tp, s.o.NewID())) > nameMax {
		return protocol.Errorf(protocol.InvalidTopicException, "the topic's name is too long for the folder of a move")
	}
	to := s.dirAt(dir)
	for _, d := range s.lost {
		if d.path == path.Clean(dir) {
			to = d
		}
	}
	if to == nil {
		return protocol.Errorf(protocol.LogDirNotFound, "%q is not a data folder of this broker", dir)
	}
	if err := to.offline(); err != nil {
		return err
	}
	if m := s.moves.of(tp); m != nil {
		if m.to == to {
			return nil
		}
		s.endMove(m)
	}
	l, err := s.movable(tp, to)
	if err != nil || l == nil || path.Dir(l.Dir()) == to.path {
		return err
	}
	m := newMove(l, to, path.Join(to.path, futureDir(tp, s.o.NewID())))
	// Not synced: what a crash takes of it is a wish, which is asked for again.
	if err := s.fs.Mkdir(m.folder); err != nil {
		s.suspect(to, err)
		return fmt.Errorf("begin to move %v to %s: %w: %w", tp, to.path, protocol.KafkaStorageError, err)
	}
	s.moves.add(m)
	return nil
}

func newMove(l *Log, to *dataDir, folder string) *move {
	return &move{
		l: l, to: to, folder: folder, ended: make(chan struct{}), hold: holdBytesFirst,
		copies: map[*segment.Segment]*segmentCopy{},
	}
}

// movable is the log that is to be moved; nil and an error where there is none.
func (s *Store) movable(tp protocol.TopicPartition, to *dataDir) (*Log, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch l, failed := s.mu.logs[tp], s.mu.failed[tp]; {
	case s.mu.closed:
		return nil, ErrClosed
	case failed != nil:
		return nil, failed
	case l == nil:
		s.moves.prefer(tp, to)
		return nil, protocol.Errorf(protocol.ReplicaNotAvailable, "%v is not on this broker", tp)
	default:
		return l, l.Failure()
	}
}

// dirAt is a data folder by its path, nil where there is none.
func (s *Store) dirAt(dir string) *dataDir {
	for _, d := range s.dirs {
		if dir != "" && d.path == path.Clean(dir) {
			return d
		}
	}
	return nil
}

// Moves are those that are asked for or under way, by partition.
func (s *Store) Moves() []Moving {
	s.moves.mu.Lock()
	out := make([]Moving, 0, len(s.moves.byPartition))
	for tp, m := range s.moves.byPartition {
		out = append(out, Moving{
			Partition: tp, Dir: m.to.path, Bytes: m.bytes.Load(), Total: m.l.Size(), End: protocol.Offset(m.behind.Load()),
		})
	}
	s.moves.mu.Unlock()
	slices.SortFunc(out, func(a, b Moving) int { return comparePartitions(a.Partition, b.Partition) })
	return out
}

func (m *moves) of(tp protocol.TopicPartition) *move {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.byPartition[tp]
}

func (m *moves) add(x *move) {
	m.mu.Lock()
	m.byPartition[x.l.tp] = x
	x.to.health.logs.Add(1)
	m.queued[x.to] = append(m.queued[x.to], x)
	wake := m.wake[x.to]
	m.mu.Unlock()
	select {
	case wake <- struct{}{}:
	default:
	}
}

// next is the one that has waited longest for a folder; nil when none waits.
func (m *moves) next(to *dataDir) *move {
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queued[to]
	if len(q) == 0 {
		return nil
	}
	m.queued[to] = q[1:]
	return q[0]
}

// forget takes a move off the lists, and says whether it was there: its folder is then the caller's to deal with.
func (m *moves) forget(x *move) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.byPartition[x.l.tp] != x {
		return false
	}
	delete(m.byPartition, x.l.tp)
	m.queued[x.to] = slices.DeleteFunc(m.queued[x.to], func(y *move) bool { return y == x })
	close(x.ended)
	x.to.health.logs.Add(-1)
	return true
}

func (m *moves) prefer(tp protocol.TopicPartition, to *dataDir) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, known := m.preferred[tp]; known || len(m.preferred) < preferredMax {
		m.preferred[tp] = to
	}
}

// takePreferred is the folder that was asked for a log before it was there, nil where none was.
func (m *moves) takePreferred(tp protocol.TopicPartition) *dataDir {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.preferred[tp]
	delete(m.preferred, tp)
	return d
}

// endMove ends a move, whoever works on it, and has the copy removed. Store.changes is held.
func (s *Store) endMove(m *move) {
	if !s.moves.forget(m) {
		return
	}
	// The mover may be writing into the folder: it finds it gone under that name, and sees that the move has ended.
	gone := path.Join(m.to.path, deletedDir(m.l.tp, s.o.NewID()))
	if err := s.fs.Rename(m.folder, gone); err != nil {
		s.logger.Warn("the folder of a move that has ended cannot be removed", "dir", m.folder, "err", err)
		return
	}
	s.background.removal.add(true, s.o.Now(), gone)
}

// moveQueued does the moves into one folder, one after the other.
func (s *Store) moveQueued(to *dataDir) {
	for !s.stopping() {
		m := s.moves.next(to)
		if m == nil {
			return
		}
		began := s.o.Now()
		attrs := []any{"topic", m.l.tp.Topic, "partition", m.l.tp.Partition, "from", path.Dir(m.l.Dir()), "to", to.path}
		s.logger.Info("a log is moved", append(attrs, "bytes", m.l.Size())...)
		switch err := s.move(m); {
		case err == nil:
			s.logger.Info("a log has been moved", append(attrs, "bytes", m.bytes.Load(),
				"ms", s.o.Now().Sub(began).Milliseconds())...)
		case s.stopping(): // goes on after the next start
		case m.over():
			s.logger.Info("the move of a log was given up", attrs...)
		default:
			s.logger.Error("a log cannot be moved, it stays where it is", append(attrs, "err", err)...)
			s.suspect(to, err)
			s.trouble(m.l, err)
			s.changes.Lock()
			s.endMove(m)
			s.changes.Unlock()
		}
	}
}

// over says that nobody wants the move any more.
func (m *move) over() bool {
	select {
	case <-m.ended:
		return true
	default:
		return false
	}
}

// move copies until little is left, and then takes the log over.
func (s *Store) move(m *move) error {
	if err := m.prepare(s); err != nil {
		return err
	}
	reported := s.o.Now()
	for {
		if now := s.o.Now(); now.Sub(reported) >= moveReportInterval {
			reported = now
			s.logger.Info("a log is being moved", "topic", m.l.tp.Topic, "partition", m.l.tp.Partition, "to", m.to.path,
				"bytes", m.bytes.Load(), "of", m.l.Size())
		}
		left, err := m.round(s)
		if err == nil && left <= m.hold {
			var done bool
			if done, err = s.finishMove(m); done {
				return nil
			}
		}
		if err != nil {
			return err
		}
		m.hold = min(2*m.hold, holdBytesMax)
	}
}

const (
	// Writers wait while this much is copied. More in each round: a log that is written as fast as it is copied would
	// never arrive otherwise.
	holdBytesFirst = 256 << 10
	holdBytesMax   = 16 << 20

	moveReportInterval = 10 * time.Second
)

// nameMax is the longest name of a folder.
const nameMax = 255

const futureDirSuffix = "-future"

// futureDir is Kafka's name for the folder of a log that is being moved: topic-partition.unique-future.
func futureDir(tp protocol.TopicPartition, id string) string {
	return fmt.Sprintf("%v.%x%s", tp, id[:16], futureDirSuffix)
}

// parseFutureDir is the partition that such a folder is of.
func parseFutureDir(name string) (protocol.TopicPartition, bool) {
	name, ok := strings.CutSuffix(name, futureDirSuffix)
	dot := strings.LastIndexByte(name, '.')
	if !ok || dot < 0 {
		return protocol.TopicPartition{}, false
	}
	return parseDir(name[:dot])
}

// pace spreads work over time.
type pace struct {
	mu   sync.Mutex
	owed float64 // bytes that were admitted and are not paid for yet
	at   time.Time
}

// admit lets so many bytes more through when those before them are paid for at a rate per second. Otherwise it says how
// long that takes.
func (p *pace) admit(now time.Time, bytes, rate int64) (wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	perSecond := float64(max(rate, 1))
	p.owed = max(0, p.owed-perSecond*now.Sub(p.at).Seconds())
	p.at = now
	if p.owed > 0 {
		return time.Duration(min(p.owed/perSecond, pauseMax.Seconds()) * float64(time.Second))
	}
	p.owed = float64(bytes)
	return 0
}

// pauseMax is after what time a waiting mover looks whether the rate is another.
const pauseMax = 500 * time.Millisecond

// pause waits until so many bytes may be copied, and not longer than the move is wanted.
func (m *move) pause(s *Store, bytes int64) error {
	for {
		if err := m.wanted(s); err != nil {
			return err
		}
		wait := s.moves.pace.admit(time.Now(), bytes, s.Tuning().MoveBytesPerSecond)
		if wait == 0 {
			m.to.space.appended.Add(bytes)
			return m.fits(bytes)
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-m.ended:
		case <-s.background.stop:
		}
		t.Stop()
	}
}

func (m *move) wanted(s *Store) error {
	if m.over() || s.stopping() {
		return errMoveEnded
	}
	return nil
}

// removeFile removes a file of the copy.
func (m *move) removeFile(s *Store, name string) error {
	return vfs.RemoveIfThere(s.fs, path.Join(m.folder, name))
}
