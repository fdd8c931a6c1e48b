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
		ps = append(ps, Protocol{Name: in.pick("x", "y", "z", ""), Metadata: []byte(in.pick("", "\x00\x01\x00\x00\x00\x01\x00\x01t", "?"))})
	}
	return ps
}

// request makes one of any kind. Member ids are those that the machine gave out, and others.
func (in *fuzzInput) request(ids []string, m *Machine) Request {
	id := ""
	if k := int(in.next()) % (len(ids) + 2); k < len(ids) {
		id = ids[k]
	} else if k == len(ids) {
		id = "unknown"
	}
	g := in.pick("g", "g", "g", "h", "")
	generation := int32(int8(in.next()))
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
				s.Assignments = append(s.Assignments, Assignment{Member: m, Data: []byte{1}})
			}
		}
		return s
	case 5:
		return &Heartbeat{Group: g, Member: id, Instance: in.instance(), Generation: generation}
	case 6:
		return &Leave{Group: g, Members: []LeavingMember{{Member: id, Instance: in.instance()}, {Member: id}}}
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

// FuzzMachine gives a machine any requests in any order, with time passing, refused writes and replays between them. It
// must not panic, must answer each request once at most, and must keep its invariants.
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
	})
}

// newFuzzBench is a bench that remembers the member ids that were given out.
func newFuzzBench(t *testing.T) *bench {
	b := newBench(t)
	b.remember = true
	return b
}
