package storage

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// cramped is a random history on a disk that refuses what needs space, at moments that the test chooses.
type cramped struct {
	*history
	ops    int // that need space, so far
	refuse func(op int) bool
	with   error

	txn      int32 // sequence of the producer of transactions
	open     bool  // it has a transaction
	refusals int
	broken   bool // may be offline
}

// needsSpace says what a full disk may refuse.
func needsSpace(kind string) bool {
	switch kind {
	case "Create", "WriteAt", "Mkdir", "MkdirAll", "Rename":
		return true
	}
	return false
}

func newCramped(t *testing.T, seed uint64, with error, refuse func(op int) bool) *cramped {
	c := &cramped{history: newHistory(t, seed), refuse: func(int) bool { return false }, with: with}
	c.mem = vfs.NewMem()
	c.cfg.IndexInterval = 100
	c.fs = vfs.WithFaults(c.mem, func(op vfs.Op) error {
		if !needsSpace(op.Kind) || with == syscall.EIO && op.Kind != "WriteAt" {
			return nil
		}
		c.history.ops++
		c.ops++
		if c.refuse(c.ops) {
			c.refusals++
			return fmt.Errorf("%s %s: %w", op.Kind, op.Name, with)
		}
		return nil
	})
	c.history.open()
	c.ops, c.refuse = 0, refuse
	return c
}

// expect fails the test for an error that is not the disk's.
func (c *cramped) expect(what string, err error) bool {
	c.t.Helper()
	if err != nil && (!errors.Is(err, c.with) || c.refusals == 0) {
		c.t.Fatalf("%s: %v", what, err)
	}
	return err == nil
}

func (c *cramped) step() {
	switch p := c.rng.IntN(100); {
	case p < 60:
		before, seqs := c.m.clone(), cloneSeqs(c.m.seqs)
		b := c.next()
		if _, err := c.l.Append(testNow, c.m.epoch, b); !c.expect("append", err) {
			c.m.batches, c.m.seqs = before.batches, seqs
		}
	case p < 72:
		c.transact()
	case p < 78:
		c.expect("flush", c.l.Flush())
	case p < 82:
		c.s.flushPending()
	case p < 86:
		c.expect("checkpoint", c.s.Checkpoint(nil))
	case p < 89:
		c.truncateOrNot()
	case p < 92 && c.cfg.Deletes:
		to := c.m.start + (c.m.end()-c.m.start)/3
		c.expect("advance", c.l.Advance(to))
		c.m.start = c.l.Bounds().Start
	case p < 95 && c.cfg.Deletes:
		c.l.SetHighWatermark(c.m.end())
		cfg := c.cfg
		cfg.RetentionBytes = c.l.Size() / 2
		if err := c.l.Reconfigure(cfg); err != nil {
			c.t.Fatal(err)
		}
		c.s.retain(testNow)
		c.m.start = c.l.Bounds().Start
	case p < 97:
		c.createAndDelete()
	default:
		c.s.removeDue(true)
	}
}

func cloneSeqs(m map[int64]int32) map[int64]int32 {
	out := map[int64]int32{}
	for id, seq := range m {
		out[id] = seq
	}
	return out
}

// transact begins a transaction, or aborts the one that is open.
func (c *cramped) transact() {
	const id = 50
	var raw batch.Batch
	if c.open {
		raw = txnMarker(id)
	} else {
		raw = txnBatch(id, c.txn)
	}
	raw.Stamp(c.m.end(), c.m.epoch)
	before := c.m.clone()
	c.m.batches = append(c.m.batches, modelBatch{raw: raw, timestamps: []int64{1}})
	if _, err := c.l.Append(testNow, c.m.epoch, bytes.Clone(raw)); !c.expect("transaction", err) {
		c.m.batches = before.batches
		return
	}
	if !c.open {
		c.txn++
	}
	c.open = !c.open
}

func (c *cramped) truncateOrNot() {
	if c.open || c.m.end() <= c.m.start+4 {
		return
	}
	to := c.m.end() - 1 - protocol.Offset(c.rng.IntN(3))
	kept := c.m.cutAt(to)
	if kept.end() < c.m.start || c.txn > 0 && cutsTransaction(c.m, kept) {
		return
	}
	if err := c.l.Truncate(to); c.expect("truncate", err) || c.l.Bounds().End == kept.end() {
		c.m = kept
	}
}

// cutsTransaction says whether transactional batches would go.
func cutsTransaction(whole, kept *model) bool {
	for _, mb := range whole.batches[len(kept.batches):] {
		if mb.raw.IsTransactional() {
			return true
		}
	}
	return false
}

// createAndDelete makes another log and takes it away again.
func (c *cramped) createAndDelete() {
	other := protocol.TopicPartition{Topic: "other"}
	l, err := c.s.Create(other, protocol.TopicID{5}, c.cfg)
	if !c.expect("create", err) {
		return
	}
	_, err = l.Append(testNow, 0, records(c.t, 1, "a"))
	c.expect("append to another log", err)
	if err := c.s.Delete(other); err != nil { // needs no space
		c.t.Fatal(err)
	}
	if _, ok := c.s.Log(other); ok {
		c.t.Fatal("a deleted log is there")
	}
}

