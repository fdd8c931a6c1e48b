//go:build compat

package differential

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var adminScripts = []script{
	{"create-partitions", scriptCreatePartitions},
	{"describe-topic-partitions", scriptDescribeTopicPartitions},
	{"describe-cluster", scriptDescribeCluster},
	{"describe-log-dirs", scriptDescribeLogDirs},
	{"describe-producers", scriptDescribeProducers},
	{"order-of-answers", scriptOrder},
}

func morePartitions(topic string, count int32, assignment ...[]int32) kmsg.CreatePartitionsRequestTopic {
	t := kmsg.NewCreatePartitionsRequestTopic()
	t.Topic, t.Count = topic, count
	for _, replicas := range assignment {
		a := kmsg.NewCreatePartitionsRequestTopicAssignment()
		a.Replicas = replicas
		t.Assignment = append(t.Assignment, a)
	}
	return t
}

func scriptCreatePartitions(s *session) {
	s.each(37, func(v int16) {
		name, _ := s.topic("t"+string(rune('a'+v)), 2)
		send := func(label string, topics ...kmsg.CreatePartitionsRequestTopic) {
			req := kmsg.NewPtrCreatePartitionsRequest()
			req.Version, req.TimeoutMillis, req.Topics = v, 10_000, topics
			s.ask(label, req)
		}
		only := kmsg.NewPtrCreatePartitionsRequest()
		only.Version, only.TimeoutMillis, only.ValidateOnly = v, 10_000, true
		only.Topics = append(only.Topics, morePartitions(name, 5), morePartitions(s.name("none"), 5))
		s.ask("validate only", only)
		send("more", morePartitions(name, 3))
		s.idOf(name, 3)
		for _, timeout := range []int32{0, -1} {
			late := kmsg.NewPtrCreatePartitionsRequest()
			late.Version, late.TimeoutMillis = v, timeout
			late.Topics = append(late.Topics, morePartitions(s.name("none"), 5))
			s.ask("timeout", late)
		}
		send("the same", morePartitions(name, 3))
		send("fewer", morePartitions(name, 1))
		send("0", morePartitions(name, 0))
		send("-1", morePartitions(name, -1))
		send("unknown and bad", morePartitions(s.name("none"), 9), morePartitions("bad name", 9), morePartitions("", 9))
		send("twice", morePartitions(name, 4), morePartitions(name, 5))
		send("none")
		send("assigned", morePartitions(name, 5, []int32{1}, []int32{1}))
		send("assigned to an unknown broker", morePartitions(name, 8, []int32{9}))
		send("too few assignments", morePartitions(name, 9, []int32{1}))
		send("too many assignments", morePartitions(name, 9, []int32{1}, []int32{1}, []int32{1}, []int32{1}, []int32{1},
			[]int32{1}, []int32{1}))
		send("two replicas where there is one", morePartitions(name, 6, []int32{1, 1}))
		send("no replicas", morePartitions(name, 6, []int32{}))
	})
}

func scriptDescribeTopicPartitions(s *session) {
	a, _ := s.topic("a", 3)
	b, _ := s.topic("b", 2)
	c, _ := s.topic("c", 1)
	describe := func(limit int32, cursor *kmsg.DescribeTopicPartitionsRequestCursor,
		topics ...string) *kmsg.DescribeTopicPartitionsRequest {
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit, req.Cursor = limit, cursor
		for _, name := range topics {
			t := kmsg.NewDescribeTopicPartitionsRequestTopic()
			t.Topic = name
			req.Topics = append(req.Topics, t)
		}
		return req
	}
	at := func(topic string, partition int32) *kmsg.DescribeTopicPartitionsRequestCursor {
		c := kmsg.NewDescribeTopicPartitionsRequestCursor()
		c.Topic, c.Partition = topic, partition
		return &c
	}
	s.ask("one", describe(2000, nil, a))
	s.ask("out of order", describe(2000, nil, c, a, b))
	s.ask("twice", describe(2000, nil, a, a))
	s.ask("unknown", describe(2000, nil, s.name("none"), a))
	s.ask("bad name", describe(2000, nil, a, "bad name"))
	s.ask("empty name", describe(2000, nil, a, ""))
	for _, limit := range []int32{1, 2, 3, 4, 5, 6, 0, -1} {
		s.ask("limit", describe(limit, nil, a, b, c))
	}
	s.ask("cursor at the first", describe(2, at(a, 0), a, b, c))
	s.ask("cursor inside", describe(2, at(a, 2), a, b, c))
	s.ask("cursor at the second", describe(9, at(b, 0), a, b, c))
	s.ask("cursor behind the partitions", describe(9, at(b, 7), a, b, c))
	s.ask("cursor at an unknown topic", describe(9, at(s.name("bb"), 0), a, b, c))
	s.ask("cursor behind all", describe(9, at(s.name("z"), 0), a, b, c))
	s.ask("cursor at -1", describe(9, at(b, -1), a, b, c))
	s.askOnly("all", describe(2000, nil), func(r kmsg.Response) {
		resp := r.(*kmsg.DescribeTopicPartitionsResponse)
		resp.NextCursor = nil
		resp.Topics = without(resp.Topics, func(t kmsg.DescribeTopicPartitionsResponseTopic) bool {
			return t.Topic == nil || !strings.HasPrefix(*t.Topic, s.prefix)
		})
	})
}

