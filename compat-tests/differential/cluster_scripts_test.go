//go:build compat

package differential

import (
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Scripts of clusters: three brokers with the ids 1, 2 and 3. Replicas are placed by hand, so that both clusters have them
// in the same places.
var clusterScripts = []script{
	{"cluster-topics", scriptClusterTopics},
	{"cluster-not-leader", scriptNotLeader},
	{"cluster-replica-fetch", scriptReplicaFetch},
	{"cluster-reassign", scriptReassign},
	{"cluster-elect", scriptElect},
	{"cluster-min-isr", scriptMinISR},
	{"cluster-delete-records", scriptDeleteRecordsOfReplicas},
	{"cluster-quorum", scriptQuorum},
	{"cluster-coordinator", scriptClusterCoordinator},
}

// at moves the session to a broker.
func (s *session) at(id int) {
	s.hangUp()
	s.broker = s.brokers[id-1]
}

// everywhere asks each broker the same.
func (s *session) everywhere(label string, f func(label string)) {
	for id := range s.brokers {
		s.at(id + 1)
		f(fmt.Sprintf("%s at %d", label, id+1))
	}
	s.at(1)
}

// placed is a topic with its replicas where the caller wants them, in sync on all of them, known to all brokers.
func (s *session) placed(suffix string, configs []string, replicas ...[]int32) (name string, id [16]byte) {
	name = s.name(suffix)
	uneven := slices.ContainsFunc(replicas, func(rs []int32) bool { return len(rs) != len(replicas[0]) })
	nt := newTopic(name, -1, -1, configs...)
	for p, rs := range replicas {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(p), rs
		if uneven { // which Kafka refuses at first: they are given the others one by one, so that the order is the same
			a.Replicas = rs[:1]
		}
		nt.ReplicaAssignment = append(nt.ReplicaAssignment, a)
	}
	resp := s.quiet(createTopics(7, nt))
	if resp == nil {
		s.fail("create topic %s: no answer", name)
	}
	if code := resp.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode; code != 0 {
		s.fail("create topic %s: error %d", name, code)
	}
	for p, rs := range replicas {
		for n := 2; uneven && n <= len(rs); n++ {
			s.quiet(reassign(10_000, moveTo(name, int32(p), rs[:n]...)))
			s.synced(name, p, rs[0], rs[:n], slices.Sorted(slices.Values(rs[:n])))
		}
	}
	for b := range s.brokers {
		s.at(b + 1)
		s.until("replicas of "+name, metadataOf(12, name), func(r kmsg.Response) bool {
			t := r.(*kmsg.MetadataResponse).Topics[0]
			id = t.TopicID
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 || p.Leader < 0 || len(p.ISR) != len(p.Replicas) {
					return false
				}
			}
			return t.ErrorCode == 0 && len(t.Partitions) == len(replicas)
		})
	}
	for p, rs := range replicas {
		s.at(int(rs[0]))
		s.until("partition of "+name, listOffsets(4, name, int32(p), -1), func(r kmsg.Response) bool {
			return r.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].ErrorCode == 0
		})
	}
	s.at(1)
	return name, id
}

// synced waits until a partition's replicas and in-sync replicas are those, in any order of the latter, at all brokers.
func (s *session) synced(name string, partition int, leader int32, replicas, isr []int32) {
	here := s.broker
	for b, broker := range s.brokers {
		if s.down[b+1] {
			continue
		}
		s.hangUp()
		s.broker = broker
		s.until(fmt.Sprintf("partition %d of %s led by %d with %v of %v", partition, name, leader, isr, replicas),
			metadataOf(12, name), func(r kmsg.Response) bool {
				t := r.(*kmsg.MetadataResponse).Topics[0]
				if len(t.Partitions) <= partition {
					return false
				}
				for _, p := range t.Partitions {
					if int(p.Partition) == partition {
						return (leader == 0 || p.Leader == leader) && slices.Equal(p.Replicas, replicas) &&
							slices.Equal(slices.Sorted(slices.Values(p.ISR)), isr)
					}
				}
				return false
			})
	}
	s.hangUp()
	s.broker = here
}

