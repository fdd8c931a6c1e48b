package replica_test

import (
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"time"

	"moldau.io/moldau/internal/sim"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/epoch"
	"moldau.io/moldau/storage/producers"
)

// simBatch names one batch: two batches with the same name are the same bytes.
type simBatch struct {
	base, last protocol.Offset
	epoch      protocol.Epoch
	crc        uint32
}

func (b simBatch) String() string {
	return fmt.Sprintf("%d-%d@%d:%08x", b.base, b.last, b.epoch, b.crc)
}

func nameOf(b batch.Batch) simBatch {
	return simBatch{base: b.BaseOffset(), last: b.LastOffset(), epoch: b.LeaderEpoch(), crc: b.CRC()}
}

// simLog is a replica's log: the store's, or a model of it that is much faster.
type simLog interface {
	start() protocol.Offset
	end() protocol.Offset
	durable() protocol.Offset // what counts: everything, where nothing is synced before it is answered
	hw() protocol.Offset
	setHW(protocol.Offset)
	epochs() epoch.History
	assign(protocol.Epoch) error
	append(now time.Time, e protocol.Epoch, b batch.Batch) (last protocol.Offset, duplicate bool, err error)
	mirror(now time.Time, raw []byte) error
	read(from, limit protocol.Offset, most int) ([]byte, error) // whole batches
	truncate(protocol.Offset) error
	truncateFully(protocol.Offset) error
	advance(protocol.Offset) error
	sync() error
	batches(from protocol.Offset) []simBatch // those that hold from or lie behind it
}

// simDisk is what a machine has of its logs. It outlives the process.
type simDisk interface {
	open() error
	log(tp protocol.TopicPartition, id protocol.TopicID) (simLog, error)
	remove(tp protocol.TopicPartition) error
	checkpoint() error
	close() error // in order: everything is synced
	kill()
	powerCut(keep int)
}

// modelDisk is logs in memory.
type modelDisk struct {
	rng   *rand.Rand
	fsync bool
	logs  map[protocol.TopicPartition]*modelLog
	order []protocol.TopicPartition
}

func newModelDisk(rng *rand.Rand, fsync bool) *modelDisk {
	return &modelDisk{rng: rng, fsync: fsync, logs: map[protocol.TopicPartition]*modelLog{}}
}

func (d *modelDisk) open() error { return nil }

func (d *modelDisk) log(tp protocol.TopicPartition, id protocol.TopicID) (simLog, error) {
	l := d.logs[tp]
	if l != nil && l.id == id {
		return l, nil
	}
	if l == nil {
		d.order = append(d.order, tp)
	}
	l = &modelLog{id: id, fsync: d.fsync, state: producers.New()}
	d.logs[tp] = l
	return l, nil
}

func (d *modelDisk) remove(tp protocol.TopicPartition) error {
	delete(d.logs, tp)
	for i, o := range d.order {
		if o == tp {
			d.order = append(d.order[:i:i], d.order[i+1:]...)
			break
		}
	}
	return nil
}

func (d *modelDisk) checkpoint() error {
	for _, tp := range d.order {
		l := d.logs[tp]
		l.kept.hw, l.kept.start = l.high, l.from
	}
	return nil
}

func (d *modelDisk) close() error {
	for _, tp := range d.order {
		_ = d.logs[tp].sync()
	}
	return d.checkpoint()
}

func (d *modelDisk) kill() {
	for _, tp := range d.order {
		l := d.logs[tp]
		l.high = min(l.kept.hw, l.to)
		l.from = max(l.kept.start, l.first)
		l.high = max(l.high, l.from)
		l.findEpochs()
		l.rebuild()
	}
}

// findEpochs has the epochs begin where the log does again, which a crash may have taken back to an earlier start.
func (l *modelLog) findEpochs() {
	old := l.history
	l.history = epoch.History{}
	for _, b := range l.all[l.index(l.from):] {
		l.history, _ = l.history.Assign(b.LeaderEpoch(), max(b.BaseOffset(), l.from))
	}
	l.history, _ = l.history.Assign(old.Latest(), l.to)
}

// powerCut keeps, of what was not synced, a beginning. Everything is kept with a chance of keep in a hundred.
func (d *modelDisk) powerCut(keep int) {
	for _, tp := range d.order {
		l := d.logs[tp]
		if d.rng.IntN(100) >= keep {
			n := len(l.all)
			for n > 0 && l.all[n-1].BaseOffset() >= l.synced && d.rng.IntN(4) > 0 {
				n--
			}
			if n < len(l.all) {
				l.to = l.all[n].BaseOffset()
				l.all = l.all[:n:n]
				l.history, _ = l.history.TruncateEnd(l.to)
			}
		}
		l.synced = min(l.synced, l.to)
	}
	d.kill()
}

