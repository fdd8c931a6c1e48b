package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/coordinator/group"
)

// ListGroups, versions 0 to 5. It lists the groups that this broker coordinates; clients ask every broker.
//
//	v4  states, in the answer and as a filter (KIP-518)
//	v5  types, in the answer and as a filter (KIP-848)

func handleListGroups(b *Broker, r *request) {
	req := r.msg.(*kmsg.ListGroupsRequest)
	list := group.List{}
	if r.version() >= 4 {
		list.States = req.StatesFilter
	}
	if r.version() >= 5 {
		list.Types = req.TypesFilter
	}
	b.groups.List(list, func(res *group.ListResult) {
		resp := req.ResponseKind().(*kmsg.ListGroupsResponse)
		resp.ErrorCode = int16(res.Code)
		resp.Groups = make([]kmsg.ListGroupsResponseGroup, len(res.Groups))
		for i, g := range res.Groups {
			lg := &resp.Groups[i]
			lg.Group, lg.ProtocolType, lg.GroupState, lg.GroupType = g.Group, g.ProtocolType, string(g.State), "classic"
			if g.Consumer {
				lg.GroupType = "consumer"
			}
		}
		r.Reply(resp)
	})
}
