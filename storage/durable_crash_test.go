package storage

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// durables drives several logs whose appends must be durable, each on its own, and one journal for all of them.
type durables struct {
	t      *testing.T
	rng    *rand.Rand
	seed   uint64
	mem    *vfs.Mem
	s      *Store
	cfg    Config
	logs   []*durableLog
	ops    int
	every  int
	armed  bool
	points []durablePoint
	trace  []string // what was done, for the message

	replayed *uint64 // batches that came from the journal, of all disks
}

// durableLog is what one log should hold.
type durableLog struct {
	tp      protocol.TopicPartition
	batches []batch.Batch // as they are in the log, from the first on
	before  []batch.Batch // what it may hold as well, while it is being truncated or deleted
	gone    bool          // it may be missing
	acked   protocol.Offset
	fsync   bool
	epoch   protocol.Epoch
}

func (m *durableLog) end() protocol.Offset {
	if n := len(m.batches); n > 0 {
		return m.batches[n-1].LastOffset() + 1
	}
	return 0
}

type durablePoint struct {
	disk *vfs.Mem
	logs []durableLog
	op   vfs.Op
	step int
}

func (d *durables) options() Options {
	o := testOptions(d.cfg)
	o.CloseThreads = 1
	o.Journal = JournalOptions{FileBytes: 5 * 4096, DirectBytes: 900, Files: 3}
	return o
}

// watched is a file system that takes crashed disks while d is armed.
func (d *durables) watched(mem *vfs.Mem) vfs.FS {
	return vfs.WithFaults(mem, func(op vfs.Op) error {
		d.ops++
		if d.armed && op.Kind != "ReadAt" && op.Kind != "Stat" && op.Kind != "List" && d.ops%d.every == 0 {
			disk := mem.CrashClone(rand.New(rand.NewPCG(d.seed, uint64(d.ops))), []int{0, 50, 90, 100}[d.rng.IntN(4)])
			p := durablePoint{disk: disk, op: op, step: len(d.trace)}
			for _, m := range d.logs {
				p.logs = append(p.logs, *m)
			}
			d.points = append(d.points, p)
		}
		return nil
	})
}

func newDurables(t *testing.T, seed uint64) *durables {
	d := &durables{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 3)), mem: vfs.NewMem(),
		replayed: new(uint64)}
	d.every = 1 + d.rng.IntN(25)
	d.cfg = DefaultConfig()
	d.cfg.SegmentBytes = 2600 + d.rng.Int64N(5000)
	d.cfg.IndexInterval = d.rng.Int64N(600)
	d.cfg.DeleteDelay = 0
	d.cfg.Fsync = true
	d.open()
	for i := range 1 + d.rng.IntN(4) {
		m := &durableLog{tp: protocol.TopicPartition{Topic: "t", Partition: int32(i)}}
		d.logs = append(d.logs, m)
		d.create(m)
	}
	return d
}

func (d *durables) open() {
	s, err := openIdle(d.watched(d.mem), []string{"/data"}, d.options())
	if err != nil {
		d.t.Fatal(err)
	}
	d.s = s
}