// modelLog is one log. Batches are never changed.
type modelLog struct {
	id      protocol.TopicID
	fsync   bool
	all     []batch.Batch
	first   protocol.Offset // of the first batch that may be there
	from    protocol.Offset
	to      protocol.Offset
	high    protocol.Offset
	synced  protocol.Offset
	history epoch.History
	state   *producers.State
	kept    struct{ hw, start protocol.Offset } // as on disk
}

func (l *modelLog) start() protocol.Offset { return l.from }
func (l *modelLog) end() protocol.Offset   { return l.to }
func (l *modelLog) hw() protocol.Offset    { return l.high }
func (l *modelLog) setHW(o protocol.Offset) {
	l.high = o
}
func (l *modelLog) epochs() epoch.History { return l.history }

func (l *modelLog) durable() protocol.Offset {
	if l.fsync {
		return l.synced
	}
	return l.to
}

func (l *modelLog) assign(e protocol.Epoch) error {
	l.history, _ = l.history.Assign(e, l.to)
	return nil
}

func (l *modelLog) append(now time.Time, e protocol.Epoch, b batch.Batch) (protocol.Offset, bool, error) {
	v, err := l.state.Check(b, nil)
	if err != nil {
		return 0, false, err
	}
	if v.Duplicate {
		return v.Last, true, nil
	}
	b.Stamp(l.to, e)
	l.put(now, b)
	return b.LastOffset(), false, nil
}

func (l *modelLog) put(now time.Time, b batch.Batch) {
	l.all = append(l.all, b)
	l.history, _ = l.history.Assign(b.LeaderEpoch(), b.BaseOffset())
	l.state.Apply(b, now)
	l.to = b.LastOffset() + 1
}

func (l *modelLog) mirror(now time.Time, raw []byte) error {
	for len(raw) > 0 {
		b, rest, err := batch.Next(raw)
		if err != nil {
			return err
		}
		switch {
		case len(l.all) == 0 && l.to == l.from && b.BaseOffset() < l.to && b.LastOffset() >= l.to:
			l.first = b.BaseOffset()
		case b.BaseOffset() < l.to || b.LeaderEpoch() < l.history.Latest():
			return fmt.Errorf("batch %v does not follow on %d, epoch %d", nameOf(b), l.to, l.history.Latest())
		}
		l.put(now, b)
		raw = rest
	}
	return nil
}

func (l *modelLog) read(from, limit protocol.Offset, most int) ([]byte, error) {
	var raw []byte
	for i := l.index(from); i < len(l.all); i++ {
		b := l.all[i]
		if b.LastOffset() >= limit || len(raw) > 0 && len(raw)+len(b) > most {
			break
		}
		raw = append(raw, b...)
	}
	return raw, nil
}

