package storage

import (
	"bytes"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/journal"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/storagetest"
)

// simStep is one kind of thing that happens. Those with of happen to a partition that exists.
type simStep struct {
	name   string
	weight int
	of     func(w *world, p *part)
	all    func(w *world)
}

const appendWeight = 60

func simSteps() []simStep {
	return []simStep{
		{name: "append", weight: appendWeight, of: (*world).append},
		{name: "repeat", weight: 3, of: (*world).repeat},
		{name: "flush", weight: 5, of: func(w *world, p *part) { w.must(p.l.Flush()) }},
		{name: "flush pending", weight: 6, all: func(w *world) { w.s.flushPending() }},
		{name: "flush by time", weight: 2, all: func(w *world) { w.s.flushByTime(w.now) }},
		{name: "checkpoint", weight: 5, all: (*world).checkpoint},
		{name: "advance", weight: 4, of: (*world).advance},
		{name: "remove due", weight: 4, all: func(w *world) { w.s.removeDue(w.rng.IntN(2) == 0) }},
		{name: "restart", weight: 3, all: (*world).restart},
		{name: "delete", weight: 2, of: (*world).delete},
		{name: "reconfigure", weight: 2, of: (*world).reconfigure},
		{name: "new leader", weight: 4, of: (*world).newLeader},
		{name: "time", weight: 8, all: (*world).timePasses},
		{name: "forget producers", weight: 2, of: (*world).expire},
		{name: "commit", weight: 5, all: func(w *world) { w.journals((*journal.Journal).Commit) }},
		{name: "reclaim", weight: 2, all: func(w *world) { w.journals((*journal.Journal).Reclaim) }},
		{name: "tell", weight: 1, all: func(w *world) { w.s.tellAll() }},
		{name: "retention", weight: 4, all: (*world).retention},
		{name: "truncate", weight: 2, of: (*world).truncate},
		{name: "truncate fully", weight: 1, of: (*world).truncateFully},
		{name: "clean", weight: 6, all: (*world).clean},
		{name: "ask for a move", weight: 2, of: (*world).askForMove},
		{name: "move", weight: 3, all: (*world).move},
		{name: "high watermark", weight: 10, of: (*world).highWatermark},
	}
}

// step does one thing at random.
func (w *world) step() {
	total := 0
	for _, n := range w.habit.weights {
		total += n
	}
	at, i := w.rng.IntN(total), 0
	for at >= w.habit.weights[i] {
		at -= w.habit.weights[i]
		i++
	}
	w.sim.trace(w.depth, w.kinds[i].name, "", 0)
	if w.kinds[i].all != nil {
		w.sim.note(w.depth, "%s", w.kinds[i].name)
		w.kinds[i].all(w)
		return
	}
	p := w.parts[w.rng.IntN(len(w.parts))]
	if p.l == nil {
		w.create(p, protocol.TopicID{byte(2 + w.depth), byte(w.rng.IntN(256)), byte(w.rng.IntN(256))})
		return
	}
	w.sim.note(w.depth, "%s %v %+v, model %d..%d durable %d", w.kinds[i].name, p.tp, p.l.Bounds(), p.m.Start, p.m.End,
		p.m.Durable)
	w.kinds[i].of(w, p)
	if p.l != nil {
		p.m.Durable = max(p.m.Durable, p.l.Durable())
	}
}

func (w *world) create(p *part, id protocol.TopicID) {
	w.sim.note(w.depth, "create %v %v", p.tp, id)
	p.m, p.maybe, p.wanted, p.tail = storagetest.NewModel(id, 0), true, true, 0
	p.cleaned, p.decided = 0, 0
	l, err := w.s.Create(p.tp, id, p.cfg)
	w.must(err)
	p.l, p.maybe = l, false
	if b := l.Bounds(); b.Start != 0 || b.End != 0 {
		w.fail("a new log of %v has the bounds %+v", p.tp, b)
	}
}

func (w *world) delete(p *part) {
	p.maybe, p.wanted = true, false
	w.must(w.s.Delete(p.tp))
	p.l, p.m, p.maybe = nil, nil, false
}

