package group

import (
	"strings"
	"testing"

	"moldau.io/moldau/protocol"
)

// records of a group with members a and b that have the partitions given of topic t.
func damaged(id protocol.TopicID, a, b []int32) []Record {
	member := func(name string, has []int32) []Record {
		list := []TopicPartitions{{ID: id, Partitions: has}}
		return []Record{
			{Kind: KindCurrent, Group: "g", Name: name, Value: &Current{Epoch: 4, PreviousEpoch: 3, Assigned: list}},
			{Kind: KindMemberTarget, Group: "g", Name: name, Value: &MemberTarget{Topics: list}},
			{Kind: KindMember, Group: "g", Name: name, Value: &Member{Topics: []string{"t"}, RebalanceMillis: 1000}},
		}
	}
	return append(append(member("a", a), member("b", b)...),
		Record{Kind: KindTarget, Group: "g", Value: &Target{Epoch: 4}},
		Record{Kind: KindEpoch, Group: "g", Value: &Epoch{Epoch: 4}})
}

// A log that says that two members are to have the same partitions does not stop the group: it gets a new target.
func TestTargetsThatOverlapAreMadeAnew(t *testing.T) {
	b := newBench(t)
	b.topics.set("t", 3)
	id := b.topics.topics["t"].ID
	b.log = damaged(id, []int32{0, 1, 2}, nil)
	b.log[4].Value = &MemberTarget{Topics: []TopicPartitions{{ID: id, Partitions: []int32{0, 1}}}}
	b.restart()
	b.out = nil
	b.handle("c", &ConsumerHeartbeat{
		Group: "g", Member: "c", Topics: []string{"t"}, Owned: []TopicPartitions{}, MemberIDRequired: true,
	})
	if got := b.out[len(b.out)-1]; !strings.HasPrefix(got, "c: epoch=5") {
		t.Errorf("%s", got)
	}
}

// Records of before KIP-1251 have no epochs of partitions, and Kafka writes topics and partitions in any order.
func TestRecordsOfKafkaAreTakenInAnyOrder(t *testing.T) {
	b := newBench(t)
	for _, topic := range []string{"t", "u"} {
		b.topics.set(topic, 3)
	}
	tid, uid := b.topics.topics["t"].ID, b.topics.topics["u"].ID
	has := []TopicPartitions{{ID: uid, Partitions: []int32{2, 0}}, {ID: tid, Partitions: []int32{1, 2, 0}}}
	b.log = []Record{
		{Kind: KindEpoch, Group: "g", Value: &Epoch{Epoch: 9}},
		{Kind: KindPartitions, Group: "g", Value: &Partitions{}},
		{Kind: KindTarget, Group: "g", Value: &Target{Epoch: 9}},
		{Kind: KindMemberTarget, Group: "g", Name: "a", Value: &MemberTarget{Topics: has}},
		{Kind: KindCurrent, Group: "g", Name: "a", Value: &Current{Epoch: 9, PreviousEpoch: 8, Assigned: has}},
		{Kind: KindMember, Group: "g", Name: "a", Value: &Member{Topics: []string{"t", "u"}, RebalanceMillis: 1000}},
		{Kind: KindCurrent, Group: "g", Name: "gone"},
		{Kind: KindMember, Group: "other"},
	}
	b.restart()
	b.out = nil
	b.handle("a", &ConsumerDescribe{Group: "g"})
	b.handle("a", &CommitOffsets{Group: "g", Member: "a", Generation: 8, KnowsGroupNotFound: true, Retention: -1,
		Partitions: []CommitPartition{{Topic: "t", TopicID: tid, Partition: 1, Offset: 1}}})
	b.handle("a", &CommitOffsets{Group: "g", Member: "a", Generation: 9, KnowsGroupNotFound: true, Retention: -1,
		Partitions: []CommitPartition{{Topic: "t", TopicID: tid, Partition: 1, Offset: 1}}})
	want := []string{
		"a: Stable epoch=9 target=9 assignor=uniform a(epoch=9 topics=t,u has=t:0,1,2/u:0,2 target=u:2,0/t:1,2,0)",
		"a: committed t-1=STALE_MEMBER_EPOCH",
		"log: commit g t-1=1",
		"a: committed t-1=NONE",
	}
	if got := strings.Join(b.out, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("%s", got)
	}
}
