package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// DescribeGroups, versions 0 to 6.
//
//	v3  the operations that the client may do to the group
//	v4  instance ids
//	v6  an error and its message for a group that does not exist (KIP-1043); before, it is a group in state Dead

// groupOperations are the operations that may be done to a group, as bits numbered by AclOperation: read, delete,
// describe, describe configs, alter configs.
const groupOperations int32 = 1<<3 | 1<<6 | 1<<8 | 1<<10 | 1<<11

func handleDescribeGroups(b *Broker, r *request) {
	req := r.msg.(*kmsg.DescribeGroupsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeGroupsResponse)
	resp.Groups = make([]kmsg.DescribeGroupsResponseGroup, len(req.Groups))
	all := newGather(len(req.Groups), func() { r.Reply(resp) })
	for i, id := range req.Groups {
		b.groups.Submit(id, &group.Describe{Group: id}, func(answer group.Response) {
			resp.Groups[i] = describedGroup(req, id, answer.(*group.DescribeResult))
			all.done()
		})
	}
	all.start()
}

func describedGroup(req *kmsg.DescribeGroupsRequest, id string, res *group.DescribeResult) kmsg.DescribeGroupsResponseGroup {
	g := kmsg.NewDescribeGroupsResponseGroup()
	g.Group, g.ErrorCode = id, int16(res.Code)
	if res.Code == protocol.GroupIDNotFound {
		g.State = string(group.Dead)
		if req.Version < 6 {
			g.ErrorCode = 0
		} else {
			g.ErrorMessage = &res.Message
		}
	}
	if g.ErrorCode == 0 && req.Version >= 3 && req.IncludeAuthorizedOperations {
		g.AuthorizedOperations = groupOperations
	}
	if res.Code != protocol.None {
		return g
	}
	g.State, g.ProtocolType, g.Protocol = string(res.State), res.Type, res.Protocol
	for _, m := range res.Members {
		g.Members = append(g.Members, kmsg.DescribeGroupsResponseGroupMember{
			MemberID: m.Member, InstanceID: m.Instance, ClientID: m.ClientID, ClientHost: m.ClientHost,
			ProtocolMetadata: m.Metadata, MemberAssignment: m.Assignment,
		})
	}
	return g
}
