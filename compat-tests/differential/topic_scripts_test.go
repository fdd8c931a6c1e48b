//go:build compat

package differential

import (
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var topicScripts = []script{
	{"metadata", scriptMetadata},
	{"metadata-auto-create", scriptAutoCreate},
	{"create-topics", scriptCreateTopics},
	{"delete-topics", scriptDeleteTopics},
}

func scriptMetadata(s *session) {
	name, id := s.topic("t", 3)
	missing := s.name("missing")
	s.each(3, func(v int16) {
		req := metadataOf(v, name, missing, "bad name", "", ".", "..", strings.Repeat("x", 250), name)
		if v >= 4 {
			req.AllowAutoTopicCreation = false
		} else {
			req = metadataOf(v, name, name, "bad name") // older versions always create
		}
		s.ask("several topics", req)
		none := metadataOf(v)
		if v > 0 { // v0: all, which other scripts add to
			s.ask("no topics", none)
		}
		if v >= 8 {
			req = metadataOf(v, name)
			req.IncludeTopicAuthorizedOperations, req.IncludeClusterAuthorizedOperations = true, v <= 10
			s.ask("authorized operations", req)
		}
		if v >= 10 {
			s.ask("by id", metadataByID(v, id, nil))
			s.ask("by unknown id", metadataByID(v, [16]byte{1, 2, 3}, nil))
			s.ask("by id and name", metadataByID(v, id, &name))
			s.ask("neither id nor name", metadataByID(v, [16]byte{}, nil))
			mixed := metadataByID(v, id, nil)
			mixed.Topics = append(mixed.Topics, metadataOf(v, name).Topics...)
			s.ask("one by id, one by name", mixed)
		}
	})
}

func metadataByID(v int16, id [16]byte, name *string) *kmsg.MetadataRequest {
	req := metadataOf(v)
	t := kmsg.NewMetadataRequestTopic()
	t.TopicID, t.Topic = id, name
	req.Topics = append(req.Topics, t)
	return req
}

func scriptAutoCreate(s *session) {
	for _, v := range []int16{0, 3, 4, 8, 9, 12, 13} {
		name := s.name("auto" + string(rune('a'+v)))
		req := metadataOf(v, name)
		req.AllowAutoTopicCreation = true
		s.ask("first time", req)
		s.idOf(name, 1)
		s.ask("later", req)
	}
	never := metadataOf(12, s.name("never"))
	s.ask("not allowed", never)
	s.ask("not allowed, again", never)
	bad := metadataOf(12, "bad/name", s.name("a")+"!", strings.Repeat("y", 250))
	bad.AllowAutoTopicCreation = true
	s.ask("bad names", bad)
	collide := metadataOf(12, s.name("x.y"))
	collide.AllowAutoTopicCreation = true
	s.ask("first of two that collide", collide)
	s.idOf(s.name("x.y"), 1)
	collide = metadataOf(12, s.name("x_y"))
	collide.AllowAutoTopicCreation = true
	s.ask("second of two that collide", collide)
}

func scriptCreateTopics(s *session) {
	s.each(19, func(v int16) {
		tag := string(rune('a' + v))
		n := func(x string) string { return s.name(x + tag) }
		s.ask("good", createTopics(v, newTopic(n("good"), 2, 1, "cleanup.policy=compact", "segment.bytes=1048576"),
			newTopic(n("two"), 1, 1)))
		s.idOf(n("good"), 2)
		s.ask("exists", createTopics(v, newTopic(n("good"), 2, 1), newTopic(n("other"), 1, 1)))
		req := createTopics(v, newTopic(n("defaults"), -1, -1))
		s.ask("defaults", req)
		only := createTopics(v, newTopic(n("only"), 3, 1, "retention.ms=1000"), newTopic("bad name", 1, 1),
			newTopic(n("good"), 1, 1))
		only.ValidateOnly = true
		s.ask("validate only", only)
		s.ask("was not made by validate only", metadataOf(12, n("only")))
		s.ask("bad counts", createTopics(v, newTopic(n("b0"), 0, 1), newTopic(n("b1"), -2, 1), newTopic(n("b2"), 1, 0),
			newTopic(n("b3"), 1, -2), newTopic(n("b4"), 1, 2), newTopic(n("b5"), 1, 32767), newTopic(n("b6"), 2_000_000_000, 1)))
		s.ask("bad names", createTopics(v, newTopic("", 1, 1), newTopic(".", 1, 1), newTopic("..", 1, 1),
			newTopic("a b", 1, 1),
			newTopic("a/b", 1, 1), newTopic("ä", 1, 1), newTopic(strings.Repeat("x", 250), 1, 1),
			newTopic("__cluster_metadata", 1, 1)))
		s.ask("longest name", createTopics(v, newTopic(n(strings.Repeat("x", 249-len(n("")))), 1, 1)))
		s.ask("same name twice", createTopics(v, newTopic(n("twice"), 1, 1), newTopic(n("twice"), 1, 1),
			newTopic(n("once"), 1, 1)))
		s.ask("names that collide", createTopics(v, newTopic(n("col.a"), 1, 1)))
		s.ask("names that collide", createTopics(v, newTopic(n("col_a"), 1, 1)))
		s.ask("bad configs", createTopics(v, newTopic(n("c0"), 1, 1, "no.such.key=1"),
			newTopic(n("c1"), 1, 1, "retention.ms=abc"),
			newTopic(n("c2"), 1, 1, "segment.bytes=1"), newTopic(n("c3"), 1, 1, "cleanup.policy=shred"),
			newTopic(n("c4"), 1, 1, "compression.type=rar"),
			newTopic(n("c5"), 1, 1, "min.insync.replicas=0"), newTopic(n("c6"), 1, 1, "message.format.version=3.0"),
			newTopic(n("c7"), 1, 1, "retention.ms=-2"), newTopic(n("c8"), 1, 1, "max.message.bytes=-1"),
			newTopic(n("c9"), 1, 1, "preallocate=maybe")))
		null := newTopic(n("null"), 1, 1, "retention.ms=5")
		null.Configs[0].Value = nil
		s.ask("null value", createTopics(v, null))
		s.ask("assignments", createTopics(v,
			assigned(newTopic(n("a0"), -1, -1), [][]int32{{1}, {1}}), assigned(newTopic(n("a1"), 1, 1), [][]int32{{1}}),
			assigned(newTopic(n("a2"), -1, -1), [][]int32{{1, 1}}), assigned(newTopic(n("a3"), -1, -1), [][]int32{{7}}),
			assigned(newTopic(n("a4"), -1, -1), [][]int32{{}}), gap(assigned(newTopic(n("a5"), -1, -1), [][]int32{{1}, {1}})),
			assigned(newTopic(n("a6"), -1, -1), [][]int32{{1}, {1, 1}})))
		s.ask("no topics", createTopics(v))
		zero := createTopics(v, newTopic(n("zero"), 1, 1))
		zero.TimeoutMillis = -1
		s.ask("negative timeout", zero)
	})
}

func assigned(t kmsg.CreateTopicsRequestTopic, replicas [][]int32) kmsg.CreateTopicsRequestTopic {
	for i, r := range replicas {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(i), r
		t.ReplicaAssignment = append(t.ReplicaAssignment, a)
	}
	return t
}

// gap moves the last assignment of t to a partition that leaves a hole.
func gap(t kmsg.CreateTopicsRequestTopic) kmsg.CreateTopicsRequestTopic {
	t.ReplicaAssignment[len(t.ReplicaAssignment)-1].Partition += 3
	return t
}

func deleteTopics(v int16, names ...string) *kmsg.DeleteTopicsRequest {
	req := kmsg.NewPtrDeleteTopicsRequest()
	req.Version, req.TimeoutMillis = v, 10_000
	req.TopicNames = names
	for _, n := range names {
		t := kmsg.NewDeleteTopicsRequestTopic()
		t.Topic = &n
		req.Topics = append(req.Topics, t)
	}
	return req
}

func scriptDeleteTopics(s *session) {
	s.each(20, func(v int16) {
		tag := string(rune('a' + v))
		name, id := s.topic("del"+tag, 1)
		s.ask("good, unknown, bad", deleteTopics(v, name, s.name("unknown"), "bad name", ""))
		s.gone(name)
		s.ask("again", deleteTopics(v, name))
		s.ask("none", deleteTopics(v))
		late := deleteTopics(v, s.name("unknown"))
		late.TimeoutMillis = -1
		s.ask("negative timeout", late)
		late.TimeoutMillis = 0
		s.ask("no timeout", late)
		twice, _ := s.topic("twice"+tag, 1)
		s.ask("twice in one request", deleteTopics(v, twice, twice))
		again, id2 := s.topic("del"+tag, 1)
		s.note("made again under a new id", map[bool]string{true: "new id", false: "same id"}[id != id2])
		if v < 6 {
			s.ask("made again", deleteTopics(v, again))
			return
		}
		byID := deleteTopics(v)
		byID.Topics = append(byID.Topics, deleteID(id2, nil), deleteID(id, nil), deleteID([16]byte{9}, nil))
		s.ask("by id, old id, unknown id", byID)
		both := deleteTopics(v)
		both.Topics = append(both.Topics, deleteID(id2, &again), deleteID([16]byte{}, nil))
		s.ask("both, neither", both)
	})
}

func deleteID(id [16]byte, name *string) kmsg.DeleteTopicsRequestTopic {
	t := kmsg.NewDeleteTopicsRequestTopic()
	t.TopicID, t.Topic = id, name
	return t
}
