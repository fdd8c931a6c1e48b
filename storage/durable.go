package storage

import (
	"errors"
	"fmt"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/journal"
	"moldau.io/moldau/storage/segment"
)

// How an append becomes durable before it is answered, where the configuration wants that: it is queued in the journal of
// its data folder, which copies it, or syncs the log's own file, together with whatever else was queued meanwhile.

// durable says that an append is answered when it is on stable storage. A flush after every record is the same wish.
func (c *Config) durable() bool { return c.Fsync || c.FlushMessages == 1 }

// AcksDurable says that records are to be acknowledged when they are below Durable, not before.
func (l *Log) AcksDurable() bool { return l.cfg.Load().durable() }

// Durable is the offset below which everything survives a crash of the machine. It rises after Submit, in the background.
func (l *Log) Durable() protocol.Offset {
	return protocol.Offset(max(l.durable.Load(), l.synced.Load()))
}

// filed is the offset below which everything is durable in the log's own files.
func (l *Log) filed() protocol.Offset {
	return protocol.Offset(max(l.dataSynced.Load(), l.synced.Load()))
}

// OnDurable has f called, on a goroutine of the store's, after Durable has risen or the log has gone offline. There is one
// such function.
func (l *Log) OnDurable(f func()) { l.listener.Store(&f) }

// Submit is Append that does not wait until the batches are durable: see Durable and OnDurable. Where the configuration
// does not ask for more than the page cache it is Append.
//
// It waits for room in the journal's queue, which no function of OnDurable may delay.
func (l *Log) Submit(now time.Time, epoch protocol.Epoch, bs ...batch.Batch) (Appended, error) {
	for {
		a, err := l.submit(now, epoch, bs, l.journalFor(l.cfg.Load()))
		if err != errOtherJournal {
			return a, err
		}
	}
}

func (l *Log) submit(now time.Time, epoch protocol.Epoch, bs []batch.Batch, j *journal.Journal) (Appended, error) {
	if j == nil {
		a, due, err := l.append(now, epoch, bs, nil)
		if due && err == nil {
			err = l.flush(a.Last + 1) // outside of mu
		}
		return a, err
	}
	size := bytesOf(bs)
	j.Admit(size) // outside of mu, which a flush needs that makes room
	a, _, err := l.append(now, epoch, bs, j)
	if err != nil || a.Duplicate {
		j.Release(size)
	}
	return a, err
}

// errOtherJournal says that the configuration has changed, or the log has moved, just before an append took its turn.
var errOtherJournal = errors.New("append to be tried again")

// journalFor is the journal that an append goes to, nil for none.
func (l *Log) journalFor(cfg *Config) *journal.Journal {
	if !cfg.durable() {
		return nil
	}
	return l.journal.Load()
}

func bytesOf(bs []batch.Batch) (n int64) {
	for _, b := range bs {
		n += int64(len(b))
	}
	return n
}

// Await waits until everything below o is durable.
func (l *Log) Await(o protocol.Offset) error {
	for l.Durable() < o {
		if err := l.Failure(); err != nil {
			return err
		}
		if l.isClosed() {
			return ErrClosed
		}
		if l.Bounds().End < o {
			return protocol.Errorf(protocol.NotLeaderOrFollower, "records before offset %d were cut off", o)
		}
		j := l.journal.Load()
		if j == nil {
			return l.flush(o)
		}
		j.Commit()
		if l.Durable() < o {
			l.Secure()
		}
	}
	return nil
}

// Secure has made durable, in the background, what is in the log now.
func (l *Log) Secure() {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := l.active().Next()
	j := l.journal.Load()
	if j == nil || l.usable() != nil || l.Durable() >= end {
		return
	}
	l.join(j)
	l.w.member.m.Sync(end)
	l.w.connected = true
}

// join takes part in a journal; mu is held.
func (l *Log) join(j *journal.Journal) {
	if l.w.member == nil {
		x := &membership{l: l, j: j}
		x.m = j.Join(x)
		l.w.member, l.w.connected = x, false
	}
}

// queue has batches committed that were just written; mu is held. They follow on something that is durable, or is so before
// they are, else the log's own files are synced.
func (l *Log) queue(j *journal.Journal, a Appended, bs []batch.Batch) {
	l.join(j)
	l.w.member.m.Add(a.Base, a.Last+1, bs, bytesOf(bs), !l.w.connected || l.w.cutters > 0)
	l.w.connected = true
}

// leaveJournal ends the log's part in its journal: what is there of it, or on its way, counts no more. mu is held.
func (l *Log) leaveJournal() {
	x := l.w.member
	if x == nil {
		return
	}
	l.committed.Lock()
	x.over = true
	l.committed.Unlock()
	l.w.member, l.w.connected = nil, false
}

// lockToCut takes flushing and mu, for somebody who takes records away from the log's end. What the journal has of the log
// counts no more then, also after a crash: everything is in the log's own files.
func (l *Log) lockToCut() (err error) {
	l.mu.Lock()
	l.w.cutters++
	l.mu.Unlock()
	defer func() {
		if err != nil {
			l.mu.Lock()
			l.w.cutters--
			l.mu.Unlock()
		}
	}()
	for {
		l.mu.Lock()
		x := l.w.member
		l.leaveJournal()
		l.mu.Unlock()
		if x != nil {
			if err := l.Flush(); err != nil {
				return err
			}
			if err := x.j.Forget(l.name()); err != nil {
				return l.storageError("cut the log off from the journal", err)
			}
			l.keeper.tell(l) // Flush, and not the journal, has answered who waits
		}
		l.flushing.Lock()
		l.mu.Lock()
		if l.w.member == nil {
			return nil
		}
		l.mu.Unlock()
		l.flushing.Unlock()
	}
}

