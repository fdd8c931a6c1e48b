package broker

import (
	"context"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// Metadata, versions 0 to 13.
//
//	v0   an empty list asks for all topics; from v1 on a null list does, and an empty one for none
//	v1   controller id, racks, internal topics
//	v2   cluster id
//	v4   the client says whether a missing topic may be created
//	v5   offline replicas
//	v7   leader epochs
//	v8   authorized operations: the cluster's in v8 to v10, the topics' from v8 on
//	v10  topic ids in the answer; v12 in the request too
//	v13  an error for the whole answer

// missingTopicTimeout bounds the wait for a topic that a Metadata request has created. Clients ask again when it has passed.
const missingTopicTimeout = 10 * time.Second

func handleMetadata(b *Broker, r *request) {
	req := r.msg.(*kmsg.MetadataRequest)
	resp := req.ResponseKind().(*kmsg.MetadataResponse)
	if code := checkMetadata(req); code != protocol.None {
		resp.ErrorCode, resp.Topics = int16(code), refusedMetadata(req, code)
		r.Reply(resp)
		return
	}
	m := metadataAnswer{b: b, r: r, im: b.image(), version: r.version()}
	m.topics(req, resp)
	m.cluster(req, resp)
	r.Reply(resp)
}

// checkMetadata refuses what Kafka's decoder lets through though no client of that version may ask it.
func checkMetadata(req *kmsg.MetadataRequest) protocol.Code {
	if req.Version < 10 {
		return protocol.None
	}
	for _, t := range req.Topics {
		if req.Version < 12 && (t.Topic == nil || t.TopicID != [16]byte{}) {
			return protocol.InvalidRequest
		}
		if t.Topic == nil && t.TopicID == [16]byte{} {
			return protocol.UnknownServerError
		}
	}
	return protocol.None
}

func refusedMetadata(req *kmsg.MetadataRequest, code protocol.Code) []kmsg.MetadataResponseTopic {
	var topics []kmsg.MetadataResponseTopic
	for _, t := range req.Topics {
		rt := kmsg.NewMetadataResponseTopic()
		rt.ErrorCode, rt.Topic, rt.TopicID = int16(code), t.Topic, t.TopicID
		if rt.Topic == nil {
			rt.Topic = new(string)
		}
		topics = append(topics, rt)
	}
	return topics
}

// metadataAnswer is one answer in the making, all of it from one image.
type metadataAnswer struct {
	b       *Broker
	r       *request
	im      *meta.Image
	version int16
}

// cluster fills in what is not about topics. It comes last, since making a topic takes a newer image.
func (m *metadataAnswer) cluster(req *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) {
	for _, e := range m.b.endpoints(m.r, m.im) {
		if e.fenced {
			continue
		}
		resp.Brokers = append(resp.Brokers, kmsg.MetadataResponseBroker{
			NodeID: int32(e.id), Host: e.host, Port: e.port, Rack: e.rack,
		})
	}
	id := m.im.ClusterID()
	resp.ClusterID = &id
	resp.ControllerID = m.b.someController(m.r, m.im)
	if m.version >= 8 && m.version <= 10 && req.IncludeClusterAuthorizedOperations {
		resp.AuthorizedOperations = clusterOperations
	}
}

func (m *metadataAnswer) topics(req *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) {
	if req.Topics == nil || m.version == 0 && len(req.Topics) == 0 {
		resp.Topics = make([]kmsg.MetadataResponseTopic, 0, len(m.im.Topics()))
		for _, t := range m.im.Topics() {
			resp.Topics = append(resp.Topics, m.topic(t, req))
		}
		return
	}
	byID := false
	for _, t := range req.Topics {
		byID = byID || m.version >= 12 && t.TopicID != [16]byte{}
	}
	if byID {
		m.topicsByID(req, resp)
		return
	}
	missing := m.topicsByName(req, resp)
	if len(missing) > 0 && m.mayCreate(req) {
		m.create(missing)
	}
}

// topicsByID answers each id once, unknown ones first. Names beside ids are passed over, as Kafka does.
func (m *metadataAnswer) topicsByID(req *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) {
	seen := map[[16]byte]bool{}
	var known []kmsg.MetadataResponseTopic
	for _, t := range req.Topics {
		if t.TopicID == [16]byte{} || seen[t.TopicID] {
			continue
		}
		seen[t.TopicID] = true
		if topic := m.im.TopicByID(t.TopicID); topic != nil {
			known = append(known, m.topic(topic, req))
			continue
		}
		rt := kmsg.NewMetadataResponseTopic()
		rt.ErrorCode, rt.TopicID = int16(protocol.UnknownTopicID), t.TopicID
		resp.Topics = append(resp.Topics, rt)
	}
	resp.Topics = append(resp.Topics, known...)
}

// topicsByName answers each name once, and returns the names that could be topics but are not.
func (m *metadataAnswer) topicsByName(req *kmsg.MetadataRequest, resp *kmsg.MetadataResponse) (missing []string) {
	seen := make(map[string]bool, len(req.Topics))
	for _, t := range req.Topics {
		name := *t.Topic
		if seen[name] {
			continue
		}
		seen[name] = true
		if known := m.im.Topic(name); known != nil {
			resp.Topics = append(resp.Topics, m.topic(known, req))
			continue
		}
		rt := kmsg.NewMetadataResponseTopic()
		rt.Topic = &name
		rt.IsInternal = meta.IsInternal(name)
		rt.ErrorCode = int16(protocol.UnknownTopicOrPartition)
		if meta.CheckTopicName(name) != nil {
			rt.ErrorCode = int16(protocol.InvalidTopicException)
		} else {
			missing = append(missing, name)
		}
		resp.Topics = append(resp.Topics, rt)
	}
	return missing
}

func (m *metadataAnswer) mayCreate(req *kmsg.MetadataRequest) bool {
	return (m.version < 4 || req.AllowAutoTopicCreation) && m.b.static.Bool("auto.create.topics.enable")
}

// create makes the missing topics. They are answered as unknown all the same, as Kafka does, so clients ask once more; but
// they can be written to by then, however few retries a client has. One that cannot be made stays unknown; the broker's
// log says why.
func (m *metadataAnswer) create(missing []string) {
	ctx, cancel := context.WithTimeout(m.r.ctx, missingTopicTimeout)
	defer cancel()
	cmd := meta.CreateTopics{}
	for _, name := range missing {
		switch {
		case name == meta.OffsetsTopic:
			cmd.Topics = append(cmd.Topics, m.b.offsetsTopic(m.im))
		case !meta.IsInternal(name): // the other coordinators make their topics when they are there
			cmd.Topics = append(cmd.Topics, meta.NewTopic{Name: name, Partitions: -1, ReplicationFactor: -1})
		}
	}
	reply, err := m.b.propose(ctx, cmd)
	if err != nil {
		m.b.firsts.warn(m.r.log(), "auto-create", "topics were not created", "topics", missing, "err", err)
		return
	}
	for _, t := range reply.(meta.CreateTopicsReply).Topics {
		if code := t.Outcome.Code; code != protocol.None && code != protocol.TopicAlreadyExists { // another client was faster
			m.b.firsts.warn(m.r.log(), "auto-create "+t.Name, "topic was not created", "topic", t.Name, "err", t.Outcome.Err())
		}
	}
	m.im = m.b.image()
}

func (m *metadataAnswer) topic(t *meta.Topic, req *kmsg.MetadataRequest) kmsg.MetadataResponseTopic {
	rt := kmsg.NewMetadataResponseTopic()
	rt.Topic, rt.TopicID, rt.IsInternal = &t.Name, t.ID, t.Internal()
	if m.version >= 8 && req.IncludeTopicAuthorizedOperations {
		rt.AuthorizedOperations = topicOperations
	}
	rt.Partitions = make([]kmsg.MetadataResponseTopicPartition, len(t.Partitions))
	for i := range t.Partitions {
		p, offline := m.b.seen(m.r, m.im, t, i)
		rp := &rt.Partitions[i]
		rp.Partition, rp.LeaderEpoch = int32(i), int32(p.LeaderEpoch)
		rp.Replicas, rp.ISR = brokerIDs(p.Replicas), brokerIDs(p.ISR)
		rp.OfflineReplicas = offline
		if m.version == 0 && len(offline) > 0 { // the oldest clients dial whoever is named
			gone := func(id int32) bool { return slices.Contains(offline, id) }
			rp.Replicas, rp.ISR = slices.DeleteFunc(rp.Replicas, gone), slices.DeleteFunc(rp.ISR, gone)
		}
		rp.Leader, rp.ErrorCode = m.leader(p)
		if m.version == 0 && rp.ErrorCode == 0 && len(rp.OfflineReplicas) > 0 {
			rp.ErrorCode = int16(protocol.ReplicaNotAvailable)
		}
	}
	return rt
}

// leader is the partition's leader if this client can be sent to it.
func (m *metadataAnswer) leader(p meta.Partition) (int32, int16) {
	lead := m.im.Broker(p.Leader)
	if lead == nil || lead.Fenced {
		return -1, int16(protocol.LeaderNotAvailable)
	}
	if _, ok := lead.Listener(m.r.listener()); !ok {
		if m.version >= 6 {
			return -1, int16(protocol.ListenerNotFound)
		}
		return -1, int16(protocol.LeaderNotAvailable)
	}
	return int32(p.Leader), 0
}
