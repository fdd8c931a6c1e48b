package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// CreateTopics, versions 2 to 7.
//
//	v4  partition count and replication factor of -1 ask for the cluster's defaults (so they do here in v2 and v3)
//	v5  what the topic was made with, configuration and all, in the answer (KIP-525)
//	v7  the topic's id in the answer

func handleCreateTopics(b *Broker, r *request) {
	req := r.msg.(*kmsg.CreateTopicsRequest)
	resp := req.ResponseKind().(*kmsg.CreateTopicsResponse)
	cmd := meta.CreateTopics{ValidateOnly: req.ValidateOnly}
	var refused []kmsg.CreateTopicsResponseTopic
	times := map[string]int{}
	for _, t := range req.Topics {
		times[t.Topic]++
	}
	for _, t := range req.Topics {
		switch times[t.Topic] {
		case 0: // answered already
		case 1:
			cmd.Topics = append(cmd.Topics, newTopic(t))
		default:
			times[t.Topic] = 0
			refused = append(refused, refusedTopic(t.Topic,
				protocol.Errorf(protocol.InvalidRequest, "topic %q is in the request more than once", t.Topic)))
		}
	}
	ctx, cancel := adminContext(r, req.TimeoutMillis)
	defer cancel()
	reply, err := b.propose(ctx, cmd)
	if err != nil {
		for _, t := range cmd.Topics {
			resp.Topics = append(resp.Topics, refusedTopic(t.Name, adminError(err)))
		}
		resp.Topics = append(resp.Topics, refused...)
		r.Reply(resp)
		return
	}
	view := config.NewView(b.static, b.image())
	for _, t := range reply.(meta.CreateTopicsReply).Topics {
		if err := t.Outcome.Err(); err != nil {
			resp.Topics = append(resp.Topics, refusedTopic(t.Name, err))
			continue
		}
		resp.Topics = append(resp.Topics, createdTopic(t, view))
	}
	resp.Topics = append(resp.Topics, refused...)
	r.Reply(resp)
}

func newTopic(t kmsg.CreateTopicsRequestTopic) meta.NewTopic {
	nt := meta.NewTopic{Name: t.Topic, Partitions: t.NumPartitions, ReplicationFactor: t.ReplicationFactor}
	for _, a := range t.ReplicaAssignment {
		nt.Assignments = append(nt.Assignments, meta.Assignment{Partition: a.Partition, Replicas: toBrokerIDs(a.Replicas)})
	}
	for _, c := range t.Configs {
		nt.Configs = append(nt.Configs, meta.ConfigPair{Key: c.Name, Value: c.Value})
	}
	return nt
}

func toBrokerIDs(ids []int32) []protocol.BrokerID {
	out := make([]protocol.BrokerID, len(ids))
	for i, id := range ids {
		out[i] = protocol.BrokerID(id)
	}
	return out
}

func refusedTopic(name string, err error) kmsg.CreateTopicsResponseTopic {
	rt := kmsg.NewCreateTopicsResponseTopic()
	rt.Topic, rt.ErrorCode, rt.ErrorMessage = name, int16(protocol.CodeOf(err)), errorText(err)
	rt.Configs = []kmsg.CreateTopicsResponseTopicConfig{} // null would mean that they are not to be told
	return rt
}

func createdTopic(t meta.CreatedTopic, view config.View) kmsg.CreateTopicsResponseTopic {
	rt := kmsg.NewCreateTopicsResponseTopic()
	rt.Topic, rt.TopicID = t.Name, t.ID
	rt.NumPartitions, rt.ReplicationFactor = t.Partitions, t.ReplicationFactor
	for _, e := range view.TopicEntries(t.Configs) {
		rt.Configs = append(rt.Configs, kmsg.CreateTopicsResponseTopicConfig{
			Name: e.Name, Value: e.Value, ReadOnly: e.ReadOnly, Source: int8(e.Origin), IsSensitive: e.Sensitive,
		})
	}
	return rt
}