func scriptClusterTopics(s *session) {
	name, id := s.placed("t", nil, []int32{1, 2, 3}, []int32{2, 3, 1}, []int32{3, 1}, []int32{2})
	s.everywhere("metadata", func(label string) {
		s.each(3, func(v int16) { s.ask(label, metadataOf(v, name)) })
		s.ask(label+" by id", metadataByID(12, id, nil))
		req := kmsg.NewPtrDescribeTopicPartitionsRequest()
		req.ResponsePartitionLimit = 100
		t := kmsg.NewDescribeTopicPartitionsRequestTopic()
		t.Topic = name
		req.Topics = append(req.Topics, t)
		s.ask(label, req)
		s.each(60, func(v int16) {
			req := kmsg.NewPtrDescribeClusterRequest()
			req.Version, req.EndpointType = v, 1
			s.askOnly(label, req, func(r kmsg.Response) { r.(*kmsg.DescribeClusterResponse).ControllerID = 0 })
		})
	})
	refused := func(label string, nt kmsg.CreateTopicsRequestTopic) {
		s.each(19, func(v int16) { s.ask(label, createTopics(v, nt)) })
	}
	by := func(replicas ...[]int32) kmsg.CreateTopicsRequestTopic {
		nt := newTopic(s.name("refused"), -1, -1)
		for p, rs := range replicas {
			a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
			a.Partition, a.Replicas = int32(p), rs
			nt.ReplicaAssignment = append(nt.ReplicaAssignment, a)
		}
		return nt
	}
	refused("more replicas than brokers", newTopic(s.name("refused"), 1, 4))
	refused("no replicas", newTopic(s.name("refused"), 1, 0))
	refused("an unknown broker", by([]int32{1, 9}))
	refused("a broker twice", by([]int32{1, 2, 1}))
	refused("a negative broker", by([]int32{1, -2}))
	refused("different numbers of replicas", by([]int32{1, 2}, []int32{1}))
	refused("an empty assignment", by([]int32{}))
	s.each(37, func(v int16) {
		send := func(label string, t kmsg.CreatePartitionsRequestTopic) {
			req := kmsg.NewPtrCreatePartitionsRequest()
			req.Version, req.TimeoutMillis = v, 10_000
			req.Topics = append(req.Topics, t)
			s.ask(label, req)
		}
		more, _ := s.placed(fmt.Sprint("more-", v), nil, []int32{1, 2})
		send("assigned to other numbers", morePartitions(more, 3, []int32{1, 2}, []int32{1, 2, 3}))
		send("assigned to an unknown broker", morePartitions(more, 2, []int32{1, 9}))
		send("assigned", morePartitions(more, 3, []int32{3, 1}, []int32{2, 3}))
		s.synced(more, 2, 2, []int32{2, 3}, []int32{2, 3})
		s.ask("more", metadataOf(12, more))
	})
}

func scriptNotLeader(s *session) {
	name, id := s.placed("t", nil, []int32{1, 2}, []int32{2, 3}, []int32{3, 1})
	for p, leader := range []int{1, 2, 3} {
		s.at(leader)
		s.write(name, int32(p), simple(3).bytes())
	}
	for p, follower := range []int{2, 3, 1} { // it knows what is committed when it has asked once more
		s.at(follower)
		s.until("committed at the follower", fetch(13, name, id, int32(p), 0), func(r kmsg.Response) bool {
			return r.(*kmsg.FetchResponse).Topics[0].Partitions[0].HighWatermark == 3
		})
	}
	for at := 1; at <= 3; at++ {
		s.at(at)
		for p := range int32(3) {
			label := fmt.Sprintf("partition %d at %d", p, at)
			if int(p)+1 != at {
				s.each(0, func(v int16) { s.ask(label, produceTo(v, name, id, p, simple(1).bytes())) })
			}
			s.each(1, func(v int16) {
				req := fetch(v, name, id, p, 0)
				if int(p)+1 == at || v >= 12 { // below, a follower that is asked without an epoch is asked by its own means
					s.ask(label, req)
				}
			})
			s.each(2, func(v int16) { s.ask(label, listOffsets(v, name, p, -1)) })
			for _, epoch := range []int32{-1, 0, 1} {
				req := kmsg.NewPtrOffsetForLeaderEpochRequest()
				req.Version, req.ReplicaID = 4, -1
				t := kmsg.NewOffsetForLeaderEpochRequestTopic()
				t.Topic = name
				rp := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
				rp.Partition, rp.CurrentLeaderEpoch, rp.LeaderEpoch = p, epoch, 0
				t.Partitions = append(t.Partitions, rp)
				req.Topics = append(req.Topics, t)
				s.ask(fmt.Sprint(label, " epoch ", epoch), req)
			}
			if int(p)+1 != at {
				s.ask(label, deleteRecords(2, name, p, 1))
				s.ask(label, describeProducers(name, p))
			}
		}
	}
}

