package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/coordinator/group"
)

// Heartbeat, versions 0 to 4.
//
//	v3  static members (KIP-345)

func handleHeartbeat(b *Broker, r *request) {
	req := r.msg.(*kmsg.HeartbeatRequest)
	beat := &group.Heartbeat{Group: req.Group, Member: req.MemberID, Instance: req.InstanceID, Generation: req.Generation}
	b.groups.Submit(req.Group, beat, func(answer group.Response) {
		resp := req.ResponseKind().(*kmsg.HeartbeatResponse)
		resp.ErrorCode = int16(answer.(*group.HeartbeatResult).Code)
		r.Reply(resp)
	})
}
