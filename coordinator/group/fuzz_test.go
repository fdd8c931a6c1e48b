package group

import (
	"math/rand/v2"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
)

// fuzzInput hands out small choices from a row of bytes.
type fuzzInput struct{ b []byte }

func (in *fuzzInput) next() byte {
	if len(in.b) == 0 {
		return 0
	}
	c := in.b[0]
	in.b = in.b[1:]
	return c
}

func (in *fuzzInput) pick(from ...string) string { return from[int(in.next())%len(from)] }

func (in *fuzzInput) instance() *string {
	if s := in.pick("", "", "i1", "i2"); s != "" {
		return &s
	}
	return nil
}

func (in *fuzzInput) protocols() []Protocol {
	var ps []Protocol
	for range in.next() % 4 {
		meta := in.pick("", "\x00\x01\x00\x00\x00\x01\x00\x01t", "?", "+t", "+t", "+t+u", "+t/t:0", "+u+t/t:0;1/u:0")
		ps = append(ps, Protocol{Name: in.pick("x", "x", "y", "z", ""), Metadata: (&bench{}).subscription(meta)})
	}
	return ps
}

// standing is the generation or the epoch that a member is in, if it is one.
func standing(m *Machine, group, id string) (int32, bool) {
	if g := m.groups[group]; g != nil && g.byID[id] != nil {
		return g.generation, true
	}
	if g := m.consumers[group]; g != nil && g.members[id] != nil {
		return g.members[id].cur.Epoch, true
	}
	return 0, false
}

// request makes one of any kind. Member ids are those that the machine gave out, and others.
func (in *fuzzInput) request(ids []string, m *Machine) Request {
	id := ""
	if k := int(in.next()) % (len(ids) + 2); k < len(ids) {
		id = ids[k]
	} else if k == len(ids) {
		id = "unknown"
	}
	if in.next()%16 == 0 {
		id = in.pick("a", "b") // of the consumer protocol
	}
	g := in.pick("g", "g", "k", "k", "h", "")
	generation := int32(int8(in.next()))
	if at, ok := standing(m, g, id); ok && in.next()%4 > 0 { // most members know where they stand
		generation = at
	}
	switch in.next() % 16 {
	case 0, 1, 2:
		return &Join{
			Group: g, Member: id, Instance: in.instance(), Type: in.pick("consumer", "consumer", "connect", ""), Protocols: in.protocols(),
			Session: time.Duration(in.next()) * time.Second, Rebalance: time.Duration(int8(in.next())) * time.Second,
			MemberIDRequired: in.next()%2 == 0, CanSkipAssigning: in.next()%2 == 0,
		}
	case 3, 4:
		s := &Sync{Group: g, Member: id, Instance: in.instance(), Generation: generation}
		for _, m := range ids {
			if in.next()%2 == 0 {
				data := assignmentBytes(in.pick("?", "+t:0", "+t:1;2/u:0", "+none:0"))
				s.Assignments = append(s.Assignments, Assignment{Member: m, Data: data})
			}
		}
		return s
	case 5:
		return &Heartbeat{Group: g, Member: id, Instance: in.instance(), Generation: generation}
	case 6:
		return &Leave{Group: g, Members: []LeavingMember{{Member: id, Instance: in.instance()}, {Member: id}}[in.next()%2:]}
	case 7:
		return &CommitOffsets{
			Group: g, Member: id, Instance: in.instance(), Generation: generation, Retention: time.Duration(int8(in.next())),
			Partitions: []CommitPartition{{Topic: in.pick("t", "u"), Offset: protocol.Offset(int8(in.next()))}},
		}
	case 8:
		return &Delete{Group: g}
	case 9:
		return &DeleteOffsets{Group: g, Partitions: []DeletePartition{{Topic: "t"}}}
	case 10, 11, 12, 13, 14:
		return in.consumerHeartbeat(in.pick("k", "k", g), m)
	}
	return &Describe{Group: g}
}

