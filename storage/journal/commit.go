package journal

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// retryInterval is how long a journal whose file could not be made has logs sync their own files, before it tries again.
const retryInterval = time.Second

// Commit makes durable everything that was added before it was called, and tells the logs. When others do so already it
// waits for them.
//
// First come the logs that sync their own files, then the entries: an entry that is found after a crash follows on
// something that is durable.
func (j *Journal) Commit() {
	j.committing.Lock()
	defer j.committing.Unlock()
	r := j.take()
	if r == nil {
		return
	}
	j.syncOwn(r, func(c *claim) bool { return c.direct })
	if r.needsJournal() {
		j.write(r)
	}
	j.stats.round(r)
	for i := range r.claims {
		if c := &r.claims[i]; !c.failed {
			c.m.log.Committed(c.end)
		}
	}
	j.recycle(r)
}

// needsJournal says whether there are entries of logs that do not sync their own files.
func (r *round) needsJournal() bool {
	for _, e := range r.entries {
		if e.claim < 0 || !r.claims[e.claim].direct {
			return true
		}
	}
	return false
}

// syncOwn has logs sync their own files. An error concerns that log only.
func (j *Journal) syncOwn(r *round, which func(c *claim) bool) {
	n := 0
	for i := range r.claims {
		if which(&r.claims[i]) {
			r.claims[i].own, n = true, n+1
		}
	}
	if n == 0 { // nearly always
		return
	}
	own := make([]*claim, 0, n)
	for i := range r.claims {
		if r.claims[i].own {
			r.claims[i].own = false
			own = append(own, &r.claims[i])
		}
	}
	inParallel(j.cfg.Threads, own, func(c *claim) {
		c.direct = true
		j.stats.direct.Add(1)
		if err := c.m.log.SyncData(c.end); err != nil {
			c.failed = true
			c.m.log.Lost(err)
		}
	})
}

// inParallel calls do for each of all, several at a time: a file system makes one commit of syncs that come together.
func inParallel[T any](threads int, all []T, do func(T)) {
	if threads <= 1 || len(all) <= 1 {
		for _, x := range all {
			do(x)
		}
		return
	}
	var wg sync.WaitGroup
	var next atomic.Int64
	for range min(threads, len(all)) {
		wg.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(all)); i = next.Add(1) - 1 {
				do(all[i])
			}
		})
	}
	wg.Wait()
}

// write brings a round's entries to the disk.
func (j *Journal) write(r *round) {
	err := j.Broken()
	if err == nil {
		err = j.writePieces(r)
	}
	if err == nil {
		return
	}
	for _, v := range r.voids {
		v.err = err
	}
	if errors.Is(err, errNoRoom) || errors.Is(err, syscall.ENOSPC) {
		// Nothing was acknowledged and nothing is lost: what is in the logs' own files is synced there.
		j.syncOwn(r, func(c *claim) bool { return !c.direct })
		return
	}
	j.fail(err)
	for i := range r.claims {
		if c := &r.claims[i]; !c.direct && !c.failed {
			c.failed = true
			c.m.log.Lost(err)
		}
	}
}

// fail ends the journal. After a failed sync nobody knows what of the file is on disk, and a second sync would say that all
// is well (the kernel reports a lost page once): nothing is written here any more. What was synced before stays where it is
// and is found when the folder is opened.
func (j *Journal) fail(err error) {
	j.mu.Lock()
	first := j.mu.broken == nil
	if first {
		j.mu.broken = err
	}
	j.mu.Unlock()
	if first {
		j.cfg.Logger.Error("the journal is broken", "dir", j.cfg.Dir, "err", err)
		j.cfg.Broken(err)
	}
}

// writePieces writes a round's entries, as many at a time as the active file takes, each piece with one write and one
// sync.
func (j *Journal) writePieces(r *round) error {
	at, done, voids := 0, 0, r.voids
	for done < len(r.entries) {
		f, err := j.room(int64(r.entries[done].bytes))
		if err != nil {
			return err
		}
		size, n := 0, 0
		for _, e := range r.entries[done:] {
			if f.at+int64(size+e.bytes) > j.cfg.FileBytes {
				break
			}
			size += e.bytes
			n++
		}
		piece, entries := r.buf[at:at+size], r.entries[done:done+n]
		j.sealPiece(r, piece, entries)
		if err := j.writePiece(f, r, piece); err != nil {
			return err
		}
		voids = j.count(f, r, entries, voids)
		at += size
		done += n
	}
	return nil
}

// sealPiece gives entries their sequence. It is not used again, also if they cannot be written: what reaches the disk of
// them must not be taken for those that are written in their place.
func (j *Journal) sealPiece(r *round, piece []byte, entries []framed) {
	for i, e := range entries {
		b := piece[:e.bytes]
		piece = piece[e.bytes:]
		if e.claim >= 0 && r.claims[e.claim].failed {
			b[32] = kindSkip
		}
		j.c.sequence++
		flags := uint16(0)
		if i == len(entries)-1 {
			flags = flagLast
		}
		seal(b, j.c.sequence, j.c.durable, flags)
	}
}

func (j *Journal) writePiece(f *file, r *round, piece []byte) error {
	// Whole pages, so that nothing stays behind of what they held before.
	tail := alignUp(int64(len(piece)), pieceAlign) - int64(len(piece))
	if tail > 0 && &piece[0] == &r.buf[len(r.buf)-len(piece)] { // the last one
		r.buf = append(r.buf, zeroPage[:tail]...)
		piece, tail = r.buf[len(r.buf)-len(piece)-int(tail):], 0
	}
	if _, err := f.f.WriteAt(piece, f.at); err != nil {
		return fmt.Errorf("write %d bytes to %s at byte %d: %w", len(piece), f.name, f.at, err)
	}
	if tail > 0 {
		if _, err := f.f.WriteAt(zeroPage[:tail], f.at+int64(len(piece))); err != nil {
			return fmt.Errorf("write %d bytes to %s at byte %d: %w", tail, f.name, f.at+int64(len(piece)), err)
		}
	}
	began := j.cfg.Now()
	if err := f.f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", f.name, &syncError{err})
	}
	j.stats.synced(len(piece), j.cfg.Now().Sub(began))
	j.c.durable = j.c.sequence
	f.at = min(alignUp(f.at+int64(len(piece)), pieceAlign), j.cfg.FileBytes)
	return nil
}

// count notes which logs need a file for the entries that were written to it, or need none for what was written before.
func (j *Journal) count(f *file, r *round, entries []framed, voids []*void) []*void {
	j.fileMu.Lock()
	defer j.fileMu.Unlock()
	for _, e := range entries {
		if e.claim >= 0 {
			c := &r.claims[e.claim]
			f.members[c.m] = max(f.members[c.m], c.end)
			continue
		}
		f.forget(voids[0].name)
		for _, g := range j.fileMu.sealed {
			g.forget(voids[0].name)
		}
		voids = voids[1:]
	}
	return voids
}

var zeroPage [pieceAlign]byte

// syncError is a failed sync, whatever its reason: also ENOSPC of a file system that writes nothing in place.
type syncError struct{ err error }

func (e *syncError) Error() string { return e.err.Error() }

func (f *file) forget(n Name) {
	for m := range f.members {
		if m.name == n {
			delete(f.members, m)
		}
	}
}
