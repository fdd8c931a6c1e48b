package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// DeleteTopics, versions 1 to 6.
//
//	v3  deletion that is switched off has an error of its own
//	v5  error messages
//	v6  topics by id too (KIP-516)

func handleDeleteTopics(b *Broker, r *request) {
	req := r.msg.(*kmsg.DeleteTopicsRequest)
	resp := req.ResponseKind().(*kmsg.DeleteTopicsResponse)
	d := newTopicDeletion(req, b.image())
	if !b.static.Bool("delete.topic.enable") {
		code := protocol.TopicDeletionDisabled
		if r.version() < 3 {
			code = protocol.InvalidRequest
		}
		for _, ref := range d.cmd.Topics {
			d.answer(ref.Name, ref.ID, protocol.Errorf(code, "delete.topic.enable is false"))
		}
		d.cmd.Topics = nil
	}
	if len(d.cmd.Topics) > 0 {
		ctx, cancel := adminContext(r, req.TimeoutMillis)
		defer cancel()
		reply, err := b.propose(ctx, d.cmd)
		d.take(reply, err)
	}
	resp.Topics = d.out
	r.Reply(resp)
}

// topicDeletion sorts out which of the topics that a request names can be asked of the controller.
type topicDeletion struct {
	cmd meta.DeleteTopics
	out []kmsg.DeleteTopicsResponseTopic
}

func newTopicDeletion(req *kmsg.DeleteTopicsRequest, im *meta.Image) *topicDeletion {
	d := &topicDeletion{}
	names, ids := map[string]int{}, map[protocol.TopicID]int{}
	topics := req.Topics
	if req.Version < 6 {
		for _, name := range req.TopicNames {
			topics = append(topics, kmsg.DeleteTopicsRequestTopic{Topic: &name})
		}
	}
	for _, t := range topics {
		if t.Topic != nil {
			names[*t.Topic]++
		} else {
			ids[t.TopicID]++
		}
	}
	for _, t := range topics { // a topic that comes by name and by id is answered once, and stays
		if t.Topic == nil || t.TopicID != [16]byte{} || names[*t.Topic] != 1 {
			continue
		}
		if known := im.Topic(*t.Topic); known != nil && ids[known.ID] > 0 {
			names[known.Name], ids[known.ID] = -1, -1
			d.answer(known.Name, known.ID, protocol.Errorf(protocol.InvalidRequest,
				"topic %q is in the request by name and by id", known.Name))
		}
	}
	for _, t := range topics {
		d.add(t, names, ids)
	}
	return d
}

// add takes in one topic. names and ids count how often each comes; -1 stands for one that has been answered.
func (d *topicDeletion) add(t kmsg.DeleteTopicsRequestTopic, names map[string]int, ids map[protocol.TopicID]int) {
	id := protocol.TopicID(t.TopicID)
	switch {
	case t.Topic == nil && id.IsZero():
		d.answerID(id, protocol.Errorf(protocol.InvalidRequest, "a topic must be named by name or by id"))
	case t.Topic != nil && !id.IsZero():
		d.answer(*t.Topic, id, protocol.Errorf(protocol.InvalidRequest, "a topic is named by name or by id, not by both"))
	case t.Topic != nil && names[*t.Topic] > 1:
		names[*t.Topic] = -1
		d.answer(*t.Topic, id, protocol.Errorf(protocol.InvalidRequest, "topic %q is in the request more than once", *t.Topic))
	case t.Topic != nil && names[*t.Topic] < 0, t.Topic == nil && ids[id] < 0: // answered already
	case t.Topic == nil && ids[id] > 1:
		ids[id] = -1
		d.answerID(id, protocol.Errorf(protocol.InvalidRequest, "topic id %s is in the request more than once", id))
	case t.Topic != nil && *t.Topic == "": // the controller takes an empty name for none
		d.answer("", id, protocol.Errorf(protocol.UnknownTopicOrPartition, "there is no topic without a name"))
	case t.Topic != nil:
		d.cmd.Topics = append(d.cmd.Topics, meta.TopicRef{Name: *t.Topic})
	default:
		d.cmd.Topics = append(d.cmd.Topics, meta.TopicRef{ID: id})
	}
}

func (d *topicDeletion) take(reply meta.Reply, err error) {
	if err != nil {
		for _, ref := range d.cmd.Topics {
			d.answer(ref.Name, ref.ID, adminError(err))
		}
		return
	}
	for _, t := range reply.(meta.DeleteTopicsReply).Topics {
		d.answer(t.Name, t.ID, t.Outcome.Err())
	}
}

// answer answers one topic, with success where err is nil.
func (d *topicDeletion) answer(name string, id protocol.TopicID, err error) {
	d.answerID(id, err)
	if name != "" || id.IsZero() {
		d.out[len(d.out)-1].Topic = &name
	}
}

func (d *topicDeletion) answerID(id protocol.TopicID, err error) {
	rt := kmsg.NewDeleteTopicsResponseTopic()
	rt.TopicID, rt.ErrorCode, rt.ErrorMessage = id, int16(protocol.CodeOf(err)), errorText(err)
	d.out = append(d.out, rt)
}
