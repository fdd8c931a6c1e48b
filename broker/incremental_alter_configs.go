package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
)

// IncrementalAlterConfigs, versions 0 and 1 (v1 flexible): set or delete a key, add to a list or take away from it, and
// leave all other keys as they are (KIP-339).
func handleIncrementalAlterConfigs(b *Broker, r *request) {
	req := r.msg.(*kmsg.IncrementalAlterConfigsRequest)
	changes := make([]configChange, len(req.Resources))
	for i, q := range req.Resources {
		c := configChange{resource: canonicalResource(int8(q.ResourceType), q.ResourceName), rawType: int8(q.ResourceType)}
		for _, k := range q.Configs {
			c.ops = append(c.ops, meta.ConfigOp{Key: k.Name, Op: meta.Op(k.Op), Value: k.Value})
		}
		changes[i] = c
	}
	b.alterConfigs(r, changes, false, req.ValidateOnly)

	resp := req.ResponseKind().(*kmsg.IncrementalAlterConfigsResponse)
	for i, q := range req.Resources {
		a := kmsg.NewIncrementalAlterConfigsResponseResource()
		a.ResourceType, a.ResourceName = q.ResourceType, q.ResourceName
		a.ErrorCode, a.ErrorMessage = outcome(changes[i].err)
		resp.Resources = append(resp.Resources, a)
	}
	r.Reply(resp)
}
