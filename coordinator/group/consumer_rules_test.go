package group

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
)

// The rules, by the script that shows them.

func TestRule100_WhatAHeartbeatIsRefusedFor(t *testing.T)           { run(t, "consumer_refused") }
func TestRule101_EpochsThatAreNotTheMembers(t *testing.T)           { run(t, "consumer_refused") }
func TestRule102_WhatIsLeftOutIsUnchanged(t *testing.T)             { run(t, "consumer_refused") }
func TestRule102_TheFirstMemberIsInEpochTwo(t *testing.T)           { run(t, "consumer_basics") }
func TestRule103_StaticMembersTakeOver(t *testing.T)                { run(t, "consumer_static") }
func TestRule104_WhoMayCommitInWhichEpoch(t *testing.T)             { run(t, "consumer_offsets") }
func TestRule105_EmptyGroupsChangeTheirKind(t *testing.T)           { run(t, "consumer_offsets") }
func TestExpressionsMatchWholeNames(t *testing.T)                   { run(t, "consumer_regex") }
func TestC92_MembersGoTowardsTheTargetStepByStep(t *testing.T)      { run(t, "consumer_basics") }
func TestI72_SilentMembersAreRemovedAfterTheirSession(t *testing.T) { run(t, "consumer_sessions") }
func TestI73_AStaticMemberThatComesBackMovesNothing(t *testing.T)   { run(t, "consumer_static") }
func TestTopicsOfAConsumerGroupChange(t *testing.T)                 { run(t, "consumer_topics") }
func TestTheTargetIsComputedOnceInAnInterval(t *testing.T)          { run(t, "consumer_interval") }
func TestTheAssignorIsWhatMostMembersPrefer(t *testing.T)           { run(t, "consumer_assignor") }
func TestRejectedRecordsOfConsumerGroupsLeaveNothing(t *testing.T)  { run(t, "consumer_rejected") }
func TestOffsetsOfConsumerGroupsExpire(t *testing.T)                { run(t, "consumer_expiry") }

// walk is a group whose members come and go at random. Each client does what a consumer does: it has what it was last told,
// gives back what it is told to give back, now or a little later, and says so.
type walk struct {
	*bench
	rng     *rand.Rand
	clients map[string]*walker
	highest map[string]int32 // the highest epoch that a member was told
	group   int32            // the highest epoch of the group
	quiet   bool             // nothing goes wrong any more
}

type walker struct {
	epoch int32
	owned []TopicPartitions
	told  []TopicPartitions
	lazy  bool // keeps what it was told to give back
	full  bool // its last answer was lost: it says everything, to be told everything
}

// beat sends the heartbeat of a client and takes the answer.
func (w *walk) beat(name string, c *walker) {
	r := &ConsumerHeartbeat{
		Group: "g", Member: name, Epoch: c.epoch, Rebalance: unchangedRebalance, Owned: slices.Clone(c.owned), ClientID: name,
		MemberIDRequired: true,
	}
	if c.epoch == joinEpoch {
		r.Rebalance, r.Topics, r.Owned = 40*time.Second, []string{"t", "u"}, []TopicPartitions{}
	} else if c.full {
		r.Rebalance, r.Topics = 40*time.Second, []string{"t", "u"}
	} else if !w.quiet && w.rng.IntN(10) == 0 {
		r.Topics = [][]string{{"t"}, {"u"}, {"t", "u"}}[w.rng.IntN(3)]
	}
	if r.Owned == nil {
		r.Owned = []TopicPartitions{}
	}
	w.ticket++
	w.owner[w.ticket] = name
	eff := w.m.Handle(w.now, w.ticket, r)
	res := eff.Replies[len(eff.Replies)-1].Resp.(*ConsumerHeartbeatResult)
	if !w.quiet && w.rng.IntN(20) == 0 {
		w.bench.full = protocol.NotEnoughReplicas
	}
	refused := w.bench.full != protocol.None && len(eff.Records) > 0
	w.settle(eff)
	w.bench.full = protocol.None
	switch {
	case refused || !w.quiet && w.rng.IntN(20) == 0: // the answer is lost
		c.full = true
		return
	case res.Code != protocol.None:
		delete(w.clients, name)
		return
	}
	if res.Epoch < w.highest[name] && c.epoch != joinEpoch {
		w.t.Fatalf("member %s goes back from epoch %d to %d", name, w.highest[name], res.Epoch)
	}
	w.highest[name], c.epoch, c.full = res.Epoch, res.Epoch, false
	if res.HasAssignment {
		c.told = withoutEpochs(res.Assigned)
	}
	if !c.lazy {
		c.owned = c.told
	}
	w.oneOwner()
}

// oneOwner holds what clients believe that they own against each other: two of them in the group never own one partition.
func (w *walk) oneOwner() {
	owner := map[ownedPartition]string{}
	for _, name := range sortedKeys(w.clients) {
		if w.m.consumers["g"] == nil || w.m.consumers["g"].members[name] == nil {
			continue // fenced, and does not know it yet
		}
		for _, t := range w.clients[name].owned {
			for _, p := range t.Partitions {
				if other, ok := owner[ownedPartition{t.ID, p}]; ok {
					w.t.Fatalf("%s and %s both own %v-%d", other, name, t.ID[0], p)
				}
				owner[ownedPartition{t.ID, p}] = name
			}
		}
	}
	if g := w.m.consumers["g"]; g != nil {
		if g.epoch < w.group {
			w.t.Fatalf("the group goes back from epoch %d to %d", w.group, g.epoch)
		}
		w.group = g.epoch
	}
}

