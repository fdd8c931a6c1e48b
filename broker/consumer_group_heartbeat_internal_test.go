package broker

import (
	"reflect"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/coordinator/group"
)

func TestWhatAMemberOwnsIsPutInOrder(t *testing.T) {
	type topic = kmsg.ConsumerGroupHeartbeatRequestTopic
	a, b := [16]byte{1}, [16]byte{2}
	got := owned([]topic{{TopicID: b, Partitions: []int32{3}}, {TopicID: a, Partitions: []int32{2, 1, 2}}, {TopicID: b, Partitions: []int32{0, 3}}})
	want := []group.TopicPartitions{{ID: a, Partitions: []int32{1, 2}}, {ID: b, Partitions: []int32{0, 3}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	if owned(nil) != nil {
		t.Error("null became empty: it says that nothing has changed")
	}
	if none := owned([]topic{}); none == nil || len(none) != 0 {
		t.Error("empty became null: it says that the member has given back all")
	}
	if subscription(nil) != nil || subscription([]string{}) == nil {
		t.Error("null and empty subscriptions are not the same")
	}
}
