package broker

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// CreatePartitions, versions 0 to 3. They differ in their encoding and in throttling only.

func handleCreatePartitions(b *Broker, r *request) {
	req := r.msg.(*kmsg.CreatePartitionsRequest)
	resp := req.ResponseKind().(*kmsg.CreatePartitionsResponse)
	answer := func(name string, err error) {
		rt := kmsg.NewCreatePartitionsResponseTopic()
		rt.Topic, rt.ErrorCode = name, int16(protocol.CodeOf(err))
		if !errors.Is(err, protocol.UnknownTopicOrPartition) { // the code says it all, and so Kafka thinks
			rt.ErrorMessage = errorText(err)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	times := map[string]int{}
	for _, t := range req.Topics {
		times[t.Topic]++
	}
	cmd := meta.CreatePartitions{ValidateOnly: req.ValidateOnly}
	for _, t := range req.Topics {
		switch times[t.Topic] {
		case 0: // answered already
		case 1:
			cmd.Topics = append(cmd.Topics, morePartitions(t))
		default:
			times[t.Topic] = 0
			answer(t.Topic, protocol.Errorf(protocol.InvalidRequest, "topic %q is in the request more than once", t.Topic))
		}
	}
	ctx, cancel := adminContext(r, req.TimeoutMillis)
	defer cancel()
	reply, err := b.propose(ctx, cmd)
	if err != nil {
		for _, t := range cmd.Topics {
			answer(t.Name, adminError(err))
		}
		r.Reply(resp)
		return
	}
	for _, t := range reply.(meta.CreatePartitionsReply).Topics {
		answer(t.Name, t.Outcome.Err())
	}
	r.Reply(resp)
}

func morePartitions(t kmsg.CreatePartitionsRequestTopic) meta.MorePartitions {
	more := meta.MorePartitions{Name: t.Topic, Count: t.Count, Assigned: t.Assignment != nil}
	for _, a := range t.Assignment {
		more.Assignments = append(more.Assignments, toBrokerIDs(a.Replicas))
	}
	return more
}