// scriptReplicaFetch fetches as replicas that are none, or that are not who they say.
func scriptReplicaFetch(s *session) {
	name, id := s.placed("t", nil, []int32{1, 2})
	s.write(name, 0, simple(3).bytes())
	s.synced(name, 0, 1, []int32{1, 2}, []int32{1, 2})
	for _, replica := range []int32{2, 3, 9, -2} {
		for _, broker := range []int64{-1, 0, 1 << 40} {
			s.each(1, func(v int16) {
				req := fetch(v, name, id, 0, 0)
				req.ReplicaID = replica
				req.ReplicaState.ID, req.ReplicaState.Epoch = replica, broker
				s.ask(fmt.Sprintf("replica %d, epoch %d", replica, broker), req)
			})
		}
	}
	s.synced(name, 0, 1, []int32{1, 2}, []int32{1, 2})
}

func reassign(timeout int32, parts ...kmsg.AlterPartitionAssignmentsRequestTopic) *kmsg.AlterPartitionAssignmentsRequest {
	req := kmsg.NewPtrAlterPartitionAssignmentsRequest()
	req.TimeoutMillis, req.Topics = timeout, parts
	return req
}

func moveTo(topic string, partition int32, replicas ...int32) kmsg.AlterPartitionAssignmentsRequestTopic {
	t := kmsg.NewAlterPartitionAssignmentsRequestTopic()
	t.Topic = topic
	p := kmsg.NewAlterPartitionAssignmentsRequestTopicPartition()
	p.Partition, p.Replicas = partition, replicas
	t.Partitions = append(t.Partitions, p)
	return t
}

func reassignments(topics ...kmsg.ListPartitionReassignmentsRequestTopic) *kmsg.ListPartitionReassignmentsRequest {
	req := kmsg.NewPtrListPartitionReassignmentsRequest()
	req.TimeoutMillis, req.Topics = 10_000, topics
	return req
}

func scriptReassign(s *session) {
	name, _ := s.placed("t", nil, []int32{1, 2}, []int32{2, 3}, []int32{3, 1})
	own := func(label string, partitions ...int32) {
		t := kmsg.NewListPartitionReassignmentsRequestTopic()
		t.Topic, t.Partitions = name, partitions
		s.ask(label, reassignments(t))
	}
	own("none goes on", 0, 1, 2)
	s.each(45, func(v int16) {
		ask := func(label string, req *kmsg.AlterPartitionAssignmentsRequest) {
			req.Version = v
			s.ask(label, req)
		}
		ask("cancel what does not go on", reassign(10_000, moveTo(name, 0)))
		nulled := moveTo(name, 0)
		nulled.Partitions[0].Replicas = nil
		ask("cancel by null", reassign(10_000, nulled))
		empty := moveTo(name, 0)
		empty.Partitions[0].Replicas = []int32{}
		ask("to nobody", reassign(10_000, empty))
		ask("to an unknown broker", reassign(10_000, moveTo(name, 0, 1, 9)))
		ask("to a broker twice", reassign(10_000, moveTo(name, 0, 1, 2, 1)))
		ask("to a negative broker", reassign(10_000, moveTo(name, 0, 1, -3)))
		ask("of an unknown partition", reassign(10_000, moveTo(name, 7, 1, 2)))
		ask("of an unknown topic", reassign(10_000, moveTo(s.name("none"), 0, 1, 2)))
		ask("without a timeout", reassign(0, moveTo(name, 0, 1, 2)))
		ask("to where it is", reassign(10_000, moveTo(name, 0, 1, 2)))
		s.synced(name, 0, 1, []int32{1, 2}, []int32{1, 2})
		if v >= 1 {
			keep := reassign(10_000, moveTo(name, 1, 2, 3, 1))
			keep.AllowReplicationFactorChange = false
			ask("to more, which is not allowed", keep)
		}
		ask("to more", reassign(10_000, moveTo(name, 1, 2, 3, 1)))
		s.synced(name, 1, 2, []int32{2, 3, 1}, []int32{1, 2, 3})
		ask("to fewer", reassign(10_000, moveTo(name, 1, 2, 3)))
		s.synced(name, 1, 2, []int32{2, 3}, []int32{2, 3})
		ask("to others in the same place", reassign(10_000, moveTo(name, 2, 1, 3)))
		s.synced(name, 2, 0, []int32{1, 3}, []int32{1, 3})
		ask("to another leader", reassign(10_000, moveTo(name, 2, 2, 1)))
		s.synced(name, 2, 0, []int32{2, 1}, []int32{1, 2})
		ask("back", reassign(10_000, moveTo(name, 2, 3, 1)))
		s.synced(name, 2, 0, []int32{3, 1}, []int32{1, 3})
		ask("two partitions, one of them wrong", reassign(10_000, moveTo(name, 0, 2, 1), moveTo(name, 2, 9)))
		s.synced(name, 0, 0, []int32{2, 1}, []int32{1, 2})
		ask("and back", reassign(10_000, moveTo(name, 0, 1, 2)))
		s.synced(name, 0, 0, []int32{1, 2}, []int32{1, 2})
	})
	own("none goes on any more", 0, 1, 2, 9)
	s.ask("of an unknown topic", reassignments(func() kmsg.ListPartitionReassignmentsRequestTopic {
		t := kmsg.NewListPartitionReassignmentsRequestTopic()
		t.Topic, t.Partitions = s.name("none"), []int32{0}
		return t
	}()))
	s.ask("all", reassignments())
}