func (l *Log) unlockCut() {
	end := int64(l.active().Next())
	l.committed.Lock()
	for _, o := range []*atomic.Int64{&l.durable, &l.dataSynced} {
		if o.Load() > end {
			o.Store(end)
		}
	}
	l.committed.Unlock()
	if base := int64(l.active().Base()); l.namedUpTo.Load() > base { // names that come after it are others than before
		l.namedUpTo.Store(base)
	}
	l.w.cutters--
	l.mu.Unlock()
	l.flushing.Unlock()
}

func (l *Log) name() journal.Name { return journal.Name{ID: l.id, Partition: l.tp} }

// membership is a log's part in a journal, from when it joins to when it is cut, or moved to where another journal is.
type membership struct {
	l    *Log
	j    *journal.Journal
	m    *journal.Member
	over bool // guarded by l.committed
}

func (x *membership) isOver() bool {
	x.l.committed.Lock()
	defer x.l.committed.Unlock()
	return x.over
}

// Name implements journal.Log.
func (x *membership) Name() journal.Name { return x.l.name() }

// SyncData implements journal.Log. Indexes and the like are not synced: opening makes them anew for what lies behind the
// recovery point, which stays where it is.
func (x *membership) SyncData(upTo protocol.Offset) error {
	l := x.l
	// With a flush in turns: when a sync has failed the next one succeeds, without what was lost.
	l.flushing.Lock()
	defer l.flushing.Unlock()
	if err := l.Failure(); err != nil {
		return err
	}
	err := x.syncData(upTo)
	if err = x.unlessGone(err); err != nil && err != ErrClosed {
		return l.fail(fmt.Errorf("make appends durable: %w", err))
	}
	return err
}

func (x *membership) syncData(upTo protocol.Offset) error {
	// From where the log's own files are durable, though the journal may have more: a crash that took an older segment's
	// end would make what is synced now lie behind a hole, where it is cut off before the journal is read.
	l, from := x.l, x.l.filed()
	if from >= upTo {
		return nil
	}
	segs := *l.segments.Load()
	newest := segs[len(segs)-1].Base()
	for _, s := range segs[holder(segs, max(from-1, 0)):] {
		if err := s.SyncLog(); err != nil && !errors.Is(err, segment.ErrRemoved) {
			return err
		}
	}
	if !l.named.Load() || int64(newest) > l.namedUpTo.Load() {
		if err := l.keepNames(); err != nil {
			return err
		}
		l.namedUpTo.Store(int64(newest))
	}
	if err := x.unlessGone(nil); err != nil { // what was not found was no longer there to be synced
		return err
	}
	l.committed.Lock()
	defer l.committed.Unlock()
	if !x.over && int64(upTo) > l.dataSynced.Load() {
		l.dataSynced.Store(int64(upTo))
	}
	return nil
}

// unlessGone is ErrClosed for a log that was deleted, cut or moved meanwhile: its files are not what they were.
func (x *membership) unlessGone(err error) error {
	if x.isOver() || x.l.isClosed() {
		return ErrClosed
	}
	return err
}

// Committed implements journal.Log.
func (x *membership) Committed(upTo protocol.Offset) {
	l := x.l
	l.committed.Lock()
	if !x.over && int64(upTo) > l.durable.Load() {
		l.durable.Store(int64(upTo))
	}
	l.committed.Unlock()
	l.keeper.tell(l)
}

// Lost implements journal.Log.
func (x *membership) Lost(err error) {
	if !x.isOver() && !x.l.isClosed() {
		_ = x.l.fail(fmt.Errorf("make appends durable: %w", err))
	}
	x.l.keeper.tell(x.l)
}

// Settled implements journal.Log.
func (x *membership) Settled(upTo protocol.Offset) bool {
	return x.l.filed() >= upTo || x.isOver() || x.l.isClosed()
}

// RescueFile implements journal.Log.
func (x *membership) RescueFile() string {
	if x.l.Failure() == nil {
		return ""
	}
	return path.Join(x.l.Dir(), rescueFile)
}

// news is which logs' listeners are to be called.
type news struct {
	mu   sync.Mutex
	logs []*Log
	wake chan struct{} // holds at most one token
}

// tell implements keeper.
func (s *Store) tell(l *Log) {
	if !l.toTell.CompareAndSwap(false, true) {
		return
	}
	n := &s.background.news
	n.mu.Lock()
	n.logs = append(n.logs, l)
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// tellAll calls the listeners. A function of its own and a goroutine of its own, as listeners wait for locks under which
// others wait for room in a journal.
func (s *Store) tellAll() {
	n := &s.background.news
	n.mu.Lock()
	logs := n.logs
	n.logs = nil
	n.mu.Unlock()
	for _, l := range logs {
		l.toTell.Store(false)
		if f := l.listener.Load(); f != nil {
			(*f)()
		}
	}
}