func scriptDescribeCluster(s *session) {
	s.each(60, func(v int16) {
		for _, operations := range []bool{false, true} {
			for _, endpoints := range []int8{1, 2, 0, 3, -1} {
				req := kmsg.NewPtrDescribeClusterRequest()
				req.Version, req.IncludeClusterAuthorizedOperations, req.EndpointType = v, operations, endpoints
				s.ask("endpoint type", req)
			}
		}
		if v >= 2 {
			req := kmsg.NewPtrDescribeClusterRequest()
			req.Version, req.IncludeFencedBrokers = v, true
			s.ask("fenced brokers", req)
		}
	})
}

func scriptDescribeLogDirs(s *session) {
	name, _ := s.topic("t", 2)
	s.write(name, 0, simple(5).bytes())
	own := func(r kmsg.Response) {
		resp := r.(*kmsg.DescribeLogDirsResponse)
		for i := range resp.Dirs {
			d := &resp.Dirs[i]
			d.Topics = without(d.Topics, func(t kmsg.DescribeLogDirsResponseDirTopic) bool {
				return !strings.HasPrefix(t.Topic, s.prefix)
			})
		}
	}
	s.each(35, func(v int16) {
		req := kmsg.NewPtrDescribeLogDirsRequest()
		req.Version = v
		s.askOnly("all", req, own)
		req.Topics = []kmsg.DescribeLogDirsRequestTopic{}
		s.askOnly("none", req, own)
		for _, topic := range []string{name, s.name("none"), "bad name"} {
			t := kmsg.NewDescribeLogDirsRequestTopic()
			t.Topic, t.Partitions = topic, []int32{0, 1, 5}
			req.Topics = append(req.Topics, t)
			s.askOnly("some", req, own)
		}
	})
}

func scriptDescribeProducers(s *session) {
	name, _ := s.topic("t", 2)
	for i, pid := range []int64{600_001, 600_002} {
		b := simple(2)
		b.pid, b.pidEpoch, b.sequence = pid, int16(i), 0
		s.write(name, 0, b.bytes())
	}
	ask := func(label string, topics ...string) {
		req := kmsg.NewPtrDescribeProducersRequest()
		for _, n := range topics {
			t := kmsg.NewDescribeProducersRequestTopic()
			t.Topic, t.Partitions = n, []int32{0, 1, 2, -1}
			req.Topics = append(req.Topics, t)
		}
		s.ask(label, req)
	}
	ask("two producers", name)
	ask("unknown and bad", name, s.name("none"), "bad name", "")
	ask("none")
}

// scriptOrder sends requests without waiting for answers: they come in order, whatever each costs.
func scriptOrder(s *session) {
	name, id := s.topic("t", 1)
	s.write(name, 0, simple(1).bytes())
	c := s.dial()
	defer c.Close()
	slow := fetch(12, name, id, 0, 1)
	slow.MaxWaitMillis = 700
	var frames []byte
	for _, req := range []kmsg.Request{slow, apiVersions(0, "", ""), metadataOf(9, name),
		produce(9, name, 0, simple(1).bytes()), fetch(12, name, id, 0, 0)} {
		f, _ := c.Frame(req)
		frames = append(frames, f...)
	}
	if _, err := c.Write(frames); err != nil {
		s.fail("write: %v", err)
	}
	for i := range 5 {
		body, err := c.ReadFrame(answerLimit)
		if err != nil {
			s.note("answer", fateOf(err))
			return
		}
		s.note("answer", map[bool]string{true: "in its turn", false: "out of turn"}[int(body[3]) == i+1])
	}
}
