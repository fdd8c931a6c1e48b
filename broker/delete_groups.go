package broker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/coordinator/group"
)

// DeleteGroups, versions 0 to 3. A group that is named twice is deleted and answered once.
//
//	v3  room for error messages

func handleDeleteGroups(b *Broker, r *request) {
	req := r.msg.(*kmsg.DeleteGroupsRequest)
	resp := req.ResponseKind().(*kmsg.DeleteGroupsResponse)
	seen := make(map[string]bool, len(req.Groups))
	ids := slices.DeleteFunc(slices.Clone(req.Groups), func(id string) bool {
		again := seen[id]
		seen[id] = true
		return again
	})
	resp.Groups = make([]kmsg.DeleteGroupsResponseGroup, len(ids))
	all := newGather(len(ids), func() { r.Reply(resp) })
	for i, id := range ids {
		b.groups.Submit(id, &group.Delete{Group: id}, func(answer group.Response) {
			resp.Groups[i].Default()
			resp.Groups[i].Group, resp.Groups[i].ErrorCode = id, int16(answer.(*group.DeleteResult).Code)
			all.done()
		})
	}
	all.start()
}
