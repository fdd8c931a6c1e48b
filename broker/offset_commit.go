package broker

import (
	"math"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// OffsetCommit, versions 2 to 10.
//
//	v5   no retention time in the request any more (KIP-211)
//	v6   leader epochs (KIP-320)
//	v7   static members (KIP-345)
//	v9   a group that does not exist is GROUP_ID_NOT_FOUND; before, ILLEGAL_GENERATION
//	v10  topics by id (KIP-848)
//
// What cannot be committed because the topic or partition does not exist is answered first, as Apache Kafka does, and does
// not keep the rest from being committed (C76).

func handleOffsetCommit(b *Broker, r *request) {
	req := r.msg.(*kmsg.OffsetCommitRequest)
	commit := &group.CommitOffsets{
		Group: req.Group, Member: req.MemberID, Instance: req.InstanceID, Generation: req.Generation,
		Retention: retention(req), KnowsGroupNotFound: r.version() >= 9,
	}
	answer := commitAnswer{resp: req.ResponseKind().(*kmsg.OffsetCommitResponse), at: map[commitTopic]int{}}
	im := b.image()
	for i := range req.Topics {
		answer.sort(im, &req.Topics[i], r.version(), commit)
	}
	if len(commit.Partitions) == 0 {
		r.Reply(answer.resp)
		return
	}
	b.groups.Submit(req.Group, commit, func(res group.Response) {
		for _, p := range res.(*group.CommitResult).Partitions {
			topic := commitTopic{name: p.Topic}
			if r.version() >= 10 {
				topic = commitTopic{id: p.TopicID}
			}
			answer.add(topic, p.Partition, p.Code)
		}
		r.Reply(answer.resp)
	})
}

// retention is how long the offsets are to live; below 0, as long as the broker keeps them, which is what -1 asks for. Other
// times that are over before they begin let the offsets go at the next look. Versions from 5 on cannot ask.
func retention(req *kmsg.OffsetCommitRequest) time.Duration {
	if req.RetentionTimeMillis == -1 {
		return -1
	}
	return time.Duration(min(max(req.RetentionTimeMillis, 0), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

// commitTopic is a topic as the version of the request names it.
type commitTopic struct {
	name string
	id   protocol.TopicID
}

// commitAnswer is an answer in the making.
type commitAnswer struct {
	resp *kmsg.OffsetCommitResponse
	at   map[commitTopic]int // where in resp a topic is
}

// sort adds the partitions of one topic to the commit, or to the answer where they do not exist.
func (a *commitAnswer) sort(im *meta.Image, t *kmsg.OffsetCommitRequestTopic, version int16, commit *group.CommitOffsets) {
	topic := commitTopic{name: t.Topic}
	known, missing := im.Topic(t.Topic), protocol.UnknownTopicOrPartition
	if version >= 10 {
		topic = commitTopic{id: t.TopicID}
		known, missing = im.TopicByID(t.TopicID), protocol.UnknownTopicID
	}
	if commit.Partitions == nil {
		commit.Partitions = make([]group.CommitPartition, 0, len(t.Partitions))
	}
	for i := range t.Partitions {
		p := &t.Partitions[i]
		switch {
		case known == nil:
			a.add(topic, p.Partition, missing)
		case p.Partition < 0 || int(p.Partition) >= len(known.Partitions):
			a.add(topic, p.Partition, protocol.UnknownTopicOrPartition)
		default:
			epoch := protocol.Epoch(-1)
			if version >= 6 {
				epoch = protocol.Epoch(p.LeaderEpoch)
			}
			commit.Partitions = append(commit.Partitions, group.CommitPartition{
				Topic: known.Name, TopicID: known.ID, Partition: p.Partition,
				Offset: protocol.Offset(p.Offset), LeaderEpoch: epoch, Metadata: orEmpty(p.Metadata),
			})
		}
	}
}

func (a *commitAnswer) add(topic commitTopic, partition int32, code protocol.Code) {
	i, ok := a.at[topic]
	if !ok {
		i = len(a.resp.Topics)
		a.at[topic] = i
		a.resp.Topics = append(a.resp.Topics, kmsg.OffsetCommitResponseTopic{Topic: topic.name, TopicID: topic.id})
	}
	t := &a.resp.Topics[i]
	t.Partitions = append(t.Partitions, kmsg.OffsetCommitResponseTopicPartition{Partition: partition, ErrorCode: int16(code)})
}