// consumerHeartbeat is one of a few members, whose epochs are small numbers.
func (in *fuzzInput) consumerHeartbeat(group string, m *Machine) Request {
	r := &ConsumerHeartbeat{
		Group: group, Member: in.pick("a", "b", "c", "d", ""), Epoch: int32(in.next()%12) - 2, Instance: in.instance(),
		Rebalance: time.Duration(int(in.next()%8)-1) * time.Millisecond, ClientID: "c", MemberIDRequired: in.next()%2 == 0,
	}
	if in.next()%2 == 0 {
		r.Topics = [][]string{{}, {"t"}, {"u", "t"}, {"u", "none", "u"}}[in.next()%4]
	}
	if in.next()%4 == 0 {
		pattern := in.pick("", "t|u", ".*", "(", "x")
		r.Regex = &pattern
	}
	if in.next()%4 == 0 {
		name := in.pick("range", "uniform", "odd")
		r.Assignor = &name
	}
	switch in.next() % 3 {
	case 0:
		r.Owned = []TopicPartitions{}
	case 1:
		r.Owned = []TopicPartitions{{ID: protocol.TopicID{0: in.next() % 4}, Partitions: []int32{int32(in.next() % 4), 0}}}
	}
	if g := m.consumers[group]; g != nil && g.members[r.Member] != nil && in.next()%4 > 0 { // a member that knows what it is
		mem := g.members[r.Member]
		r.Epoch, r.Owned = mem.cur.Epoch, nil
		if in.next()%2 == 0 {
			r.Owned = withoutEpochs(mem.cur.Assigned)
		}
		return r
	}
	if r.Epoch > 4 { // most of those that join are to be let in
		r.Epoch, r.Rebalance, r.Owned, r.MemberIDRequired = 0, time.Second, []TopicPartitions{}, true
	}
	return r
}

// FuzzMachine gives a machine any requests in any order, of both protocols in one group too, with time passing, refused
// writes and replays between them. It must not panic, must answer each request once, must keep its invariants, and a replay
// of its log must come to the same.
func FuzzMachine(f *testing.F) {
	f.Add([]byte("\x00\x00\x01\x00\x00\x01\x00\x00\x0a\x0a\x01\x01"))
	f.Add([]byte("join and sync and leave and everything else, in any order and more than once"))
	rng := rand.New(rand.NewPCG(1, 2))
	for range 20 {
		long := make([]byte, 3000)
		for i := range long {
			long[i] = byte(rng.Uint32())
		}
		f.Add(long)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := &fuzzInput{b}
		b0 := newFuzzBench(t)
		for len(in.b) > 0 {
			switch in.next() % 8 {
			case 0:
				b0.advance(time.Duration(in.next()) * 100 * time.Millisecond)
			case 1:
				if in.next()%8 == 0 {
					b0.compareReplay(int(in.next()))
					b0.restart()
				}
			case 2:
				if n := in.next(); n%4 == 0 {
					b0.topics.set(in.pick("t", "u"), int(n%5))
				}
				b0.full = protocol.None
				if in.next()%3 == 0 {
					b0.full = protocol.NotEnoughReplicas
				}
			default:
				b0.handle("c", in.request(b0.issued, b0.m))
			}
		}
		b0.full = protocol.None
		b0.compareReplay(len(b0.log) / 2)
		b0.advance(b0.cfg.MaxSessionTimeout + time.Hour)
		if len(b0.owner) > 0 {
			t.Fatalf("%d requests never got an answer", len(b0.owner))
		}
		for id, g := range b0.m.groups {
			if len(g.members) > 0 {
				t.Fatalf("group %s still has members, who have been silent for long: %+v", id, g.members[0])
			}
		}
		for id, g := range b0.m.consumers {
			if len(g.members)+len(g.alarms) > 0 {
				t.Fatalf("group %s still has members or alarms of them, who have been silent for long", id)
			}
		}
		b0.compareReplay(len(b0.log))
	})
}

// compareReplay holds the machine against one that is made from its log, of which upTo records were compacted.
func (b *bench) compareReplay(upTo int) {
	b.t.Helper()
	l := &simLog{}
	for _, r := range b.log {
		l.entries = append(l.entries, simEntry{r})
	}
	other := New(b.cfg, b.topics, rand.New(rand.NewPCG(1, 1)))
	for _, e := range l.compacted(min(upTo, len(b.log)), upTo%2 == 0) {
		other.Apply(e.clone())
	}
	if d := difference(b.m, other); d != "" {
		b.t.Fatal(d)
	}
}

// newFuzzBench is a bench that remembers the member ids that were given out.
func newFuzzBench(t *testing.T) *bench {
	b := newBench(t)
	b.remember = true
	return b
}
