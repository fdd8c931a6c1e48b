package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/coordinator/group"
)

// JoinGroup, versions 0 to 9.
//
//	v1  the rebalance timeout; before, the session timeout is taken for it
//	v4  a new dynamic member is sent an id and comes again with it (KIP-394)
//	v5  static members (KIP-345)
//	v7  protocol type in the answer; the protocol may be null, and is where there is none
//	v8  the client's reason (KIP-800)
//	v9  skip_assignment: a static leader that comes back leads without assigning (KIP-814)

func handleJoinGroup(b *Broker, r *request) {
	req := r.msg.(*kmsg.JoinGroupRequest)
	version := r.version()
	join := &group.Join{
		Group: req.Group, Member: req.MemberID, Instance: req.InstanceID, Type: req.ProtocolType,
		Session: millis(req.SessionTimeoutMillis), Rebalance: millis(req.RebalanceTimeoutMillis),
		ClientID: r.client(), ClientHost: r.clientHost(), Software: r.conn.software,
		Reason:           orEmpty(req.Reason),
		MemberIDRequired: version >= 4, CanSkipAssigning: version >= 9,
	}
	if version == 0 {
		join.Rebalance = join.Session
	}
	for _, p := range req.Protocols {
		join.Protocols = append(join.Protocols, group.Protocol{Name: p.Name, Metadata: p.Metadata})
	}
	b.groups.Submit(req.Group, join, func(answer group.Response) {
		res := answer.(*group.JoinResult)
		resp := req.ResponseKind().(*kmsg.JoinGroupResponse)
		resp.ErrorCode, resp.Generation = int16(res.Code), res.Generation
		resp.LeaderID, resp.MemberID, resp.SkipAssignment = res.Leader, res.Member, res.SkipAssignment
		resp.ProtocolType, resp.Protocol = res.Type, res.Protocol
		if resp.Protocol == nil && version < 7 {
			resp.Protocol = new(string)
		}
		for _, m := range res.Members {
			resp.Members = append(resp.Members, kmsg.JoinGroupResponseMember{
				MemberID: m.Member, InstanceID: m.Instance, ProtocolMetadata: m.Metadata,
			})
		}
		r.Reply(resp)
	})
}
