package broker

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/coordinator"
	"moldau.io/moldau/protocol"
)

// FindCoordinator, versions 0 to 6.
//
//	v1  the kind of coordinator: 0 of groups, 1 of transactions, 2 of share groups; an error message
//	v4  several keys (KIP-699), each with its own answer
//	v6  coordinators of share groups may be asked for (KIP-932)
//
// The first question makes the offsets topic and is answered COORDINATOR_NOT_AVAILABLE, as Apache Kafka does: the next one
// is answered (rule 86). There are neither transactions nor share groups yet. A transactional id is refused with
// UNSUPPORTED_VERSION, which clients take as final; a share group's key with INVALID_REQUEST, as Kafka does where share
// groups are off.

const (
	coordinatorOfGroup       int8 = 0
	coordinatorOfTransaction int8 = 1
)

// internalTopicTimeout bounds the making of an internal topic; the client asks again in any case.
const internalTopicTimeout = 5 * time.Second

func handleFindCoordinator(b *Broker, r *request) {
	req := r.msg.(*kmsg.FindCoordinatorRequest)
	resp := req.ResponseKind().(*kmsg.FindCoordinatorResponse)
	kind := coordinatorOfGroup
	if r.version() >= 1 {
		kind = req.CoordinatorType
	}
	c := coordinatorOf{b: b, r: r, im: b.image()}
	if r.version() < 4 {
		e, err := c.find(kind, req.CoordinatorKey)
		resp.NodeID, resp.Host, resp.Port, resp.ErrorCode = int32(e.id), e.host, e.port, int16(protocol.CodeOf(err))
		message := "NONE"
		if err != nil {
			message = err.Error()
		}
		resp.ErrorMessage = &message
		r.Reply(resp)
		return
	}
	resp.Coordinators = make([]kmsg.FindCoordinatorResponseCoordinator, len(req.CoordinatorKeys))
	for i, key := range req.CoordinatorKeys {
		e, err := c.find(kind, key)
		resp.Coordinators[i] = kmsg.FindCoordinatorResponseCoordinator{
			Key: key, NodeID: int32(e.id), Host: e.host, Port: e.port,
			ErrorCode: int16(protocol.CodeOf(err)), ErrorMessage: errorText(err),
		}
		if err == nil {
			resp.Coordinators[i].ErrorMessage = new(string)
		}
	}
	r.Reply(resp)
}

// coordinatorOf answers the keys of one request, all from one image.
type coordinatorOf struct {
	b      *Broker
	r      *request
	im     *meta.Image
	made   bool       // the offsets topic was asked for
	places []endpoint // of the brokers, once they are needed
}

// noEndpoint stands in an answer beside an error.
var noEndpoint = endpoint{id: -1, port: -1}

func (c *coordinatorOf) find(kind int8, key string) (endpoint, error) {
	switch kind {
	case coordinatorOfGroup:
	case coordinatorOfTransaction:
		return noEndpoint, protocol.Errorf(protocol.UnsupportedVersion, "this version has no transactions")
	default:
		return noEndpoint, protocol.Errorf(protocol.InvalidRequest, "there is no coordinator of type %d here", kind)
	}
	topic := c.im.Topic(coordinator.GroupsTopic)
	if topic == nil {
		c.makeTopic()
		return noEndpoint, notAvailable("the topic of the groups is being made")
	}
	place := int(coordinator.PartitionFor(key, int32(len(topic.Partitions))))
	p, _ := c.b.seen(c.r, c.im, topic, place)
	leader := p.Leader
	if c.places == nil {
		c.places = c.b.endpoints(c.r, c.im)
	}
	for _, e := range c.places {
		if e.id == leader && !e.fenced {
			return e, nil
		}
	}
	return noEndpoint, notAvailable("the group's partition has no leader that can be reached by this listener")
}

func notAvailable(why string) error {
	return protocol.Errorf(protocol.CoordinatorNotAvailable, "%s", why)
}

// makeTopic makes the offsets topic, once a request. Brokers that do so at the same moment do no harm.
func (c *coordinatorOf) makeTopic() {
	if c.made {
		return
	}
	c.made = true
	ctx, cancel := context.WithTimeout(c.r.ctx, internalTopicTimeout)
	defer cancel()
	reply, err := c.b.propose(ctx, meta.CreateTopics{Topics: []meta.NewTopic{c.b.offsetsTopic(c.im)}})
	if err == nil {
		err = reply.(meta.CreateTopicsReply).Topics[0].Outcome.Err()
	}
	if err != nil && !errors.Is(err, protocol.TopicAlreadyExists) {
		c.r.log().Warn("the topic of the groups was not made", "topic", coordinator.GroupsTopic, "err", err)
	}
}

// offsetsTopic is __consumer_offsets as Kafka makes it (GroupCoordinator.groupMetadataTopicConfigs).
// offsets.topic.replication.factor is cut to the brokers that there are, where it was not set: its default of 3 would keep a
// small cluster from ever having groups.
func (b *Broker) offsetsTopic(im *meta.Image) meta.NewTopic {
	replicas := b.static.Int("offsets.topic.replication.factor")
	if _, given := b.static.Given("offsets.topic.replication.factor"); !given {
		alive := int64(0)
		for _, br := range im.Brokers() {
			if !br.Fenced {
				alive++
			}
		}
		replicas = max(1, min(replicas, alive))
	}
	set := func(key, value string) meta.ConfigPair { return meta.ConfigPair{Key: key, Value: &value} }
	return meta.NewTopic{
		Name: coordinator.GroupsTopic, Partitions: int32(b.static.Int("offsets.topic.num.partitions")),
		ReplicationFactor: int16(replicas),
		Configs: []meta.ConfigPair{
			set("cleanup.policy", "compact"), set("compression.type", "producer"),
			set("segment.bytes", strconv.FormatInt(b.static.Int("offsets.topic.segment.bytes"), 10)),
		},
	}
}
