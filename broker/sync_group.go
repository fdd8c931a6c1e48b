package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// SyncGroup, versions 0 to 5.
//
//	v3  static members (KIP-345)
//	v5  protocol type and name, in the request and the answer; a request without them is refused (KIP-559)

func handleSyncGroup(b *Broker, r *request) {
	req := r.msg.(*kmsg.SyncGroupRequest)
	reply := func(answer group.Response) {
		res := answer.(*group.SyncResult)
		resp := req.ResponseKind().(*kmsg.SyncGroupResponse)
		resp.ErrorCode, resp.MemberAssignment = int16(res.Code), res.Assignment
		resp.ProtocolType, resp.Protocol = res.Type, res.Protocol
		r.Reply(resp)
	}
	sync := &group.Sync{
		Group: req.Group, Member: req.MemberID, Instance: req.InstanceID, Generation: req.Generation,
		Type: req.ProtocolType, Protocol: req.Protocol,
	}
	if r.version() >= 5 && (req.ProtocolType == nil || req.Protocol == nil) {
		reply(sync.Refuse(protocol.InconsistentGroupProtocol))
		return
	}
	for _, a := range req.GroupAssignment {
		sync.Assignments = append(sync.Assignments, group.Assignment{Member: a.MemberID, Data: a.MemberAssignment})
	}
	b.groups.Submit(req.Group, sync, reply)
}