func (w *world) append(p *part) {
	var bs []batch.Batch
	w.src.Largest, w.src.Keyed = int(p.cfg.SegmentBytes/2), p.cfg.Compacts
	mirrors := w.rng.IntN(3) == 0 // as followers append
	if mirrors && p.tail == 0 && w.rng.IntN(10) == 0 {
		p.m.End += protocol.Offset(1 + w.rng.IntN(20)) // the leader has compacted something away
	}
	from := p.m.End
	if w.rng.IntN(10) == 0 {
		n := 2 + w.rng.IntN(3)
		w.src.Largest /= n
		for range n {
			bs = append(bs, w.src.Plain(p.m, w.now.UnixMilli()))
		}
	} else {
		bs = append(bs, w.src.Next(p.m, w.now.UnixMilli()))
	}
	if p.tail = 0; mirrors {
		w.mirror(p, from, bs)
		return
	}
	for _, b := range bs {
		b.Stamp(0, 0) // as it comes from a client
	}
	appends, waits := p.l.Append, true
	if w.rng.IntN(3) == 0 {
		appends, waits = p.l.Submit, false
	}
	a, err := appends(w.now, p.m.Epoch, bs...)
	if err != nil {
		w.fail("append to %v at %d: %v", p.tp, from, err)
	}
	if a.Base != from || a.Last+1 != p.m.End || a.Duplicate {
		w.fail("append to %v: %+v, want %d..%d", p.tp, a, from, p.m.End)
	}
	p.m.Done = p.m.End
	if waits && (p.cfg.Fsync || p.cfg.FlushMessages == 1) && p.l.Durable() < p.m.End {
		w.fail("appends to %v wait until they are durable, and it is up to %d of %d", p.tp, p.l.Durable(), p.m.End)
	}
	if w.rng.IntN(2) == 0 {
		p.l.SetHighWatermark(p.m.End)
	}
}

// mirror appends what a leader has sent: whole batches, and perhaps a part of the next one.
func (w *world) mirror(p *part, from protocol.Offset, bs []batch.Batch) {
	var raw []byte
	for _, b := range bs {
		raw = append(raw, b...)
	}
	raw = append(raw, bs[0][:w.rng.IntN(len(bs[0]))]...)
	a, err := p.l.Mirror(w.now, raw)
	if err != nil || a.Base != from || a.Last+1 != p.m.End {
		w.fail("mirror %v at %d: %+v, %v; want %d..%d", p.tp, from, a, err, from, p.m.End)
	}
	p.m.Done = p.m.End
	if w.rng.IntN(2) == 0 && p.l.AcksDurable() {
		w.must(p.l.Await(a.Last + 1))
		if p.l.Durable() < p.m.End {
			w.fail("%v is durable up to %d of %d", p.tp, p.l.Durable(), p.m.End)
		}
	}
	if w.rng.IntN(2) == 0 {
		p.l.SetHighWatermark(p.m.End)
	}
}

// repeat sends a batch again that the log must know.
func (w *world) repeat(p *part) {
	known, ok := w.src.Known(p.m)
	if !ok || p.cleaned > 0 {
		return
	}
	b := batch.Batch(bytes.Clone(known.Raw))
	b.Stamp(0, 0)
	a, err := p.l.Append(w.now, p.m.Epoch, b)
	if err != nil || !a.Duplicate || a.Base != known.First() || a.Last+1 != known.Next() {
		w.fail("the batch %d..%d of %v was sent again: %+v, %v", known.First(), known.Next()-1, p.tp, a, err)
	}
}

func (w *world) checkpoint() {
	hw := map[protocol.TopicPartition]protocol.Offset{}
	for _, p := range w.parts {
		if p.l != nil {
			hw[p.tp] = p.l.HighWatermark()
		}
	}
	if w.rng.IntN(2) == 0 {
		hw = nil
	}
	w.must(w.s.Checkpoint(hw))
	for _, p := range w.parts {
		if p.l != nil {
			p.m.Kept = p.m.Start
		}
	}
}

func (w *world) advance(p *part) {
	to := w.src.Random(p.m.Start, p.m.End)
	p.m.Start = to
	w.must(p.l.Advance(to))
}

func (w *world) highWatermark(p *part) {
	p.l.SetHighWatermark(w.src.Random(min(p.l.HighWatermark(), p.m.End), p.m.End))
}

// restart stops the broker in order and starts it again.
func (w *world) restart() {
	w.must(w.s.Close())
	for _, p := range w.parts {
		if p.l != nil {
			p.m.Durable, p.m.Kept, p.tail = p.m.End, p.m.Start, 0
		}
	}
	w.open()
	for _, d := range w.s.Dirs() {
		if !d.Clean {
			w.fail("%s was closed in order, and has no mark", d.Path)
		}
	}
	for _, p := range w.parts {
		l, ok := w.s.Log(p.tp)
		if !ok && p.l != nil {
			w.fail("%v is gone after a restart: %v", p.tp, w.s.Failed(p.tp))
		}
		if p.l == nil {
			if ok {
				w.fail("%v was deleted, and is back after a restart", p.tp)
			}
			continue
		}
		p.l = l
		// That producers were forgotten is not kept: the next time, their last use says so again.
		w.adoptProducers(p, []protocol.Offset{p.m.Floor}, []protocol.Offset{p.m.End})
		w.check(p)
	}
}