func elect(v int16, kind int8, topic string, partitions ...int32) *kmsg.ElectLeadersRequest {
	req := kmsg.NewPtrElectLeadersRequest()
	req.Version, req.TimeoutMillis, req.ElectionType = v, 10_000, kind
	t := kmsg.NewElectLeadersRequestTopic()
	t.Topic, t.Partitions = topic, partitions
	req.Topics = append(req.Topics, t)
	return req
}

func scriptElect(s *session) {
	name, _ := s.placed("t", nil, []int32{1, 2}, []int32{2, 3}, []int32{3})
	s.each(43, func(v int16) {
		s.ask("preferred, which they are", elect(v, 0, name, 0, 1, 2))
		s.ask("preferred of an unknown partition", elect(v, 0, name, 9))
		s.ask("preferred of an unknown topic", elect(v, 0, s.name("none"), 0))
		s.ask("a partition twice", elect(v, 0, name, 0, 0))
		if v >= 1 {
			s.ask("unclean, which is not needed", elect(v, 1, name, 0, 1, 2))
			s.ask("a kind that there is not", elect(v, 7, name, 0))
		}
		s.quiet(reassign(10_000, moveTo(name, 0, 2, 1)))
		s.synced(name, 0, 1, []int32{2, 1}, []int32{1, 2})
		s.ask("preferred, which it is not", elect(v, 0, name, 0, 1))
		s.synced(name, 0, 2, []int32{2, 1}, []int32{1, 2})
		s.ask("elected", metadataOf(12, name))
		s.quiet(reassign(10_000, moveTo(name, 0, 1, 2)))
		s.synced(name, 0, 2, []int32{1, 2}, []int32{1, 2})
		s.ask("preferred again", elect(v, 0, name, 0))
		s.synced(name, 0, 1, []int32{1, 2}, []int32{1, 2})
	})
}

func scriptMinISR(s *session) {
	name, id := s.placed("three", []string{"min.insync.replicas=3"}, []int32{1, 2}, []int32{1, 2, 3})
	four, fourID := s.placed("four", []string{"min.insync.replicas=4"}, []int32{1, 2, 3})
	s.each(0, func(v int16) {
		s.ask("as many as there are", produceTo(v, name, id, 0, simple(1).bytes()))
		s.ask("as many as are asked for", produceTo(v, name, id, 1, simple(1).bytes()))
		s.ask("more than there are", produceTo(v, four, fourID, 0, simple(1).bytes()))
	})
	s.ask("what is there", fetch(12, name, id, 0, 0))
}