func (d *durables) create(m *durableLog) {
	cfg := d.cfg
	m.fsync = d.rng.IntN(5) > 0
	cfg.Fsync = m.fsync
	l, err := d.s.Create(m.tp, protocol.TopicID{byte(m.tp.Partition + 1)}, cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := l.Reconfigure(cfg); err != nil {
		d.t.Fatal(err)
	}
	m.gone = false
}

func (d *durables) log(m *durableLog) *Log {
	l, ok := d.s.Log(m.tp)
	if !ok {
		d.t.Fatalf("%v is gone: %v", m.tp, d.s.Failed(m.tp))
	}
	return l
}

func (d *durables) batch(m *durableLog) batch.Batch {
	b := batch.NewBuilder(batch.BuilderOptions{})
	for range 1 + d.rng.IntN(4) {
		b.Add(1000, nil, bytes.Repeat([]byte{byte('a' + d.rng.IntN(26))}, d.rng.IntN(250)))
	}
	raw := b.Build()
	if d.rng.IntN(20) == 0 {
		m.epoch++
	}
	batch.Batch(raw).Stamp(m.end(), m.epoch)
	m.batches = append(m.batches[:len(m.batches):len(m.batches)], raw)
	return bytes.Clone(raw)
}

func (d *durables) append(m *durableLog) {
	n := 1
	if d.rng.IntN(8) == 0 {
		n = 2 // one append of two batches
	}
	var bs []batch.Batch
	for range n {
		bs = append(bs, d.batch(m))
	}
	if n == 2 {
		bs[0].Stamp(bs[0].BaseOffset(), m.epoch)
		m.batches[len(m.batches)-2].Stamp(bs[0].BaseOffset(), m.epoch)
	}
	want := bs[0].BaseOffset()
	a, err := d.log(m).Submit(testNow, m.epoch, bs...)
	if err != nil || a.Base != want {
		d.t.Fatalf("%v: appended at %d, want %d: %v", m.tp, a.Base, want, err)
	}
}

func (d *durables) truncate(m *durableLog) {
	keep := d.rng.IntN(len(m.batches) + 1)
	to := protocol.Offset(0)
	if keep > 0 {
		to = m.batches[keep-1].LastOffset() + 1
	}
	m.before, m.batches, m.acked = m.batches, m.batches[:keep], min(m.acked, to)
	if err := d.log(m).Truncate(to); err != nil {
		d.t.Fatal(err)
	}
	m.before = nil
}

func (d *durables) deleteAndCreate(m *durableLog) {
	m.before, m.batches, m.acked, m.gone, m.epoch = m.batches, nil, 0, true, 0
	if err := d.s.Delete(m.tp); err != nil {
		d.t.Fatal(err)
	}
	d.acks() // of the others
	d.create(m)
	m.before = nil
}

// acks notes what may have been acknowledged.
func (d *durables) acks() {
	for _, m := range d.logs {
		if l, ok := d.s.Log(m.tp); ok && !m.gone {
			m.acked = max(m.acked, l.Durable())
			if m.acked > m.end() {
				d.t.Fatalf("%v: durable up to %d, it ends at %d", m.tp, m.acked, m.end())
			}
		}
	}
}

func (d *durables) step() {
	m := d.logs[d.rng.IntN(len(d.logs))]
	var err error
	p := d.rng.IntN(100)
	d.trace = append(d.trace, fmt.Sprintf("%d:%v(%d)", p, m.tp, m.end()))
	switch {
	case p < 55:
		d.append(m)
	case p < 75:
		d.s.commit()
	case p < 78:
		err = d.log(m).Flush()
	case p < 81:
		d.s.flushPending()
	case p < 84:
		err = d.s.Checkpoint(nil)
	case p < 87:
		d.s.dirs[0].journal.Reclaim()
	case p < 90:
		d.truncate(m)
	case p < 92:
		d.deleteAndCreate(m)
	case p < 95:
		cfg := d.cfg
		m.fsync = !m.fsync
		cfg.Fsync = m.fsync
		err = d.log(m).Reconfigure(cfg)
	case p < 96:
		d.log(m).Secure()
	case p < 98:
		d.s.removeDue(true)
	default:
		if err = d.s.Close(); err == nil {
			d.noJournal()
			d.open()
			d.checkAll("reopened", d.s, d.copies(), true)
		}
	}
	if err != nil {
		d.t.Fatal(err)
	}
	d.acks()
}

func (d *durables) copies() (out []durableLog) {
	for _, m := range d.logs {
		out = append(out, *m)
	}
	return out
}

// noJournal checks that an orderly end leaves none.
func (d *durables) noJournal() {
	if _, err := d.mem.Stat("/data/" + journalDir); err == nil {
		d.t.Fatalf("there is a journal after an orderly end\n%v", d.mem)
	}
}

// checkAll compares a store's logs with what they should be; exact where nothing was lost.
func (d *durables) checkAll(what string, s *Store, logs []durableLog, exact bool) {
	t := d.t
	t.Helper()
	for i := range logs {
		m := &logs[i]
		l, ok := s.Log(m.tp)
		if !ok {
			if err := s.Failed(m.tp); err != nil || m.acked > 0 && !m.gone {
				t.Fatalf("%s: %v is gone with %d acknowledged: %v", what, m.tp, m.acked, err)
			}
			continue
		}
		got := d.contents(what, l)
		switch {
		case isPrefix(got, m.batches), m.before != nil && isPrefix(got, m.before):
		default:
			t.Fatalf("%s: %v holds %v, which is no beginning of %v nor of %v", what, m.tp, ends(got), ends(m.batches),
				ends(m.before))
		}
		if b := l.Bounds(); b.End < m.acked || exact && b.End != m.end() || l.Durable() > b.End {
			t.Fatalf("%s: %v ends at %d, durable %d; %d was acknowledged, %d appended", what, m.tp, b.End, l.Durable(), m.acked,
				m.end())
		}
		checkIndexes(t, l)
	}
}

func (d *durables) contents(what string, l *Log) (got []batch.Batch) {
	b := l.Bounds()
	for at := b.Start; at < b.End; {
		s, err := l.Read(at, b.End, 1, true)
		if err != nil {
			d.t.Fatalf("%s: read at %d of %+v: %v", what, at, b, err)
		}
		raw, err := s.Bytes(nil)
		s.Release()
		if err != nil {
			d.t.Fatal(err)
		}
		got = append(got, raw)
		at = batch.Batch(raw).LastOffset() + 1
	}
	return got
}

func isPrefix(got, of []batch.Batch) bool {
	if len(got) > len(of) {
		return false
	}
	for i := range got {
		if !bytes.Equal(got[i], of[i]) {
			return false
		}
	}
	return true
}

func ends(bs []batch.Batch) string {
	var out []string
	for _, b := range bs {
		out = append(out, fmt.Sprintf("%d-%d/%d:%08x", b.BaseOffset(), b.LastOffset(), b.LeaderEpoch(), b.CRC()))
	}
	return strings.Join(out, " ")
}

// reopen opens a crashed disk, crashes while it is opened, checks it, writes on, and crashes again.
func (d *durables) reopen(what string, p durablePoint, depth int) {
	t := d.t
	t.Helper()
	g := &durables{t: t, seed: d.seed + uint64(depth)*1000, rng: d.rng, mem: p.disk, cfg: d.cfg, replayed: d.replayed}
	g.every = 1 + d.rng.IntN(12)
	for i := range p.logs {
		m := p.logs[i]
		g.logs = append(g.logs, &m)
	}
	g.armed = depth > 0
	defer func() {
		if t.Failed() {
			t.Logf("%s: crash before %+v\n%v", what, p.op, p.disk)
		}
	}()
	g.open()
	*d.replayed += g.s.replayedBatches.Load()
	g.checkAll(what, g.s, p.logs, false)
	if depth == 0 {
		return
	}
	during := g.points
	g.points = nil
	for _, m := range g.logs { // go on from what survived
		l, ok := g.s.Log(m.tp)
		if !ok {
			m.before, m.batches, m.acked, m.gone, m.epoch = nil, nil, 0, true, 0
			g.create(m)
			continue
		}
		m.batches, m.before, m.gone = g.contents(what, l), nil, false
		m.acked = l.Durable()
		m.epoch = max(l.Epochs().Latest(), 0)
		cfg := g.cfg
		if err := l.Reconfigure(cfg); err != nil {
			t.Fatal(err)
		}
	}
	for range 12 {
		g.step()
	}
	g.armed = false
	for i, q := range during {
		g.reopen(fmt.Sprintf("%s, crash %d while opened", what, i), q, depth-1)
	}
	for i, q := range g.points {
		if i%3 == 0 {
			g.reopen(fmt.Sprintf("%s, crash %d after", what, i), q, depth-1)
		}
	}
}

// TestI31_WhatWasAcknowledgedSurvivesAnyCrash runs random histories of logs with moldau.durability=fsync and opens the
// disks that crashes on the way would have left.
func TestI31_WhatWasAcknowledgedSurvivesAnyCrash(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 15
	}
	points, replayed := 0, uint64(0)
	for seed := range uint64(seeds) {
		ok := t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			d := newDurables(t, seed)
			d.armed = true
			for range 30 + d.rng.IntN(80) {
				d.step()
			}
			d.armed = false
			points += len(d.points)
			defer func() { replayed += *d.replayed }()
			for i, p := range d.points {
				d.reopen(fmt.Sprintf("crash %d after %v", i, d.trace[:p.step]), p, min(1, i%4))
			}
		})
		if !ok {
			return
		}
	}
	t.Logf("%d crashed disks, %d batches replayed", points, replayed)
	if replayed < 100 {
		t.Errorf("only %d batches were taken from a journal: the test does not reach", replayed)
	}
}
