package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// LeaveGroup, versions 0 to 5.
//
//	v3  several members, by member or instance id, each with its own error (KIP-345); before, one member and one error
//	v5  a reason for each (KIP-800)

func handleLeaveGroup(b *Broker, r *request) {
	req := r.msg.(*kmsg.LeaveGroupRequest)
	several := r.version() >= 3
	leave := &group.Leave{Group: req.Group}
	if several {
		for _, m := range req.Members {
			leave.Members = append(leave.Members, group.LeavingMember{
				Member: m.MemberID, Instance: m.InstanceID, Reason: orEmpty(m.Reason),
			})
		}
	} else {
		leave.Members = []group.LeavingMember{{Member: req.MemberID}}
	}
	b.groups.Submit(req.Group, leave, func(answer group.Response) {
		res := answer.(*group.LeaveResult)
		resp := req.ResponseKind().(*kmsg.LeaveGroupResponse)
		resp.ErrorCode = int16(res.Code)
		switch {
		case res.Code != protocol.None:
		case several:
			for i, code := range res.Codes {
				resp.Members = append(resp.Members, kmsg.LeaveGroupResponseMember{
					MemberID: leave.Members[i].Member, InstanceID: leave.Members[i].Instance, ErrorCode: int16(code),
				})
			}
		default:
			resp.ErrorCode = int16(res.Codes[0])
		}
		r.Reply(resp)
	})
}