// aborted holds the aborted transactions against those of the model.
func (c *cramped) aborted(l *Log) {
	c.t.Helper()
	b := l.Bounds()
	if b.Start > 0 {
		return
	}
	var want []segment.AbortedTxn
	state := producers.New()
	for _, mb := range c.m.batches {
		if e, ok := state.Apply(mb.raw, testNow); ok && e.Aborted {
			want = append(want, abortedOf(e))
		}
	}
	got, err := l.Aborted(0, b.End)
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		c.t.Fatalf("aborted %v, %v; want %v", got, err, want)
	}
}

// verify is what must hold once there is space again: everything acknowledged is there, nothing else, the log takes
// appends, and all that also after it was opened again, in order and after a crash.
func (c *cramped) verify() {
	t := c.t
	t.Helper()
	c.refuse = func(int) bool { return false }
	if err := c.l.Failure(); err != nil {
		t.Fatalf("the log is offline: %v", err)
	}
	c.check(c.l, c.m, true)
	c.aborted(c.l)
	c.s.removeDue(true)
	if n := strings.Count(c.mem.String(), ".log "); n != c.l.Segments() {
		t.Fatalf("%d log files for %d segments:\n%v", n, c.l.Segments(), c.mem)
	}
	for range 3 {
		c.history.append()
	}
	c.createAndDelete()
	if err := c.l.Flush(); err != nil {
		t.Fatal(err)
	}
	c.m.synced = c.l.Bounds().Synced
	if c.m.synced != c.m.end() {
		t.Fatalf("flushed up to %d of %d", c.m.synced, c.m.end())
	}
	c.reopen(0, crashPoint{disk: c.mem.CrashClone(rand.New(rand.NewPCG(1, 2)), 30), m: c.m.clone()}, 0)
	if err := c.s.Checkpoint(nil); err != nil {
		t.Fatal(err)
	}
	if err := c.s.Close(); err != nil {
		t.Fatal(err)
	}
	c.history.open()
	c.check(c.l, c.m, true)
	c.aborted(c.l)
	c.history.append()
	c.s.removeDue(true)
	if text := c.mem.String(); strings.Contains(text, "other") {
		t.Fatalf("leftovers of a deleted log:\n%s", text)
	}
}

// TestNoSpaceAtAnyWrite refuses each operation that needs space, once, and from it on for a while: nothing acknowledged is
// lost, what was refused is not there, and the log never goes offline.
func TestNoSpaceAtAnyWrite(t *testing.T) {
	seeds, every := uint64(6), 1
	if testing.Short() {
		seeds, every = 2, 5
	}
	runs := 0
	for seed := range seeds {
		const steps = 45
		run := func(name string, with error, refuse func(op int) bool) (ops int) {
			runs++
			ok := t.Run(fmt.Sprintf("seed%d/%s", seed, name), func(t *testing.T) {
				c := newCramped(t, seed, with, refuse)
				c.cfg.Deletes = seed%2 == 0
				for range steps {
					c.step()
				}
				ops = c.ops
				c.verify()
			})
			if !ok {
				t.FailNow()
			}
			return ops
		}
		n := run("none", syscall.ENOSPC, func(int) bool { return false })
		for k := 1; k <= n; k += every {
			run(fmt.Sprintf("once%d", k), syscall.ENOSPC, func(op int) bool { return op == k })
			run(fmt.Sprintf("from%d", k), syscall.ENOSPC, func(op int) bool { return op >= k && op < k+25 })
			run(fmt.Sprintf("error%d", k), syscall.EIO, func(op int) bool { return op == k })
		}
	}
	t.Logf("%d runs", runs)
}

// TestALogIsRecoveredOnAFullDisk opens what crashes left where nothing can be written any more, not even an index: all is
// there to be read, and once there is space again the log goes on as if nothing had been.
func TestALogIsRecoveredOnAFullDisk(t *testing.T) {
	hindered := 0
	defer func() {
		if hindered < 20 {
			t.Errorf("in %d of 60 something was refused", hindered)
		}
	}()
	for seed := range uint64(60) {
		c := newCramped(t, seed, syscall.ENOSPC, func(int) bool { return false })
		for range 40 {
			c.step()
		}
		if seed%3 == 0 {
			if err := errors.Join(c.l.Flush(), c.s.Checkpoint(nil)); err != nil {
				t.Fatal(err)
			}
			c.history.append()
		}
		disk := c.mem.CrashClone(rand.New(rand.NewPCG(seed, 4)), 100)
		full, refused := true, 0
		fsys := vfs.WithFaults(disk, func(op vfs.Op) error {
			if !full || !needsSpace(op.Kind) || strings.HasSuffix(op.Name, ".lock") || op.Kind == "MkdirAll" {
				return nil
			}
			refused++
			return syscall.ENOSPC
		})
		s, err := openIdle(fsys, []string{"/data"}, testOptions(c.cfg))
		if err != nil || s.Failed(tp0) != nil {
			t.Fatalf("seed %d: %v, %v\n%v", seed, err, s.Failed(tp0), disk)
		}
		l, _ := s.Log(tp0)
		if refused > 0 { // a log that was flushed up to its end needs nothing
			hindered++
		}
		c.m.start = min(c.m.start, l.Bounds().Start) // a start is durable from the next checkpoint on
		c.check(l, c.m, true)
		c.aborted(l)
		if _, err := l.Append(testNow, 9, records(t, 1, "refused")); err == nil || l.Failure() != nil {
			t.Fatal(err, l.Failure())
		}
		full = false
		c.mem, c.fs, c.s, c.l = disk, disk, s, l
		c.verify()
	}
}
