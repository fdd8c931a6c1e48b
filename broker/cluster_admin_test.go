package broker_test

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
)

// place makes a topic with its replicas on the brokers that the caller names, and waits until all brokers know it.
func place(t *testing.T, brokers []*brokertest.Broker, name string, replicas ...[]int32) {
	t.Helper()
	req := kmsg.NewPtrCreateTopicsRequest()
	req.TimeoutMillis = 10_000
	topic := kmsg.NewCreateTopicsRequestTopic()
	topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, -1, -1
	for p, rs := range replicas {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(p), rs
		topic.ReplicaAssignment = append(topic.ReplicaAssignment, a)
	}
	req.Topics = append(req.Topics, topic)
	got := brokers[0].Dial().Do(brokertest.At(7, req)).(*kmsg.CreateTopicsResponse)
	if got.Topics[0].ErrorCode != 0 {
		t.Fatalf("%+v", got.Topics[0])
	}
	for p, rs := range replicas {
		awaitReplicas(brokers, name, int32(p), rs)
	}
}

// awaitReplicas waits until a partition is on these brokers and in sync on all of them, as all brokers say.
func awaitReplicas(brokers []*brokertest.Broker, name string, partition int32, replicas []int32) {
	for _, b := range brokers {
		b.T.Helper()
		b.AwaitMetadata(name+" on its replicas", func(m *kmsg.MetadataResponse) bool {
			for _, t := range m.Topics {
				for _, p := range t.Partitions {
					if *t.Topic == name && p.Partition == partition {
						return slices.Equal(p.Replicas, replicas) && len(p.ISR) == len(replicas)
					}
				}
			}
			return false
		})
	}
}

func reassignTo(timeout int32, name string, partition int32, replicas ...int32) *kmsg.AlterPartitionAssignmentsRequest {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.TimeoutMillis = timeout
	t := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	t.Topic = name
	p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	p.Partition, p.Replicas = partition, replicas
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func TestPartitionsMoveToOtherBrokers(t *testing.T) {
	brokers := brokertest.StartCluster(t, 3, brokertest.Options{})
	place(t, brokers, "a", []int32{1, 2})
	c := brokers[1].Dial()
	ask := func(req *kmsg.AlterPartitionAssignmentsRequest) protocol.Code {
		t.Helper()
		r := c.Do(brokertest.Latest(req)).(*kmsg.AlterPartitionAssignmentsResponse)
		if r.ErrorCode != 0 {
			return protocol.Code(r.ErrorCode)
		}
		return protocol.Code(r.Topics[0].Partitions[0].ErrorCode)
	}
	if code := ask(reassignTo(10_000, "a", 0, 1, 9)); code != protocol.InvalidReplicaAssignment {
		t.Errorf("to an unknown broker: %v", code)
	}
	if code := ask(reassignTo(0, "a", 0, 3)); code != protocol.RequestTimedOut {
		t.Errorf("without any time: %v", code)
	}
	keep := reassignTo(10_000, "a", 0, 3, 2, 1)
	keep.AllowReplicationFactorChange = false
	if code := ask(keep); code != protocol.InvalidReplicationFactor {
		t.Errorf("to more than there are: %v", code)
	}
	keep.AllowReplicationFactorChange = true
	if code := ask(keep); code != protocol.None {
		t.Errorf("to more: %v", code)
	}
	awaitReplicas(brokers, "a", 0, []int32{3, 2, 1})

	elect := kmsg.NewPtrElectLeadersRequest()
	elect.TimeoutMillis = 10_000
	elected := c.Do(brokertest.Latest(elect)).(*kmsg.ElectLeadersResponse)
	if len(elected.Topics) == 0 || elected.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("%+v", elected)
	}
	for _, b := range brokers {
		b.AwaitMetadata("the preferred leader", func(m *kmsg.MetadataResponse) bool {
			return len(m.Topics) == 1 && m.Topics[0].Partitions[0].Leader == 3
		})
	}
	if code := protocol.Code(c.Do(brokertest.Latest(elect)).(*kmsg.ElectLeadersResponse).ErrorCode); code != protocol.None {
		t.Errorf("an election of nothing: %v", code)
	}
	elect.ElectionType = 7
	if code := protocol.Code(c.Do(brokertest.Latest(elect)).(*kmsg.ElectLeadersResponse).ErrorCode); code != protocol.InvalidRequest {
		t.Errorf("an election of another kind: %v", code)
	}
}