// retention may only take whole segments from the front, of what is committed.
func (w *world) retention() {
	w.s.retain(w.now)
	for _, p := range w.parts {
		if p.l == nil {
			continue
		}
		b := p.l.Bounds()
		if b.Start < p.m.Start || b.Start > p.m.Start && b.Start > p.l.HighWatermark() {
			w.fail("retention moved the start of %v from %d to %d; the high watermark is %d", p.tp, p.m.Start, b.Start,
				p.l.HighWatermark())
		}
		p.m.Start = b.Start
	}
}

// truncate drops a suffix, as a follower does whose leader went on before it. Nothing of it may ever be back.
func (w *world) truncate(p *part) {
	to := w.src.Random(p.m.Start, p.m.End)
	if w.rng.IntN(2) == 0 {
		to = max(to, p.m.End-protocol.Offset(w.rng.IntN(8)))
	}
	to = max(to, p.cleaned, p.decided) // what is compacted is committed, and nobody cuts that, nor the markers that decided
	end := p.m.EndAt(to)
	if end < p.m.Start {
		w.fully(p, p.m.Start, func() error { return p.l.Truncate(to) })
		return
	}
	p.m.Durable, p.m.Done, p.cut = min(p.m.Durable, end), min(p.m.Done, end), true
	w.must(p.l.Truncate(to))
	p.cut = false
	p.m.Cut(end)
	p.cleaned = min(p.cleaned, end)
	p.m.Epoch++
	p.tail = 0
	p.m.Floors = append(slices.Clip(p.m.Floors), (*p.l.segments.Load())[0].Base())
	missing, ok := w.adoptProducers(p, p.m.Floors, []protocol.Offset{end})
	if !ok || len(missing) > 0 {
		w.fail("%v knows the producers %+v after a truncation to %d, want %+v", p.tp, p.l.Producers(), to,
			w.replayed(p, p.m.Floor, end).Active())
	}
	w.check(p)
}

func (w *world) truncateFully(p *part) {
	start := w.src.Random(0, p.m.End+10)
	w.fully(p, start, func() error { return p.l.TruncateFully(start) })
}

// fully has a log begin anew at start. Until that is done a crash may leave the beginning of what was there.
func (w *world) fully(p *part, start protocol.Offset, do func() error) {
	p.m.Durable, p.m.Done, p.m.Kept, p.anew, p.cut = 0, 0, 0, true, true
	w.must(do())
	p.beginAt(start)
	p.m.Kept = start
	w.check(p)
}

// beginAt forgets everything.
func (p *part) beginAt(start protocol.Offset) {
	m := storagetest.NewModel(p.m.ID, start)
	m.Epoch = p.m.Epoch + 1
	p.m, p.anew, p.cut, p.tail, p.cleaned, p.decided = m, false, false, 0, 0, 0
}

func (w *world) journals(do func(j *journal.Journal)) {
	for _, d := range w.s.dirs {
		do(d.journal)
	}
}

func (w *world) askForMove(p *part) {
	w.must(w.s.Move(p.tp, w.dirs[w.rng.IntN(len(w.dirs))]))
}

func (w *world) move() {
	for _, d := range w.s.dirs {
		w.s.moveQueued(d)
	}
	if moves := w.s.Moves(); len(moves) > 0 {
		w.fail("these moves did not end: %+v", moves)
	}
	for _, p := range w.parts {
		w.check(p)
	}
}

func (w *world) reconfigure(p *part) {
	p.cfg = w.config()
	w.must(p.l.Reconfigure(p.cfg))
}

func (w *world) newLeader(p *part) {
	p.m.Epoch += 1 + protocol.Epoch(w.rng.IntN(2))
	if w.rng.IntN(2) == 0 {
		p.tail = p.m.Epoch
		w.must(p.l.AssignEpoch(p.m.Epoch))
	}
}

func (w *world) timePasses() {
	most := []time.Duration{time.Second, time.Second, time.Minute, 2 * time.Hour}[w.rng.IntN(4)]
	w.now = w.now.Add(time.Duration(w.rng.Int64N(int64(most))))
}

func (w *world) expire(p *part) {
	if w.rng.IntN(4) > 0 {
		return
	}
	w.now = w.now.Add(25 * time.Hour)
	known := p.l.Producers()
	p.l.ExpireProducers(w.now)
	f := storagetest.Forget{At: p.m.End}
	for _, a := range known {
		if !slices.ContainsFunc(p.l.Producers(), func(b producers.Active) bool { return a.ID == b.ID }) {
			f.IDs = append(f.IDs, a.ID)
		}
	}
	p.m.Forgets = append(p.m.Forgets, f)
}
