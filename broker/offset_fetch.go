package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// OffsetFetch, versions 1 to 10.
//
//	v2   null topics ask for every committed partition; an error for the whole answer, which v1 puts on each partition
//	v5   leader epochs (KIP-320)
//	v7   require_stable: UNSTABLE_OFFSET_COMMIT for a partition that an open transaction commits to (KIP-447)
//	v8   several groups (KIP-709)
//	v9   member id and epoch, which classic groups ignore (KIP-848)
//	v10  topics by id (KIP-848)
//
// Names are not looked up: an offset that was never committed is -1, whether or not the topic exists.

func handleOffsetFetch(b *Broker, r *request) {
	req := r.msg.(*kmsg.OffsetFetchRequest)
	resp := req.ResponseKind().(*kmsg.OffsetFetchResponse)
	if r.version() < 8 {
		fetchOneGroup(b, r, req, resp)
		return
	}
	im := b.image()
	resp.Groups = make([]kmsg.OffsetFetchResponseGroup, len(req.Groups))
	all := newGather(len(req.Groups), func() { r.Reply(resp) })
	for i := range req.Groups {
		f := newOffsetFetch(im, &req.Groups[i], r.version())
		f.ask.Stable = req.RequireStable
		b.groups.Submit(f.ask.Group, &f.ask, func(answer group.Response) {
			resp.Groups[i] = f.answer(answer.(*group.FetchResult))
			all.done()
		})
	}
	all.start()
}

// fetchOneGroup answers the versions that know one group and topics by name.
func fetchOneGroup(b *Broker, r *request, req *kmsg.OffsetFetchRequest, resp *kmsg.OffsetFetchResponse) {
	ask := &group.FetchOffsets{Group: req.Group, Epoch: -1, All: req.Topics == nil && r.version() >= 2, Stable: req.RequireStable}
	for _, t := range req.Topics {
		ask.Topics = append(ask.Topics, group.FetchTopic{Topic: t.Topic, Partitions: t.Partitions})
	}
	b.groups.Submit(req.Group, ask, func(answer group.Response) {
		res := answer.(*group.FetchResult)
		if res.Code != protocol.None {
			if r.version() >= 2 {
				resp.ErrorCode = int16(res.Code)
			} else {
				res.Topics = noOffsets(ask.Topics)
			}
		}
		for _, t := range res.Topics {
			rt := kmsg.OffsetFetchResponseTopic{Topic: t.Topic}
			for _, p := range t.Partitions {
				rp := kmsg.NewOffsetFetchResponseTopicPartition()
				rp.Partition, rp.Offset, rp.LeaderEpoch = p.Partition, int64(p.Offset), int32(p.LeaderEpoch)
				rp.Metadata, rp.ErrorCode = &p.Metadata, int16(orElse(res.Code, p.Code))
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		r.Reply(resp)
	})
}

// noOffsets is what is answered for each partition beside an error.
func noOffsets(topics []group.FetchTopic) []group.FetchedTopic {
	var out []group.FetchedTopic
	for _, t := range topics {
		ft := group.FetchedTopic{Topic: t.Topic, TopicID: t.TopicID}
		for _, p := range t.Partitions {
			ft.Partitions = append(ft.Partitions, group.FetchedPartition{Partition: p, Offset: -1, LeaderEpoch: -1})
		}
		out = append(out, ft)
	}
	return out
}

// offsetFetch is one group of a request.
type offsetFetch struct {
	im      *meta.Image
	byID    bool
	ask     group.FetchOffsets
	unknown []group.FetchTopic // ids that no topic has; answered after the others
}

func newOffsetFetch(im *meta.Image, g *kmsg.OffsetFetchRequestGroup, version int16) *offsetFetch {
	f := &offsetFetch{im: im, byID: version >= 10, ask: group.FetchOffsets{
		Group: g.Group, All: g.Topics == nil, Member: g.MemberID, Epoch: g.MemberEpoch,
	}}
	for _, t := range g.Topics {
		topic := group.FetchTopic{Topic: t.Topic, Partitions: t.Partitions}
		if f.byID {
			topic.TopicID = t.TopicID
			known := im.TopicByID(t.TopicID)
			if known == nil {
				f.unknown = append(f.unknown, topic)
				continue
			}
			topic.Topic = known.Name
		}
		f.ask.Topics = append(f.ask.Topics, topic)
	}
	return f
}

func (f *offsetFetch) answer(res *group.FetchResult) kmsg.OffsetFetchResponseGroup {
	g := kmsg.NewOffsetFetchResponseGroup()
	g.Group, g.ErrorCode = f.ask.Group, int16(res.Code)
	if res.Code != protocol.None {
		return g
	}
	for _, t := range res.Topics {
		if f.byID && f.ask.All {
			known := f.im.Topic(t.Topic)
			if known == nil {
				continue // there is no id to name it by
			}
			t.TopicID = known.ID
		}
		g.Topics = append(g.Topics, f.topic(t, protocol.None))
	}
	for _, t := range noOffsets(f.unknown) {
		g.Topics = append(g.Topics, f.topic(t, protocol.UnknownTopicID))
	}
	return g
}

func (f *offsetFetch) topic(t group.FetchedTopic, code protocol.Code) kmsg.OffsetFetchResponseGroupTopic {
	rt := kmsg.OffsetFetchResponseGroupTopic{Topic: t.Topic}
	if f.byID {
		rt = kmsg.OffsetFetchResponseGroupTopic{TopicID: t.TopicID}
	}
	for _, p := range t.Partitions {
		rp := kmsg.NewOffsetFetchResponseGroupTopicPartition()
		rp.Partition, rp.Offset, rp.LeaderEpoch = p.Partition, int64(p.Offset), int32(p.LeaderEpoch)
		rp.Metadata, rp.ErrorCode = &p.Metadata, int16(orElse(code, p.Code))
		rt.Partitions = append(rt.Partitions, rp)
	}
	return rt
}

// orElse is the error of the whole, else that of the part.
func orElse(whole, part protocol.Code) protocol.Code {
	if whole != protocol.None {
		return whole
	}
	return part
}