func scriptDeleteRecordsOfReplicas(s *session) {
	name, id := s.placed("t", nil, []int32{1, 2, 3})
	for range 4 {
		s.write(name, 0, simple(5).bytes())
	}
	s.ask("deletes", deleteRecords(2, name, 0, 7))
	s.ask("offsets", listOffsets(7, name, 0, -2))
	s.ask("deletes all", deleteRecords(2, name, 0, -1))
	s.ask("offsets", listOffsets(7, name, 0, -2))
	s.ask("what is left", fetch(12, name, id, 0, 7))
	for at := 2; at <= 3; at++ {
		s.at(at)
		s.until("the follower has deleted", fetchAt(name, id, 0), func(r kmsg.Response) bool {
			return r.(*kmsg.FetchResponse).Topics[0].Partitions[0].ErrorCode == 1
		})
		s.ask("below the start at a follower", fetchAt(name, id, 0))
	}
}

// fetchAt is a consumer's Fetch that a follower answers.
func fetchAt(name string, id [16]byte, offset int64) *kmsg.FetchRequest {
	return fetch(12, name, id, 0, offset)
}

func scriptQuorum(s *session) {
	describe := func(topic string, partitions ...int32) *kmsg.DescribeQuorumRequest {
		req := kmsg.NewPtrDescribeQuorumRequest()
		t := kmsg.NewDescribeQuorumRequestTopic()
		t.Topic = topic
		for _, p := range partitions {
			rp := kmsg.NewDescribeQuorumRequestTopicPartition()
			rp.Partition = p
			t.Partitions = append(t.Partitions, rp)
		}
		req.Topics = append(req.Topics, t)
		return req
	}
	s.everywhere("quorum", func(label string) {
		s.each(55, func(v int16) {
			req := describe("__cluster_metadata", 0)
			req.Version = v
			s.askOnly(label, req, keepQuorum)
			other := describe("__cluster_metadata", 1)
			other.Version = v
			s.ask(label+", another partition", other)
			topic := describe(s.name("none"), 0)
			topic.Version = v
			s.ask(label+", another topic", topic)
		})
	})
	unregister := func(id int32) *kmsg.UnregisterBrokerRequest {
		req := kmsg.NewPtrUnregisterBrokerRequest()
		req.BrokerID = id
		return req
	}
	s.ask("unregister an unknown broker", unregister(77))
	s.ask("unregister no broker", unregister(-1))
}

// keepQuorum leaves of a quorum who is in it.
func keepQuorum(r kmsg.Response) {
	resp := r.(*kmsg.DescribeQuorumResponse)
	for i := range resp.Topics {
		for j := range resp.Topics[i].Partitions {
			p := &resp.Topics[i].Partitions[j]
			p.LeaderID, p.LeaderEpoch, p.HighWatermark = 0, 0, 0
			for _, list := range [][]kmsg.DescribeQuorumResponseTopicPartitionReplicaState{p.CurrentVoters, p.Observers} {
				for k := range list {
					v := &list[k]
					v.LogEndOffset, v.LastFetchTimestamp, v.LastCaughtUpTimestamp = 0, 0, 0
				}
			}
		}
	}
}

func scriptClusterCoordinator(s *session) {
	group := s.name("group")
	name, _ := s.placed("t", nil, []int32{1, 2, 3})
	var at int32
	find := func() *kmsg.FindCoordinatorRequest {
		req := kmsg.NewPtrFindCoordinatorRequest()
		req.Version, req.CoordinatorKeys = 4, []string{group}
		return req
	}
	s.until("the coordinator", find(), func(r kmsg.Response) bool {
		c := r.(*kmsg.FindCoordinatorResponse).Coordinators[0]
		at = c.NodeID
		return c.ErrorCode == 0
	})
	for id := int32(1); id <= 3; id++ {
		s.at(int(id))
		s.until("the coordinator", find(), func(r kmsg.Response) bool {
			return r.(*kmsg.FindCoordinatorResponse).Coordinators[0].NodeID == at
		})
	}
	s.at(int(at))
	s.coordinate(group)
	s.ask("commits at the coordinator", commit(8, group, "", -1, name, 0, 5))
	s.ask("fetches at the coordinator", fetchOffsets(7, group, name, 0))
	s.at(int(at)%3 + 1)
	s.each(8, func(v int16) {
		if v <= 9 {
			s.ask("commits elsewhere", commit(v, group, "", -1, name, 0, 6))
		}
	})
	s.ask("fetches elsewhere", fetchOffsets(7, group, name, 0))
	s.describe("describes elsewhere", 6, group)
	s.ask("beats elsewhere", heartbeat(4, group, "m", 1))
	s.at(1)
}