func (w *walk) step() {
	switch n := w.rng.IntN(100); {
	case n < 8:
		name := fmt.Sprintf("m%d", w.rng.IntN(8))
		if w.clients[name] == nil {
			w.clients[name] = &walker{lazy: w.rng.IntN(4) == 0}
		}
	case n < 11:
		for name := range w.clients {
			w.handle(name, &ConsumerHeartbeat{Group: "g", Member: name, Epoch: leaveEpoch, Rebalance: unchangedRebalance, MemberIDRequired: true})
			delete(w.clients, name)
			break
		}
	case n < 13:
		w.topics.set([]string{"t", "u"}[w.rng.IntN(2)], 1+w.rng.IntN(9))
	case n < 15:
		w.restart()
	case n < 20:
		w.advance(time.Duration(w.rng.IntN(20)) * time.Second)
	default:
		w.advance(time.Duration(w.rng.IntN(1000)) * time.Millisecond)
	}
	for _, name := range sortedKeys(w.clients) {
		c := w.clients[name]
		if w.rng.IntN(8) == 0 {
			c.lazy = !c.lazy
		}
		if w.rng.IntN(3) > 0 {
			w.beat(name, c)
		}
	}
}

func walkFor(t *testing.T, seed uint64) *walk {
	w := &walk{
		bench: newBench(t), rng: rand.New(rand.NewPCG(seed, 848)), clients: map[string]*walker{}, highest: map[string]int32{},
	}
	w.topics.set("t", 6)
	w.topics.set("u", 3)
	return w
}

// Whoever joins, leaves, is silent, keeps what it should give back, loses answers; whatever is refused by the log or loaded
// anew: no partition has two owners, and epochs do not fall. When it is quiet again the group becomes stable, and all
// partitions have an owner.
func TestI67_OneOwner_I69_EpochsDoNotFall(t *testing.T) {
	for seed := range uint64(40) {
		w := walkFor(t, seed)
		for range 300 {
			w.step()
		}
		w.quiet = true
		for range 30 {
			for _, name := range sortedKeys(w.clients) {
				w.clients[name].lazy = false
				w.beat(name, w.clients[name])
			}
			w.advance(2 * time.Second)
		}
		g := w.m.consumers["g"]
		if len(w.clients) > 0 && (g == nil || g.state() != Stable) {
			t.Fatalf("seed %d: the group does not come to rest: %v", seed, g)
		}
	}
}

// What a replay finds is what was answered from.
func TestReplayOfConsumerGroups(t *testing.T) {
	for seed := range uint64(20) {
		w := walkFor(t, seed)
		for range 200 {
			w.step()
		}
		before := dump(w.m)
		w.restart()
		if after := dump(w.m); after != before {
			t.Fatalf("seed %d:\n%s\nafter a replay:\n%s", seed, before, after)
		}
	}
}

// dump is the hard state of consumer groups.
func dump(m *Machine) (s string) {
	for _, id := range sortedKeys(m.consumers) {
		g := m.consumers[id]
		s += fmt.Sprintln(id, g.epoch, g.metadataHash, g.targetEpoch, g.targetTime, g.state())
		for _, name := range g.memberIDs() {
			s += fmt.Sprintln(name, *g.members[name].desc, *g.members[name].cur, g.targets[name])
		}
		for _, p := range sortedKeys(g.regexes) {
			s += fmt.Sprintln(p, *g.regexes[p])
		}
	}
	return s
}

// Commits of those who are not in the epoch that they say are refused, and change nothing.
func TestI66_CommitsAreFenced(t *testing.T) {
	for seed := range uint64(20) {
		w := walkFor(t, seed)
		for range 200 {
			w.step()
			g := w.m.consumers["g"]
			if g == nil || len(g.members) == 0 {
				continue
			}
			name := fmt.Sprintf("m%d", w.rng.IntN(8))
			epoch := int32(w.rng.IntN(int(g.epoch)+3)) - 1
			topic := []string{"t", "u"}[w.rng.IntN(2)]
			mem, id := g.members[name], w.topics.topics[topic].ID
			want := protocol.UnknownMemberID
			if mem != nil {
				since, has := has(slices.Concat(mem.cur.Assigned), id, 0)
				if !has {
					since, has = hasIn(mem.cur.Revoking, id)
				}
				switch {
				case epoch == mem.cur.Epoch, epoch < mem.cur.Epoch && has && since <= epoch:
					want = protocol.None
				default:
					want = protocol.StaleMemberEpoch
				}
			}
			records := len(w.log)
			w.out = nil
			w.handle(name, &CommitOffsets{
				Group: "g", Member: name, Generation: epoch, Retention: -1, KnowsGroupNotFound: true,
				Partitions: []CommitPartition{{Topic: topic, TopicID: id, Offset: 1}},
			})
			got := w.out[len(w.out)-1]
			if got != fmt.Sprintf("%s: committed %s-0=%s", name, topic, want.Error()) {
				t.Fatalf("seed %d: epoch %d of %s: %s, want %s", seed, epoch, name, got, want.Error())
			}
			if (want == protocol.None) != (len(w.log) > records) {
				t.Fatalf("seed %d: %d records of a commit that is answered %s", seed, len(w.log)-records, want.Error())
			}
		}
	}
}

func hasIn(list []TopicPartitions, id protocol.TopicID) (int32, bool) { return has(list, id, 0) }
