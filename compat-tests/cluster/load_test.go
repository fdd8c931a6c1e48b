//go:build compat

package cluster

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// load opens the clients of a topic: producers of every kind, readers, groups, and a prober.
func (s *stage) load(topic string, partitions int) {
	s.t.Helper()
	s.topic(topic, partitions)
	s.everyKind(topic, partitions)
	s.flowing()
}

// lighter opens fewer clients, of a topic that is beside another.
func (s *stage) lighter(topic string, partitions int) {
	s.t.Helper()
	s.topic(topic, partitions)
	s.open(
		s.javaActor("java-once-"+topic, topic, Idempotent, partitions, "rate=100"),
		s.franzWriter("franz-plain-"+topic, topic, Plain, partitions, 100),
		s.javaActor("java-reader-"+topic, topic, Reader, partitions),
		s.franzMember("go-"+topic+"/franz", topic),
		s.prober("prober-"+topic, topic),
	)
	s.flowing()
}

// everyKind opens the clients of load.
func (s *stage) everyKind(topic string, partitions int) {
	s.t.Helper()
	s.open(
		s.javaActor("java-once", topic, Idempotent, partitions, "rate=200"),
		s.javaActor("java-plain", topic, Plain, partitions, "rate=100"),
		s.franzWriter("franz-once", topic, Idempotent, partitions, 200),
		s.saramaWriter("sarama-plain", topic, Plain, partitions, 100),
		s.javaActor("java-reader", topic, Reader, partitions),
		s.franzReader("franz-reader", topic, partitions),
		s.javaActor("old/java-1", topic, Member, partitions, "protocol=classic"),
		s.javaActor("old/java-2", topic, Member, partitions, "protocol=classic"),
		s.javaActor("new/java-1", topic, Member, partitions, "protocol=consumer"),
		s.javaActor("new/java-2", topic, Member, partitions, "protocol=consumer"),
		s.franzMember("go/franz-1", topic),
		s.prober("prober", topic),
	)
}

// ends are the offsets after the last record of each partition of a topic.
func (s *stage) ends(topic string) map[string]int64 {
	s.t.Helper()
	ends := map[string]int64{}
	missing := until(patience, func() string {
		list, err := s.admin.ListEndOffsets(s.ctx, topic)
		if err := errors.Join(err, list.Error()); err != nil {
			return err.Error()
		}
		for _, p := range list[topic] {
			ends[fmt.Sprintf("%s-%d", topic, p.Partition)] = p.Offset
		}
		return ""
	})
	if missing != "" {
		s.t.Fatalf("the ends of %s: %s", topic, missing)
	}
	return ends
}

// finish ends the producers, waits until the cluster is whole and everybody has read to the end, reads everything once more
// from the start, and judges the history and the replicas.
func (s *stage) finish() {
	s.t.Helper()
	s.end(s.writers)
	s.whole(len(s.cluster.Brokers))
	var final []actor
	for _, topic := range s.loaded() {
		ends := s.ends(topic)
		for _, a := range s.readers {
			if a.topic == topic && a.style == Reader {
				s.awaitRead(ends, a.name)
			}
		}
		s.awaitGroups(topic, ends)
		final = append(final, s.javaActor("java-final-"+topic, topic, Reader, len(ends)),
			s.franzReader("franz-final-"+topic, topic, len(ends)))
		for _, a := range final[len(final)-2:] {
			s.awaitRead(ends, a.name)
		}
		total := int64(0)
		for _, n := range ends {
			total += n
		}
		s.say("%s: %d records in %d partitions", topic, total, len(ends))
	}
	s.end(s.readers)
	s.end(final)
	s.judge(final)
	s.replicas()
}

// loaded are the topics that have readers.
func (s *stage) loaded() []string {
	var all []string
	for _, a := range s.readers {
		if a.style == Reader && !slices.Contains(all, a.topic) {
			all = append(all, a.topic)
		}
	}
	return all
}

func (s *stage) awaitRead(ends map[string]int64, name string) {
	s.t.Helper()
	s.await(name+" has read to the end", func() string { return s.behind(ends, name) })
}

// behind is called with mu.
func (s *stage) behind(ends map[string]int64, names ...string) string {
	var missing []string
	for p, end := range ends {
		next := int64(0)
		for _, name := range names {
			next = max(next, s.of(name).next[p])
		}
		if next < end {
			missing = append(missing, fmt.Sprintf("%s read to %d of %d", p, next, end))
		}
	}
	slices.Sort(missing)
	return strings.Join(missing, ", ")
}

func (s *stage) awaitGroups(topic string, ends map[string]int64) {
	s.t.Helper()
	groups := map[string][]string{}
	for _, a := range s.readers {
		if a.style == Member && a.topic == topic {
			groups[GroupOf(a.name)] = append(groups[GroupOf(a.name)], a.name)
		}
	}
	for group, names := range groups {
		s.await(group+" has read to the end", func() string { return s.behind(ends, names...) })
	}
}

