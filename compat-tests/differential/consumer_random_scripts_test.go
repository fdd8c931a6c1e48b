//go:build compat

package differential

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Members that do anything in any order: they come, go, come back, are behind or ahead of their epoch, keep what they
// should give back, forget what they have. Each choice is drawn with a seed and depends on answers only, so that two
// brokers whose answers are the same are asked the same.

// consumerRandomScripts are so many walks.
func consumerRandomScripts() (all []script) {
	for i := range 12 {
		all = append(all, script{fmt.Sprintf("consumer-random-%d", i), scriptConsumerRandom})
	}
	return all
}

// wanderer is a member as its client sees it.
type wanderer struct {
	id       string
	instance *string
	epoch    int32
	told     []int32 // of the one topic
	owned    []int32
}

type wander struct {
	s       *session
	rng     *rand.Rand
	group   string
	topic   string
	id      [16]byte
	members []*wanderer
}

func scriptConsumerRandom(s *session) {
	seed := fnv.New64a()
	_, _ = seed.Write([]byte(s.prefix))
	w := &wander{s: s, rng: rand.New(rand.NewPCG(seed.Sum64(), 848)), group: s.name("g")}
	w.topic, w.id = s.subscribable("t", 5)
	s.coordinate(w.group)
	for i := range 5 {
		m := &wanderer{id: fmt.Sprint("member-", i)}
		if i >= 3 { // two that want the same place, now and then
			m.instance = ptr(fmt.Sprint("instance-", i%2*w.rng.IntN(2)))
		}
		w.members = append(w.members, m)
	}
	for i := range 150 {
		w.step(fmt.Sprint(i))
	}
}

func (w *wander) step(label string) {
	m := w.members[w.rng.IntN(len(w.members))]
	switch n := w.rng.IntN(100); {
	case n < 12 || m.epoch <= 0 && n < 70:
		w.join(label+" "+m.id+" joins", m)
	case n < 16:
		w.beat(label+" "+m.id+" leaves", m, beat(1, w.group, m.id, -1))
		*m = wanderer{id: m.id, instance: m.instance}
	case n < 19:
		w.beat(label+" "+m.id+" leaves for a while", m, beat(1, w.group, m.id, -2))
	case n < 24:
		w.beat(label+" "+m.id+" has another epoch", m, having(1, w.group, m.id, m.epoch+int32(w.rng.IntN(5)-2), w.id, m.owned...))
	case n < 28:
		all := w.rng.Perm(6)[:w.rng.IntN(4)]
		w.beat(label+" "+m.id+" says that it has others", m, having(1, w.group, m.id, m.epoch, w.id, narrow(all)...))
	case n < 34:
		req := having(1, w.group, m.id, m.epoch, w.id, m.owned...)
		w.subscribe(req)
		req.RebalanceTimeoutMillis = 30_000
		w.beat(label+" "+m.id+" says everything", m, req)
	case n < 40:
		req := beat(1, w.group, m.id, m.epoch)
		w.subscribe(req)
		w.beat(label+" "+m.id+" subscribes", m, req)
	case n < 45:
		req := commit(9, w.group, m.id, m.epoch+int32(w.rng.IntN(4)-2), w.topic, int32(w.rng.IntN(5)), 1)
		req.InstanceID = m.instance
		w.s.ask(label+" "+m.id+" commits", req)
	case n < 50:
		w.s.looks(label, w.group)
	case n < 60:
		w.beat(label+" "+m.id+" says nothing", m, beat(1, w.group, m.id, m.epoch))
	default:
		m.owned = m.told
		w.beat(label+" "+m.id+" says what it has", m, having(1, w.group, m.id, m.epoch, w.id, m.owned...))
	}
}

func narrow(all []int) []int32 {
	out := make([]int32, len(all))
	for i, n := range all {
		out[i] = int32(n)
	}
	slices.Sort(out)
	return out
}

// subscribe draws a subscription.
func (w *wander) subscribe(req *kmsg.ConsumerGroupHeartbeatRequest) {
	none := w.s.name("none")
	req.SubscribedTopicNames = [][]string{{w.topic}, {w.topic}, {w.topic, none}, {none}, {}}[w.rng.IntN(5)]
	if w.rng.IntN(4) == 0 {
		// One only: between two that are preferred by as many members Kafka cannot decide, and changes its mind at every
		// heartbeat.
		req.ServerAssignor = ptr("range")
	}
}

func (w *wander) join(label string, m *wanderer) {
	req := entering(1, w.group, m.id, w.topic)
	if w.rng.IntN(3) == 0 {
		w.subscribe(req)
		if len(req.SubscribedTopicNames) == 0 {
			// Kafka computes a target that is due with the subscriptions of before if who joins has none, and may give it
			// partitions that it does not want.
			req.SubscribedTopicNames = []string{w.s.name("none")}
		}
	}
	if w.rng.IntN(20) == 0 {
		req.RackID = ptr("rack")
	}
	m.owned, m.told = nil, nil
	w.beat(label, m, req)
}

// beat sends a heartbeat and lets the member take the answer.
func (w *wander) beat(label string, m *wanderer, req *kmsg.ConsumerGroupHeartbeatRequest) {
	req.InstanceID = m.instance
	if m.instance != nil && req.MemberEpoch != 0 && w.rng.IntN(25) == 0 {
		// Not when it joins: to a member that gets an instance id later Kafka gives nothing until the next rebalance.
		req.InstanceID = nil
	}
	resp := w.s.beats(label, req)
	if resp.ErrorCode != 0 {
		if w.rng.IntN(2) == 0 { // or it goes on as if nothing had been
			m.epoch, m.owned, m.told = 0, nil, nil
		}
		return
	}
	m.epoch = resp.MemberEpoch
	if resp.Assignment != nil {
		m.told = nil
		for _, t := range resp.Assignment.Topics {
			m.told = append(m.told, t.Partitions...)
		}
	}
}