// index is the first batch that holds o or lies behind it.
func (l *modelLog) index(o protocol.Offset) int {
	lo, hi := 0, len(l.all)
	for lo < hi {
		if mid := (lo + hi) / 2; l.all[mid].LastOffset() < o {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

func (l *modelLog) truncate(to protocol.Offset) error {
	if to < l.from {
		return l.truncateFully(to)
	}
	if n := l.index(to); n < len(l.all) {
		l.to = l.all[n].BaseOffset()
		l.all = l.all[:n:n]
	}
	l.synced, l.high = min(l.synced, l.to), min(l.high, l.to)
	l.kept.hw = min(l.kept.hw, l.to)
	l.history, _ = l.history.TruncateEnd(l.to)
	l.rebuild()
	return nil
}

func (l *modelLog) truncateFully(to protocol.Offset) error {
	*l = modelLog{id: l.id, fsync: l.fsync, first: to, from: to, to: to, high: to, synced: to, state: producers.New()}
	l.state.SetEnd(to)
	l.kept.hw, l.kept.start = to, to
	return nil
}

func (l *modelLog) advance(to protocol.Offset) error {
	if to > l.from {
		l.from = to
		l.history, _ = l.history.TruncateStart(to)
	}
	return nil
}

func (l *modelLog) sync() error { l.synced = l.to; return nil }

func (l *modelLog) rebuild() {
	l.state = producers.New()
	for _, b := range l.all {
		l.state.Apply(b, time.Time{})
	}
}

func (l *modelLog) batches(from protocol.Offset) []simBatch {
	var out []simBatch
	for _, b := range l.all[l.index(from):] {
		out = append(out, nameOf(b))
	}
	return out
}

// realDisk is a store on a disk in memory.
type realDisk struct {
	s     *sim.Sim
	disk  *sim.Disk
	fsync bool
	store *storage.Store
	ids   int
}

func newRealDisk(s *sim.Sim, name string, fsync bool) *realDisk {
	return &realDisk{s: s, disk: sim.NewDisk(s, name), fsync: fsync}
}

func (d *realDisk) config(string) storage.Config {
	cfg := storage.DefaultConfig()
	cfg.Fsync, cfg.SegmentBytes, cfg.IndexInterval = d.fsync, 3000, 300
	return cfg
}

func (d *realDisk) open() (err error) {
	d.store, err = storage.OpenStore(d.disk.FS(), []string{"/data"}, storage.Options{
		ClusterID: "MkU3OEVBNTcwNTJENDM2Qg", Config: d.config, RecoveryThreads: 1, CloseThreads: 1, Idle: true,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)), Now: d.s.Now,
		NewID:   func() string { d.ids++; return fmt.Sprintf("%022d", d.ids) },
		Journal: storage.JournalOptions{FileBytes: 64 << 10, DirectBytes: 4096, Files: 3},
	})
	return err
}

func (d *realDisk) log(tp protocol.TopicPartition, id protocol.TopicID) (simLog, error) {
	l, ok := d.store.Log(tp)
	if ok && l.TopicID() != id {
		if err := d.store.Delete(tp); err != nil {
			return nil, err
		}
		ok = false
	}
	if !ok {
		if err := d.store.Failed(tp); err != nil {
			return nil, err
		}
		var err error
		if l, err = d.store.Create(tp, id, d.config("")); err != nil {
			return nil, err
		}
	}
	return &realLog{l}, nil
}

func (d *realDisk) remove(tp protocol.TopicPartition) error { return d.store.Delete(tp) }
func (d *realDisk) checkpoint() error                       { return d.store.Checkpoint(nil) }
func (d *realDisk) close() error                            { return d.store.Close() }
func (d *realDisk) kill()                                   { d.disk.Kill() }
func (d *realDisk) powerCut(keep int)                       { d.disk.PowerCut(keep) }

type realLog struct{ *storage.Log }

func (l *realLog) start() protocol.Offset  { return l.Bounds().Start }
func (l *realLog) end() protocol.Offset    { return l.Bounds().End }
func (l *realLog) hw() protocol.Offset     { return l.HighWatermark() }
func (l *realLog) setHW(o protocol.Offset) { l.SetHighWatermark(o) }
func (l *realLog) epochs() epoch.History   { return l.Epochs() }

func (l *realLog) durable() protocol.Offset {
	if l.AcksDurable() {
		return min(l.Durable(), l.end())
	}
	return l.end()
}

func (l *realLog) assign(e protocol.Epoch) error { return l.AssignEpoch(e) }

func (l *realLog) append(now time.Time, e protocol.Epoch, b batch.Batch) (protocol.Offset, bool, error) {
	a, err := l.Submit(now, e, b)
	return a.Last, a.Duplicate, err
}

func (l *realLog) mirror(now time.Time, raw []byte) error {
	_, err := l.Mirror(now, raw)
	return err
}

func (l *realLog) read(from, limit protocol.Offset, most int) ([]byte, error) {
	s, err := l.Read(from, limit, most, true)
	if err != nil {
		return nil, err
	}
	defer s.Release()
	raw, err := s.Bytes(nil)
	if err != nil {
		return nil, err
	}
	whole := raw
	for {
		_, rest, err := batch.Next(raw)
		if err != nil {
			return whole[:len(whole)-len(raw)], nil
		}
		raw = rest
	}
}

func (l *realLog) truncate(o protocol.Offset) error      { return l.Truncate(o) }
func (l *realLog) truncateFully(o protocol.Offset) error { return l.TruncateFully(o) }
func (l *realLog) advance(o protocol.Offset) error       { return l.Advance(o) }

func (l *realLog) sync() error {
	if l.AcksDurable() {
		return l.Await(l.end())
	}
	return l.Flush()
}

func (l *realLog) batches(from protocol.Offset) []simBatch {
	var out []simBatch
	for at := max(from, l.start()); at < l.end(); {
		raw, err := l.read(at, l.end(), 1<<20)
		if err != nil || len(raw) == 0 {
			return append(out, simBatch{base: at, last: -1}) // not what any other log has
		}
		for len(raw) > 0 {
			b, rest, _ := batch.Next(raw)
			out = append(out, nameOf(b))
			at, raw = b.LastOffset()+1, rest
		}
	}
	return out
}