// judge checks the history.
func (s *stage) judge(final []actor) {
	s.t.Helper()
	var names []string
	for _, a := range final {
		names = append(names, a.name)
	}
	s.mu.Lock()
	h := slices.Clone(s.seen)
	s.mu.Unlock()
	if err := h.Check(names...); err != nil {
		s.t.Errorf("the history is not sound:\n%v", err)
	}
	kinds := map[Kind]int{}
	for _, e := range h {
		kinds[e.Kind]++
	}
	s.say("judged: %d sent, %d acknowledged, %d unknown, %d read, %d commits, %d watermarks, %d errors told", kinds[Sent],
		kinds[Acked], kinds[Unknown], kinds[Read], kinds[Done], kinds[High], kinds[Error])
}

// calm fails the test if a client was told an error, or a record was not acknowledged.
func (s *stage) calm() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.seen {
		if e.Kind == Error || e.Kind == Unknown || e.Kind == Refused {
			s.t.Errorf("a client was told: %v", e)
		}
	}
}

// until asks again and again what is missing, until nothing is or the time is up.
func until(limit time.Duration, missing func() string) string {
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		what := missing()
		if what == "" || time.Now().After(deadline) {
			return what
		}
		<-tick.C
	}
}

// whole waits until each of n brokers says that every partition has a leader and all its replicas in sync.
func (s *stage) whole(n int) {
	s.t.Helper()
	began := time.Now()
	for _, b := range s.cluster.Brokers {
		if missing := until(patience, func() string { return s.missing(b, n) }); missing != "" {
			s.t.Fatalf("the cluster is not whole after %v; %s says: %s", patience, b.Addr, missing)
		}
	}
	s.say("the cluster is whole, %.2f s later", time.Since(began).Seconds())
}

// missing is what b says is missing in the cluster.
func (s *stage) missing(b *harness.Broker, n int) string {
	resp, err := b.Metadata(s.ctx, 2*time.Second, append([]string{"__consumer_offsets"}, s.topics...)...)
	if err != nil {
		return err.Error()
	}
	var out []string
	if len(resp.Brokers) != n {
		out = append(out, fmt.Sprintf("there are %d brokers of %d", len(resp.Brokers), n))
	}
	for _, t := range resp.Topics {
		if t.ErrorCode != 0 && !(*t.Topic == "__consumer_offsets" && t.ErrorCode == 3) {
			out = append(out, fmt.Sprintf("%s has error %d", *t.Topic, t.ErrorCode))
		}
		for _, p := range t.Partitions {
			if p.Leader < 0 || p.ErrorCode != 0 || len(p.ISR) != len(p.Replicas) || len(p.OfflineReplicas) > 0 {
				out = append(out, fmt.Sprintf("%s-%d: leader %d epoch %d replicas %v in sync %v offline %v error %d", *t.Topic,
					p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR, p.OfflineReplicas, p.ErrorCode))
			}
		}
	}
	if len(out) > 6 {
		out = append(out[:6], fmt.Sprintf("and %d more", len(out)-6))
	}
	return strings.Join(out, "; ")
}

// controller is the broker that leads the metadata quorum.
func (s *stage) controller() (leader *harness.Broker) {
	s.t.Helper()
	missing := until(patience, func() string {
		id, err := s.quorumLeader()
		if err != nil {
			return err.Error()
		}
		if leader = s.node(id); leader == nil {
			return fmt.Sprintf("the address of broker %d", id)
		}
		return ""
	})
	if missing != "" {
		s.t.Fatalf("there is no controller: %s", missing)
	}
	return leader
}

func (s *stage) quorumLeader() (int32, error) {
	var errs error
	for _, b := range s.cluster.Brokers {
		leader, _, err := b.Quorum(2 * time.Second)
		if err == nil {
			return leader, nil
		}
		errs = errors.Join(errs, err)
	}
	return 0, errs
}

// node is the broker of an id, nil if nobody knows it.
func (s *stage) node(id int32) *harness.Broker {
	for _, b := range s.cluster.Brokers {
		resp, err := b.Metadata(s.ctx, 2*time.Second)
		if err != nil {
			continue
		}
		for _, m := range resp.Brokers {
			if m.NodeID == id {
				return s.cluster.At(m.Host, m.Port)
			}
		}
	}
	return nil
}

// leader is the broker that leads a partition.
func (s *stage) leader(topic string, partition int32) (leader *harness.Broker) {
	s.t.Helper()
	missing := until(patience, func() string {
		for _, b := range s.cluster.Brokers {
			resp, err := b.Metadata(s.ctx, 2*time.Second, topic)
			if err != nil {
				continue
			}
			for _, p := range resp.Topics[0].Partitions {
				if p.Partition == partition && p.Leader >= 0 {
					leader = s.node(p.Leader)
				}
			}
		}
		if leader == nil {
			return fmt.Sprintf("%s-%d has no leader", topic, partition)
		}
		return ""
	})
	if missing != "" {
		s.t.Fatal(missing)
	}
	return leader
}

// id is the number that the cluster has for a broker.
func (s *stage) id(b *harness.Broker) int32 {
	s.t.Helper()
	resp, err := b.Metadata(s.ctx, 5*time.Second)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, m := range resp.Brokers {
		if s.cluster.At(m.Host, m.Port) == b {
			return m.NodeID
		}
	}
	s.t.Fatalf("%s does not name itself", b.Addr)
	return 0
}

// number is a broker's place in the cluster, from 1.
func (s *stage) number(b *harness.Broker) int { return 1 + slices.Index(s.cluster.Brokers, b) }
