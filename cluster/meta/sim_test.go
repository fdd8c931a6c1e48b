package meta

import (
	"bytes"
	"flag"
	"fmt"
	"reflect"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

var (
	simSeed  = flag.Uint64("sim.seed", 0, "run this seed only")
	simCount = flag.Uint64("sim.count", 300, "seeds to run")
)

func simulate(seed uint64, fault simFault) (w *simWorld) {
	w = &simWorld{}
	defer func() {
		if x := recover(); x != nil {
			w.err = fmt.Errorf("panic: %v\n%s", x, debug.Stack())
		}
	}()
	w = newSimWorld(seed, fault)
	if *simSeed != 0 {
		w.told = func(format string, a ...any) { fmt.Printf(format+"\n", a...) }
	}
	for range w.opt.steps {
		if w.err != nil {
			return w
		}
		w.step()
	}
	w.heal()
	w.replay()
	return w
}

func (w *simWorld) step() {
	p := w.procs[w.random.IntN(len(w.procs))]
	switch n := w.random.IntN(100); {
	case n < 50:
		if p.up {
			w.lead(p)
		}
	case n < 56 && len(w.late) > 0:
		w.mark("an in-sync set is asked for twice")
		i := w.random.IntN(len(w.late))
		ask := w.late[i]
		w.late = slices.Delete(w.late, i, i+1)
		ask()
	case n < 60:
		w.see(p)
	case n < 70:
		w.commit(1 + w.random.IntN(3))
	case n < 78:
		w.live(p)
	case n < 83:
		w.now = w.now.Add(time.Duration(w.random.IntN(int(leaseDefault / 2))))
		w.append(w.c.Tick(w.now), nil)
	case n < 87:
		if p.up && w.random.IntN(2) == 0 {
			w.crash(p, w.random.IntN(3) == 0)
		} else if !p.up {
			w.start(p)
		}
	case n < 90:
		if !p.up && w.committed.Broker(p.id) != nil {
			w.do(BrokerGone{ID: p.id, Epoch: w.committed.Broker(p.id).Epoch}, nil)
		}
	case n < 91:
		w.mark("the controller moves")
		w.control()
	case n < 92:
		if b := w.committed.Broker(p.id); !p.up && len(w.committed.Brokers()) > 2 && b != nil && b.Fenced {
			w.mark("a broker is forgotten")
			w.do(UnregisterBroker{ID: p.id}, nil)
		}
	default:
		w.administer()
	}
}

// live has a broker do what it does as a process.
func (w *simWorld) live(p *simProc) {
	switch {
	case p.up && p.epoch < 0 && !p.asked:
		w.register(p)
	case p.up && p.epoch >= 0:
		w.heartbeat(p, w.random.IntN(12) == 0)
	}
}

func (w *simWorld) administer() {
	_, t, _ := w.anyPlace(w.committed)
	switch n := w.random.IntN(14); {
	case n >= 10 && t != nil:
		w.rearrange(t)
	case t == nil || n < 3 && len(w.committed.Topics()) < 4:
		w.names++
		nt := NewTopic{Name: fmt.Sprint("t", w.names), Partitions: int32(1 + w.random.IntN(3)), ReplicationFactor: int16(1 + w.random.IntN(3))}
		if w.random.IntN(2) == 0 {
			nt.Configs = []ConfigPair{{minISRKey, ptr("2")}}
		}
		w.do(CreateTopics{Topics: []NewTopic{nt}}, nil)
	case n < 4:
		w.do(DeleteTopics{Topics: []TopicRef{{Name: t.Name}}}, nil)
	case n < 5:
		w.do(CreatePartitions{Topics: []MorePartitions{{Name: t.Name, Count: int32(len(t.Partitions)) + 1}}}, nil)
	case n < 8:
		v := fmt.Sprint(1 + w.random.IntN(3))
		w.alterTopic(t, minISRKey, v)
	default:
		w.alterTopic(t, "unclean.leader.election.enable", []string{"true", "false", "false"}[w.random.IntN(3)])
	}
}

// rearrange moves partitions and leaderships about.
func (w *simWorld) rearrange(t *Topic) {
	tp := protocol.TopicPartition{Topic: t.Name, Partition: int32(w.random.IntN(len(t.Partitions)))}
	switch w.random.IntN(5) {
	case 0:
		id := w.procs[w.random.IntN(len(w.procs))].id
		w.do(DrainBroker{ID: id, Drain: w.random.IntN(3) == 0}, nil)
	case 1:
		unclean := w.random.IntN(8) == 0
		if unclean {
			w.forced[tp] = true
		}
		w.do(ElectLeaders{Partitions: []protocol.TopicPartition{tp}, Unclean: unclean}, nil)
	case 2:
		w.now = w.now.Add(time.Duration(w.random.IntN(400)) * time.Second / 40)
		w.do(AlterConfigs{Resources: []AlterResource{{Resource: Resource{Type: config.BrokerResource}, Ops: []ConfigOp{{
			Key: autoHeal, Value: ptr([]string{"3s", "10s", "0"}[w.random.IntN(3)]),
		}}}}}, nil)
	default:
		var target []protocol.BrokerID
		for _, i := range w.random.Perm(len(w.procs))[:w.random.IntN(min(4, len(w.procs)+1))] {
			target = append(target, w.procs[i].id)
		}
		w.do(AlterReassignments{Partitions: []Reassignment{{Partition: tp, Replicas: target}}}, nil) // nobody: cancels
	}
}

func (w *simWorld) alterTopic(t *Topic, key, value string) {
	w.do(AlterConfigs{Resources: []AlterResource{{Resource: topicResource(t.Name), Ops: []ConfigOp{{Key: key, Value: &value}}}}}, nil)
}

// changed judges what has been committed.
func (w *simWorld) changed(before, now *Image) {
	for _, b := range now.Brokers() {
		if old := before.Broker(b.ID); old == nil || old.Epoch != b.Epoch {
			if b.Epoch <= w.epoch[b.ID] {
				w.fail("I-42: broker %d is registered under epoch %d after %d", b.ID, b.Epoch, w.epoch[b.ID])
			}
			w.epoch[b.ID] = b.Epoch
		}
	}
	d := now.Since(before)
	for _, t := range d.Removed {
		for i := range t.Partitions {
			delete(w.parts, simPlace{t.ID, int32(i)})
		}
	}
	for _, t := range d.Topics {
		for i := range t.Partitions {
			at := simPlace{t.ID, int32(i)}
			if w.parts[at] == nil {
				w.parts[at] = &simPart{logs: map[protocol.BrokerID][]int32{}, leaders: map[protocol.Epoch]protocol.BrokerID{}}
			}
			old, _ := before.TopicByID(t.ID).Partition(int32(i))
			w.elected(at, t, &old, &t.Partitions[i], now)
		}
	}
	w.sound(now)
	for _, t := range now.Topics() {
		for i := range t.Partitions {
			w.complete(simPlace{t.ID, int32(i)}, &t.Partitions[i])
		}
	}
}

// elected judges a change to one partition.
func (w *simWorld) elected(at simPlace, t *Topic, old, p *Partition, im *Image) {
	part := w.parts[at]
	if led, ok := part.leaders[p.LeaderEpoch]; ok && led != p.Leader {
		w.fail("I-18: %s: %d and %d lead in epoch %d", t.Name, led, p.Leader, p.LeaderEpoch)
	}
	part.leaders[p.LeaderEpoch] = p.Leader
	if len(old.Adding)+len(old.Removing) > 0 && !moving(p) && old.Replicas != nil {
		w.mark("a reassignment ends")
	}
	if p.Epoch == old.Epoch || old.Replicas == nil || p.Leader == -1 || p.LeaderEpoch == old.LeaderEpoch {
		return
	}
	switch {
	case slices.Contains(old.ISR, p.Leader):
		w.mark("a leader comes from the ISR")
	case slices.Contains(old.ELR, p.Leader):
		w.mark("a leader comes from the ELR")
	case !p.Recovering:
		w.mark("a leader comes into the ISR and leads") // its leader before it has vouched for it
	default:
		allowed := w.forced[protocol.TopicPartition{Topic: t.Name, Partition: at.partition}] || im.Configs(2, t.Name)["unclean.leader.election.enable"] == "true" ||
			w.opt.elr && len(old.ISR)+len(old.ELR) <= 1 && slices.Equal(old.LastKnownELR, ids{p.Leader}) // that one has just lost it
		if !allowed || !p.Recovering || len(p.ISR) != 1 {
			w.fail("%s: %s was elected uncleanly after %s", t.Name, show(*p), show(*old))
		}
		w.mark("a leader is elected uncleanly")
		log := part.logs[p.Leader]
		n := 0
		for n < len(log) && n < len(part.committed) && log[n] == part.committed[n] {
			n++
		}
		part.committed, part.since = part.committed[:n], p.LeaderEpoch
	}
}

// sound judges what must hold of every image.
func (w *simWorld) sound(im *Image) {
	for _, t := range im.Topics() {
		for i := range t.Partitions {
			p := &t.Partitions[i]
			bad := func(what string) { w.fail("%s: %s of %v: %s", t.Name, show(*p), p.Replicas, what) }
			if p.Leader >= 0 && !slices.Contains(p.ISR, p.Leader) {
				bad("the leader is not in sync")
			}
			able := p.ISR
			if len(able) == 0 {
				able = p.ELR
			}
			for _, id := range able {
				if p.Leader == -1 && im.active(id) {
					bad(fmt.Sprint("nobody leads, and broker ", id, " could"))
				}
			}
			if b := im.Broker(p.Leader); p.Leader >= 0 && (b == nil || b.Fenced) {
				bad("I-43: the leader is fenced")
			}
			for _, id := range p.ISR {
				if b := im.Broker(id); (b == nil || b.Fenced) && (w.opt.elr || p.Leader >= 0) {
					bad(fmt.Sprint("I-43: in sync is ", id, ", which is fenced"))
				}
			}
			if len(p.ELR) > 0 && len(p.ISR) >= im.minISR(t.Name, len(p.Replicas)) {
				bad("records can be committed, and somebody is only eligible")
			}
		}
	}
}

// complete judges whether those that may lead have what is committed (I-11, I-12, I-24).
func (w *simWorld) complete(at simPlace, p *Partition) {
	part := w.parts[at]
	for _, id := range append(slices.Clone(p.ISR), p.ELR...) {
		log, proc := part.logs[id], w.procs[id-1]
		if proc.lost {
			continue // the controller has not heard of it yet
		}
		if len(log) < len(part.committed) || !slices.Equal(log[:len(part.committed)], part.committed) {
			w.fail("I-12: broker %d may lead, has %v, and committed are %v: %s", id, log, part.committed, show(*p))
		}
	}
}

// heal brings everybody back, and all must be whole again.
func (w *simWorld) heal() {
	for range 12 {
		for _, p := range w.procs {
			if !p.up {
				w.start(p)
			}
			w.commit(len(w.pending))
			w.see(p)
			p.offered = map[simPlace]simOffer{}
			if p.epoch < 0 && !p.asked {
				w.register(p)
			} else if p.epoch >= 0 {
				w.heartbeat(p, false)
			}
			w.commit(len(w.pending))
			if p.up && p.epoch < 0 {
				w.now = w.now.Add(leaseDefault / 3)
			}
		}
		w.append(w.c.Tick(w.now), nil)
		for range 60 * len(w.procs) {
			p := w.procs[w.random.IntN(len(w.procs))]
			if p.up {
				w.lead(p)
				w.commit(len(w.pending))
				w.see(p)
			}
		}
	}
	whole := 0
	for _, t := range w.committed.Topics() {
		for _, p := range t.Partitions {
			if slices.ContainsFunc(p.Replicas, func(id protocol.BrokerID) bool { return w.committed.Broker(id).Fenced }) {
				continue
			}
			if p.Leader == -1 {
				// Nobody has everything, and nobody may lead who has not.
				if len(p.ISR)+len(p.ELR) > 0 {
					w.fail("%s is not led after all came back: %s", t.Name, show(p))
				}
				continue
			}
			whole++
		}
	}
	if whole > 0 {
		w.mark("all is led in the end")
	}
}

// replay applies the log anew: from its bytes, and from a snapshot.
func (w *simWorld) replay() {
	im := Empty()
	for i, b := range w.log {
		recs, err := DecodeRecords(b)
		if err == nil {
			im, err = im.With(int64(i+1), recs...)
		}
		if err != nil {
			w.fail("replay of entry %d: %v", i+1, err)
			return
		}
	}
	snapshot := AppendRecords(nil, im.Records())
	recs, err := DecodeRecords(snapshot)
	if err != nil {
		w.fail("the snapshot: %v", err)
		return
	}
	fresh, err := Empty().With(im.Offset(), recs...)
	switch {
	case err != nil:
		w.fail("the snapshot: %v", err)
	case !reflect.DeepEqual(im.Records(), w.committed.Records()), !bytes.Equal(AppendRecords(nil, fresh.Records()), snapshot):
		w.fail("I-40, I-41: the log gives another image than it gave")
	}
}

// simMarks is what must have happened in some run, or the simulation has become a walk in the park.
var simMarks = []string{
	"a crash takes records", "a leader comes from the ISR", "a leader comes from the ELR", "a leader is elected uncleanly",
	"records are committed", "the controller moves", "a broker is forgotten", "a broker stops in order",
	"a registration is refused", "an in-sync set is asked for twice", "all is led in the end",
	"an in-sync set is refused: INELIGIBLE_REPLICA", "an in-sync set is refused: FENCED_LEADER_EPOCH",
	"an in-sync set is refused: INVALID_UPDATE_VERSION", "a reassignment ends",
}

func TestSimulation(t *testing.T) {
	if *simSeed != 0 {
		if w := simulate(*simSeed, simFault{}); w.err != nil {
			t.Fatal(w.err)
		}
		return
	}
	seeds := *simCount
	if testing.Short() {
		seeds = 60
	}
	var next atomic.Uint64
	var mu sync.Mutex
	marks := map[string]int{}
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed := next.Add(1); seed <= seeds && !t.Failed(); seed = next.Add(1) {
				w := simulate(seed, simFault{})
				if w.err != nil {
					t.Errorf("seed %d (replay with -sim.seed=%d): %v", seed, seed, w.err)
				}
				mu.Lock()
				for name, n := range w.marks {
					marks[name] += n
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	for _, name := range simMarks {
		if marks[name] == 0 && seeds >= 300 && !t.Failed() {
			t.Errorf("no seed reached: %s", name)
		}
		t.Logf("%8d times: %s", marks[name], name)
	}
}

func TestI41_OneSeedIsOneRun(t *testing.T) {
	for seed := uint64(1); seed < 9; seed++ {
		a, b := simulate(seed, simFault{}), simulate(seed, simFault{})
		if len(a.log) < 20 || !slices.EqualFunc(a.log, b.log, bytes.Equal) {
			t.Errorf("seed %d: %d entries and then %d, or others", seed, len(a.log), len(b.log))
		}
	}
}
