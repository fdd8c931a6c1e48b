package broker

import (
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
)

// AlterConfigs, versions 0 to 2 (v2 flexible). It replaces everything that is set on a resource: a key that is not named
// is unset. IncrementalAlterConfigs came in its place (KIP-339).
func handleAlterConfigs(b *Broker, r *request) {
	req := r.msg.(*kmsg.AlterConfigsRequest)
	changes := make([]configChange, len(req.Resources))
	for i, q := range req.Resources {
		c := configChange{resource: canonicalResource(int8(q.ResourceType), q.ResourceName), rawType: int8(q.ResourceType)}
		for _, k := range q.Configs {
			c.ops = append(c.ops, meta.ConfigOp{Key: k.Name, Op: meta.Set, Value: k.Value})
		}
		changes[i] = c
	}
	b.alterConfigs(r, changes, true, req.ValidateOnly)

	resp := req.ResponseKind().(*kmsg.AlterConfigsResponse)
	for i, q := range req.Resources {
		a := kmsg.NewAlterConfigsResponseResource()
		a.ResourceType, a.ResourceName = q.ResourceType, q.ResourceName
		a.ErrorCode, a.ErrorMessage = outcome(changes[i].err)
		resp.Resources = append(resp.Resources, a)
	}
	r.Reply(resp)
}
