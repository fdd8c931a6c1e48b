package broker

import (
	"context"
	"encoding/binary"
	"math"
	"net"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster"
	"moldau.io/moldau/protocol"
)

// DescribeQuorum, versions 0 to 2 (KIP-595, KIP-836, KIP-853): who keeps the metadata, as the leader of the quorum sees it.
//
//	v1  when each was last heard of, and last had everything
//	v2  directory ids, the nodes' addresses, error messages
//
// The metadata log is the one partition of __cluster_metadata. A member's directory id is its id in the quorum, which is drawn
// anew with each folder.

// metadataLog is the topic by which Kafka's tools name the metadata log.
const metadataLog = "__cluster_metadata"

func handleDescribeQuorum(b *Broker, r *request) {
	req := r.msg.(*kmsg.DescribeQuorumRequest)
	resp := req.ResponseKind().(*kmsg.DescribeQuorumResponse)
	resp.ErrorMessage = new(string) // Kafka never answers null
	if len(req.Topics) != 1 || req.Topics[0].Topic != metadataLog || len(req.Topics[0].Partitions) != 1 ||
		req.Topics[0].Partitions[0].Partition != 0 {
		resp.Topics = notOfTheQuorum(req)
		r.Reply(resp)
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, defaultTimeout)
	defer cancel()
	st, err := b.node.Quorum(ctx)
	if err != nil {
		resp.ErrorCode = int16(protocol.RequestTimedOut)
		resp.ErrorMessage = errorText(err)
		r.Reply(resp)
		return
	}
	rp := kmsg.NewDescribeQuorumResponseTopicPartition()
	rp.ErrorMessage = new(string)
	rp.LeaderID, rp.LeaderEpoch = int32(st.Leader), int32(min(st.Term, math.MaxInt32))
	rp.HighWatermark = st.Commit + 1
	for _, m := range st.Members {
		if m.Broker < 0 {
			continue // on its way: it has no id yet by which anybody could call it
		}
		s := stateInQuorum(st, m)
		if m.Voter {
			rp.CurrentVoters = append(rp.CurrentVoters, s)
		} else {
			rp.Observers = append(rp.Observers, s)
		}
		if m.Voter {
			resp.Nodes = append(resp.Nodes, nodeOfQuorum(m))
		}
	}
	rt := kmsg.NewDescribeQuorumResponseTopic()
	rt.Topic = metadataLog
	rt.Partitions = append(rt.Partitions, rp)
	resp.Topics = append(resp.Topics, rt)
	r.Reply(resp)
}

// notOfTheQuorum refuses everything that is asked for: there is one partition, and it is asked for alone.
func notOfTheQuorum(req *kmsg.DescribeQuorumRequest) []kmsg.DescribeQuorumResponseTopic {
	var out []kmsg.DescribeQuorumResponseTopic
	for _, t := range req.Topics {
		rt := kmsg.NewDescribeQuorumResponseTopic()
		rt.Topic = t.Topic
		for _, p := range t.Partitions {
			rp := kmsg.NewDescribeQuorumResponseTopicPartition()
			rp.Partition, rp.ErrorCode = p.Partition, int16(protocol.UnknownTopicOrPartition)
			text := protocol.UnknownTopicOrPartition.Message()
			rp.ErrorMessage = &text
			rt.Partitions = append(rt.Partitions, rp)
		}
		out = append(out, rt)
	}
	return out
}

func stateInQuorum(st cluster.QuorumStatus, m cluster.QuorumMember) kmsg.DescribeQuorumResponseTopicPartitionReplicaState {
	s := kmsg.NewDescribeQuorumResponseTopicPartitionReplicaState()
	s.ReplicaID = int32(m.Broker)
	binary.BigEndian.PutUint64(s.ReplicaDirectoryID[8:], m.Quorum)
	s.LogEndOffset = m.End
	if m.End >= 0 {
		s.LogEndOffset++ // the offset behind the last entry
	}
	s.LastFetchTimestamp, s.LastCaughtUpTimestamp = millisOrNone(m.Heard), millisOrNone(m.CaughtUp)
	return s
}

func millisOrNone(t time.Time) int64 {
	if t.IsZero() {
		return -1
	}
	return t.UnixMilli()
}

// nodeOfQuorum is where a voter is reached by the others.
func nodeOfQuorum(m cluster.QuorumMember) kmsg.DescribeQuorumResponseNode {
	n := kmsg.NewDescribeQuorumResponseNode()
	n.NodeID = int32(m.Broker)
	host, port, err := net.SplitHostPort(m.Addr)
	if err != nil {
		return n
	}
	l := kmsg.NewDescribeQuorumResponseNodeListener()
	l.Name, l.Host = "CONTROLLER", host // as it is called where Kafka has a listener of its own for this
	if p, err := strconv.ParseUint(port, 10, 16); err == nil {
		l.Port = uint16(p)
	}
	n.Listeners = append(n.Listeners, l)
	return n
}