func TestAMoveToADeadBrokerIsListedAndCancelled(t *testing.T) {
	brokers := brokertest.StartCluster(t, 3, brokertest.Options{})
	place(t, brokers, "a", []int32{1}, []int32{2})
	brokers[2].Kill()
	c := brokers[0].Dial()
	move := func(replicas ...int32) {
		t.Helper()
		r := c.Do(brokertest.At(0, reassignTo(10_000, "a", 0, replicas...))).(*kmsg.AlterPartitionAssignmentsResponse)
		if r.ErrorCode != 0 || r.Topics[0].Partitions[0].ErrorCode != 0 {
			t.Fatalf("to %v: %+v", replicas, r)
		}
	}
	list := func() []kmsg.ListPartitionReassignmentsResponseTopic {
		return c.Do(kmsg.NewPtrListPartitionReassignmentsRequest()).(*kmsg.ListPartitionReassignmentsResponse).Topics
	}
	move(3)
	got := list()
	if len(got) != 1 || got[0].Topic != "a" || len(got[0].Partitions) != 1 {
		t.Fatalf("%+v", got)
	}
	if p := got[0].Partitions[0]; p.Partition != 0 || !slices.Equal(p.Replicas, []int32{3, 1}) ||
		!slices.Equal(p.AddingReplicas, []int32{3}) || !slices.Equal(p.RemovingReplicas, []int32{1}) {
		t.Errorf("%+v", p)
	}
	move() // null: back
	if got := list(); len(got) != 0 {
		t.Errorf("after it was cancelled: %+v", got)
	}
	unregister := kmsg.NewPtrUnregisterBrokerRequest()
	for _, want := range []protocol.Code{protocol.None, protocol.BrokerIDNotRegistered} {
		unregister.BrokerID = 3
		if r := c.Do(unregister).(*kmsg.UnregisterBrokerResponse); protocol.Code(r.ErrorCode) != want {
			t.Errorf("unregister: %v (%v), want %v", protocol.Code(r.ErrorCode), r.ErrorMessage, want)
		}
	}
}

func TestTheQuorumIsTheSameAtAllBrokers(t *testing.T) {
	brokers := brokertest.StartCluster(t, 4, brokertest.Options{})
	st, err := brokers[0].Quorum(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	describe := func(b *brokertest.Broker, version int16, topic string) *kmsg.DescribeQuorumResponse {
		req := kmsg.NewPtrDescribeQuorumRequest()
		rt := kmsg.NewDescribeQuorumRequestTopic()
		rt.Topic, rt.Partitions = topic, []kmsg.DescribeQuorumRequestTopicPartition{{}}
		req.Topics = append(req.Topics, rt)
		return b.Dial().Do(brokertest.At(version, req)).(*kmsg.DescribeQuorumResponse)
	}
	for _, b := range brokers {
		for v := range int16(3) {
			r := describe(b, v, "__cluster_metadata")
			p := r.Topics[0].Partitions[0]
			if p.LeaderID != int32(st.Leader) || len(p.CurrentVoters) != 3 || len(p.Observers) != 1 || p.HighWatermark < 1 {
				t.Fatalf("v%d: %+v", v, p)
			}
			if v < 2 {
				continue
			}
			for _, n := range r.Nodes {
				if len(n.Listeners) != 1 || n.Listeners[0].Port == 0 {
					t.Errorf("%+v is nowhere", n)
				}
			}
			for _, s := range p.CurrentVoters {
				if binary.BigEndian.Uint64(s.ReplicaDirectoryID[8:]) == 0 || s.LogEndOffset < 1 {
					t.Errorf("%+v", s)
				}
				if heard := time.UnixMilli(s.LastFetchTimestamp); time.Since(heard) > time.Hour {
					t.Errorf("%d was heard of at %v", s.ReplicaID, heard)
				}
			}
		}
	}
	if r := describe(brokers[0], 2, "a"); protocol.Code(r.Topics[0].Partitions[0].ErrorCode) != protocol.UnknownTopicOrPartition {
		t.Errorf("%+v", r)
	}
}
