//go:build compat

package differential

import (
	"fmt"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// unrestScripts stop and start brokers of a cluster.
func unrestScripts(t *testing.T) []script {
	return []script{
		{"cluster-follower-down", func(s *session) { scriptFollowerDown(t, s) }},
		{"cluster-leader-down", func(s *session) { scriptLeaderDown(t, s) }},
		{"cluster-all-but-one-down", func(s *session) { scriptAllButOne(t, s) }},
		{"cluster-moves-while-down", func(s *session) { scriptMovesWhileDown(t, s) }},
	}
}

// stop ends a broker in order; resume starts it again. Both wait for nobody but the process itself.
func (s *session) stop(t *testing.T, id int) {
	s.hangUp()
	s.brokers[id-1].Stop(t)
	s.down[id] = true
}

func (s *session) resume(t *testing.T, id int) {
	s.brokers[id-1].Run(t)
	delete(s.down, id)
}

func (s *session) describeTopic(label, name string) {
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	req.ResponsePartitionLimit = 100
	t := kmsg.NewDescribeTopicPartitionsRequestTopic()
	t.Topic = name
	req.Topics = append(req.Topics, t)
	s.ask(label, req)
}

func scriptFollowerDown(t *testing.T, s *session) {
	name, id := s.placed("t", []string{"min.insync.replicas=2"}, []int32{1, 2, 3}, []int32{2, 3}, []int32{1, 3})
	strict, strictID := s.placed("strict", []string{"min.insync.replicas=3"}, []int32{1, 2, 3})
	s.write(name, 0, simple(3).bytes())
	s.stop(t, 3)
	s.synced(name, 0, 1, []int32{1, 2, 3}, []int32{1, 2})
	s.synced(name, 1, 2, []int32{2, 3}, []int32{2})
	s.synced(name, 2, 1, []int32{1, 3}, []int32{1})
	s.synced(strict, 0, 1, []int32{1, 2, 3}, []int32{1, 2})
	for at := 1; at <= 2; at++ {
		s.at(at)
		s.each(3, func(v int16) { s.ask("metadata", metadataOf(v, name)) })
		s.describeTopic("partitions", name)
		s.describeTopic("strict partitions", strict)
	}
	s.at(1)
	s.each(0, func(v int16) {
		s.ask("two of three", produceTo(v, name, id, 0, simple(1).bytes()))
		s.ask("one of two", produceTo(v, name, id, 2, simple(1).bytes()))
		s.ask("two where three must be", produceTo(v, strict, strictID, 0, simple(1).bytes()))
		one := produceTo(v, strict, strictID, 0, simple(1).bytes())
		one.Acks = 1
		s.ask("two where three must be, but only the leader is waited for", one)
	})
	s.ask("more replicas than brokers that run", createTopics(4, newTopic(s.name("refused"), 1, 3)))
	fenced := newTopic(s.name("fenced"), -1, -1)
	for p, rs := range [][]int32{{1, 2}, {3, 1}} {
		a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
		a.Partition, a.Replicas = int32(p), rs
		fenced.ReplicaAssignment = append(fenced.ReplicaAssignment, a)
	}
	s.ask("assigned to a broker that does not run", createTopics(4, fenced))
	s.synced(s.name("fenced"), 1, 1, []int32{3, 1}, []int32{1})
	s.ask("made", metadataOf(12, s.name("fenced")))
	only := newTopic(s.name("nobody"), -1, -1)
	a := kmsg.NewCreateTopicsRequestTopicReplicaAssignment()
	a.Replicas = []int32{3}
	only.ReplicaAssignment = append(only.ReplicaAssignment, a)
	s.ask("assigned only to a broker that does not run", createTopics(4, only))
	s.each(60, func(v int16) {
		req := kmsg.NewPtrDescribeClusterRequest()
		req.Version, req.EndpointType, req.IncludeFencedBrokers = v, 1, true
		s.askOnly("cluster", req, func(r kmsg.Response) { r.(*kmsg.DescribeClusterResponse).ControllerID = 0 })
	})
	s.resume(t, 3)
	s.synced(name, 0, 1, []int32{1, 2, 3}, []int32{1, 2, 3})
	s.synced(name, 1, 2, []int32{2, 3}, []int32{2, 3})
	s.synced(name, 2, 1, []int32{1, 3}, []int32{1, 3})
	s.synced(strict, 0, 1, []int32{1, 2, 3}, []int32{1, 2, 3})
	s.synced(s.name("fenced"), 1, 1, []int32{3, 1}, []int32{1, 3})
	s.describeTopic("whole again", name)
	s.ask("three of three", produceTo(9, strict, strictID, 0, simple(1).bytes()))
}

func scriptLeaderDown(t *testing.T, s *session) {
	name, id := s.placed("t", nil, []int32{3, 1, 2}, []int32{3, 2}, []int32{3})
	s.at(3)
	for p := range int32(3) {
		s.write(name, p, simple(4).bytes())
	}
	s.stop(t, 3)
	s.at(1)
	s.synced(name, 0, 1, []int32{3, 1, 2}, []int32{1, 2})
	s.synced(name, 1, 2, []int32{3, 2}, []int32{2})
	s.until("the last one has no leader", metadataOf(12, name), func(r kmsg.Response) bool {
		for _, p := range r.(*kmsg.MetadataResponse).Topics[0].Partitions {
			if p.Partition == 2 {
				return p.Leader == -1
			}
		}
		return false
	})
	for at := 1; at <= 2; at++ {
		s.at(at)
		s.each(3, func(v int16) { s.ask("metadata", metadataOf(v, name)) })
		s.describeTopic("partitions", name)
		for p := range int32(3) {
			s.ask(fmt.Sprint("offsets of ", p), listOffsets(7, name, p, -1))
			s.ask(fmt.Sprint("records of ", p), fetch(13, name, id, p, 0))
			stale := fetch(13, name, id, p, 0)
			stale.Topics[0].Partitions[0].CurrentLeaderEpoch = 0
			s.ask(fmt.Sprint("records of an epoch that is over of ", p), stale)
		}
		s.each(43, func(v int16) {
			s.ask("preferred, which does not run", elect(v, 0, name, 0, 2))
			if v >= 1 {
				s.ask("unclean, where nobody is", elect(v, 1, name, 2))
			}
		})
	}
	s.at(1)
	s.ask("writes to the new leader", produceTo(9, name, id, 0, simple(2).bytes()))
	s.resume(t, 3)
	s.synced(name, 0, 1, []int32{3, 1, 2}, []int32{1, 2, 3})
	s.synced(name, 1, 2, []int32{3, 2}, []int32{2, 3})
	s.synced(name, 2, 3, []int32{3}, []int32{3})
	s.describeTopic("whole again", name)
	s.ask("preferred", elect(2, 0, name, 0, 1, 2))
	s.synced(name, 0, 3, []int32{3, 1, 2}, []int32{1, 2, 3})
	s.at(3)
	s.ask("records at the old leader", fetch(13, name, id, 0, 0))
	s.ask("records that nobody took over", fetch(13, name, id, 2, 0))
}

// scriptAllButOne has the in-sync set shrink to one, end, and begin again.
func scriptAllButOne(t *testing.T, s *session) {
	name, id := s.placed("t", []string{"min.insync.replicas=2"}, []int32{2, 3})
	loose, _ := s.placed("loose", []string{"unclean.leader.election.enable=true"}, []int32{3, 1})
	s.at(2)
	s.write(name, 0, simple(2).bytes())
	s.stop(t, 3)
	s.at(2)
	s.synced(name, 0, 2, []int32{2, 3}, []int32{2})
	s.synced(loose, 0, 1, []int32{3, 1}, []int32{1})
	s.at(2)
	s.describeTopic("one is left", name)
	s.ask("too few", produceTo(9, name, id, 0, simple(1).bytes()))
	one := produceTo(9, name, id, 0, simple(1).bytes())
	one.Acks = 1
	s.ask("the leader alone", one)
	s.ask("what is committed", fetch(13, name, id, 0, 0))
	s.resume(t, 3)
	s.synced(name, 0, 2, []int32{2, 3}, []int32{2, 3})
	s.synced(loose, 0, 1, []int32{3, 1}, []int32{1, 3})
	s.at(2)
	s.describeTopic("both again", name)
	s.ask("what is committed", fetch(13, name, id, 0, 0))
}

func scriptMovesWhileDown(t *testing.T, s *session) {
	name, _ := s.placed("t", nil, []int32{1, 2}, []int32{2, 1})
	own := func(label string) {
		rt := kmsg.NewListPartitionReassignmentsRequestTopic()
		rt.Topic, rt.Partitions = name, []int32{0, 1}
		s.ask(label, reassignments(rt))
	}
	s.stop(t, 3)
	s.at(1)
	s.ask("to a broker that does not run", reassign(10_000, moveTo(name, 0, 2, 3)))
	s.until("it goes on", reassignments(), func(r kmsg.Response) bool {
		return len(r.(*kmsg.ListPartitionReassignmentsResponse).Topics) == 1
	})
	s.synced(name, 0, 1, []int32{2, 3, 1}, []int32{1, 2})
	own("goes on")
	s.describeTopic("goes on", name)
	s.ask("to another in the middle", reassign(10_000, moveTo(name, 0, 3, 1)))
	own("goes on to another")
	s.describeTopic("goes on to another", name)
	s.ask("cancels", reassign(10_000, moveTo(name, 0)))
	own("is cancelled")
	s.describeTopic("is cancelled", name)
	s.ask("once more", reassign(10_000, moveTo(name, 1, 3, 1)))
	own("goes on again")
	s.resume(t, 3)
	s.synced(name, 1, 0, []int32{3, 1}, []int32{1, 3})
	own("is done")
	s.ask("done", metadataOf(12, name))
}
