//go:build compat

package differential

import (
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var commitScripts = []script{
	{"offset-commit", scriptOffsetCommit},
	{"offset-fetch", scriptOffsetFetch},
	{"large-commit", scriptLargeCommit},
}

// commit is a request by topic name (up to v9); newer ones set the id.
func commit(v int16, group, member string, generation int32, topic string, partition int32,
	offset int64) *kmsg.OffsetCommitRequest {
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Version, req.Group, req.MemberID, req.Generation = max(v, 2), group, member, generation
	req.RetentionTimeMillis = -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = topic
	t.Partitions = append(t.Partitions, commitPartition(partition, offset, ptr("note")))
	req.Topics = append(req.Topics, t)
	return req
}

func commitPartition(partition int32, offset int64, metadata *string) kmsg.OffsetCommitRequestTopicPartition {
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset, p.LeaderEpoch, p.Metadata = partition, offset, 0, metadata
	return p
}

// fetchOffsets asks for one group, in the shape of the version.
func fetchOffsets(v int16, group, topic string, partitions ...int32) *kmsg.OffsetFetchRequest {
	req := kmsg.NewPtrOffsetFetchRequest()
	req.Version, req.Group = v, group
	req.Topics = []kmsg.OffsetFetchRequestTopic{{Topic: topic, Partitions: partitions}}
	g := kmsg.NewOffsetFetchRequestGroup()
	g.Group = group
	g.Topics = []kmsg.OffsetFetchRequestGroupTopic{{Topic: topic, Partitions: partitions}}
	req.Groups = append(req.Groups, g)
	return req
}

func scriptOffsetCommit(s *session) {
	topic, id := s.topic("t", 3)
	s.each(8, func(v int16) {
		tag := string(rune('a' + v))
		simpleGroup, group := s.name("simple"+tag), s.name("group"+tag)
		s.coordinate(simpleGroup)
		s.coordinate(group)
		send := func(label, group, member string, generation int32, change func(*kmsg.OffsetCommitRequest)) {
			req := commit(v, group, member, generation, topic, 0, 7)
			req.Topics[0].TopicID = id
			if change != nil {
				change(req)
			}
			s.ask(label, req)
		}
		partition := func(r *kmsg.OffsetCommitRequest) *kmsg.OffsetCommitRequestTopicPartition {
			return &r.Topics[0].Partitions[0]
		}
		send("without a group's members", simpleGroup, "", -1, nil)
		send("unknown group with a generation", group, "somebody", 3, nil)
		send("unknown group with a member", group, "somebody", -1, nil)
		send("empty group name", "", "", -1, nil)
		send("unknown partition", simpleGroup, "", -1, func(r *kmsg.OffsetCommitRequest) { partition(r).Partition = 3 })
		send("negative partition", simpleGroup, "", -1, func(r *kmsg.OffsetCommitRequest) { partition(r).Partition = -1 })
		send("unknown topic", simpleGroup, "", -1, func(r *kmsg.OffsetCommitRequest) {
			r.Topics[0].Topic, r.Topics[0].TopicID = s.name("none"), [16]byte{3}
		})
		send("no topic", simpleGroup, "", -1, func(r *kmsg.OffsetCommitRequest) {
			r.Topics[0].Topic, r.Topics[0].TopicID = "", [16]byte{}
		})
		send("no topics", simpleGroup, "", -1, func(r *kmsg.OffsetCommitRequest) { r.Topics = nil })
		send("good and unknown", simpleGroup, "", -1, func(r *kmsg.OffsetCommitRequest) {
			r.Topics[0].Partitions = append(r.Topics[0].Partitions, commitPartition(9, 1, nil), commitPartition(2, 1, nil))
		})
		send("null metadata", simpleGroup, "", -1, func(r *kmsg.OffsetCommitRequest) { partition(r).Metadata = nil })
		send("longest metadata", simpleGroup, "", -1,
			func(r *kmsg.OffsetCommitRequest) { partition(r).Metadata = ptr(strings.Repeat("m", 4096)) })
		send("metadata too long", simpleGroup, "", -1,
			func(r *kmsg.OffsetCommitRequest) { partition(r).Metadata = ptr(strings.Repeat("m", 4097)) })
		send("negative offset", simpleGroup, "", -1, func(r *kmsg.OffsetCommitRequest) { partition(r).Offset = -5 })
		send("backwards", simpleGroup, "", -1, func(r *kmsg.OffsetCommitRequest) { partition(r).Offset = 2 })
		send("same partition twice", simpleGroup, "", -1, func(r *kmsg.OffsetCommitRequest) {
			r.Topics[0].Partitions = append(r.Topics[0].Partitions, commitPartition(0, 11, nil))
		})
		s.ask("what is committed", fetchOffsets(5, simpleGroup, topic, 0, 1, 2))

		m := s.member(joining(4, group, ""))
		send("before sync", group, m.MemberID, m.Generation, nil)
		s.quiet(syncing(2, group, m.MemberID, m.Generation, assign(m.MemberID, "all")))
		send("of a member", group, m.MemberID, m.Generation, nil)
		send("of an older generation", group, m.MemberID, m.Generation-1, nil)
		send("of a later generation", group, m.MemberID, m.Generation+1, nil)
		send("of an unknown member", group, "nobody", m.Generation, nil)
		send("from outside a live group", group, "", -1, nil)
		send("of a member without a generation", group, m.MemberID, -1, nil)
		if v >= 7 {
			send("with an instance it has not", group, m.MemberID, m.Generation,
				func(r *kmsg.OffsetCommitRequest) { r.InstanceID = ptr("i") })
		}
		if v >= 6 {
			send("with a leader epoch", group, m.MemberID, m.Generation,
				func(r *kmsg.OffsetCommitRequest) { partition(r).LeaderEpoch = 42 })
		}
		s.quiet(leaving(3, group, m.MemberID))
		send("from outside an empty group", group, "", -1, nil)
		send("with a generation into an empty group", group, m.MemberID, m.Generation, nil)
	})
}

func scriptOffsetFetch(s *session) {
	topic, id := s.topic("t", 3)
	group, unknown := s.name("g"), s.name("unknown")
	s.coordinate(group)
	s.coordinate(unknown)
	s.quiet(commit(8, group, "", -1, topic, 0, 7))
	with := commit(8, group, "", -1, topic, 1, 9)
	with.Topics[0].Partitions[0].LeaderEpoch, with.Topics[0].Partitions[0].Metadata = 5, nil
	s.quiet(with)
	s.each(9, func(v int16) {
		get := func(label, group string, change func(*kmsg.OffsetFetchRequest), partitions ...int32) {
			req := fetchOffsets(v, group, topic, partitions...)
			req.Groups[0].Topics[0].TopicID = id
			if change != nil {
				change(req)
			}
			s.ask(label, req)
		}
		get("some", group, nil, 0, 1, 2, 9)
		get("same partition twice", group, nil, 0, 0)
		get("no partitions", group, nil)
		get("unknown group", unknown, nil, 0)
		get("empty group", "", nil, 0)
		get("unknown topic", group, func(r *kmsg.OffsetFetchRequest) {
			r.Topics[0].Topic, r.Groups[0].Topics[0].Topic = s.name("none"), s.name("none")
			r.Groups[0].Topics[0].TopicID = [16]byte{4}
		}, 0)
		get("no topics", group, func(r *kmsg.OffsetFetchRequest) {
			r.Topics, r.Groups[0].Topics = []kmsg.OffsetFetchRequestTopic{}, []kmsg.OffsetFetchRequestGroupTopic{}
		})
		if v >= 2 {
			get("all", group, func(r *kmsg.OffsetFetchRequest) { r.Topics, r.Groups[0].Topics = nil, nil })
			get("all of an unknown group", unknown, func(r *kmsg.OffsetFetchRequest) { r.Topics, r.Groups[0].Topics = nil, nil })
		}
		if v >= 7 {
			get("stable", group, func(r *kmsg.OffsetFetchRequest) { r.RequireStable = true }, 0, 1, 2)
		}
		if v >= 8 {
			get("two groups", group, func(r *kmsg.OffsetFetchRequest) {
				r.Groups = append(r.Groups, slices.Clone(r.Groups)...)
				r.Groups[1].Group = unknown
			}, 0)
			get("no groups", group, func(r *kmsg.OffsetFetchRequest) { r.Groups = nil })
		}
		if v >= 9 {
			get("of a member", group, func(r *kmsg.OffsetFetchRequest) {
				r.Groups[0].MemberID, r.Groups[0].MemberEpoch = ptr("nobody"), 3
			}, 0)
		}
	})
}

// scriptLargeCommit goes to the largest batch that the topic of the groups takes, and over it.
func scriptLargeCommit(s *session) {
	topic, _ := s.topic("t", 2)
	group := s.name("g")
	s.coordinate(group)
	large := func(n int) *kmsg.OffsetCommitRequest {
		req := commit(8, group, "", -1, topic, 0, 1)
		for i := range n {
			req.Topics[0].Partitions = append(req.Topics[0].Partitions,
				commitPartition(int32(i%2), int64(i), ptr(strings.Repeat("m", 4000))))
		}
		return req
	}
	s.ask("half of what fits", large(125))
	s.ask("all that fits", large(250))
	s.ask("after it", fetchOffsets(8, group, topic, 0, 1))
	s.ask("more", large(270))
	s.ask("nothing of it is there", fetchOffsets(8, group, topic, 0, 1))
	s.ask("another one", commit(8, group, "", -1, topic, 1, 7))
	s.ask("is", fetchOffsets(8, group, topic, 0, 1))
}
