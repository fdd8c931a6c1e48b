package broker

import (
	"context"
	"maps"
	"strconv"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// configChange is what a request wants of one resource.
type configChange struct {
	resource meta.Resource
	rawType  int8 // as sent, for resources that do not exist
	ops      []meta.ConfigOp
	err      error // of this broker or of the controller
	done     bool  // decided here, so the controller does not see it
}

// alterConfigs carries out the changes, each resource by itself, and leaves in each what became of it. What concerns this
// broker alone is checked here first, as Kafka's ConfigAdminManager does; the rest is the controller's to decide.
func (b *Broker) alterConfigs(r *request, changes []configChange, replace, validateOnly bool) {
	im := b.image()
	times := make(map[meta.Resource]int, len(changes))
	for _, c := range changes {
		times[c.resource]++
	}
	for i := range changes {
		c := &changes[i]
		if times[c.resource] > 1 {
			c.err = protocol.Errorf(protocol.InvalidRequest, "a resource may be in the request only once")
		} else {
			c.err = b.checkChange(im, *c, replace)
		}
		if c.err == nil && c.resource.Type == config.BrokerLoggerResource {
			c.err, c.done = b.loggers.alter(c.ops, validateOnly), true
		}
		c.done = c.done || c.err != nil
	}
	cmd := meta.AlterConfigs{Replace: replace, ValidateOnly: validateOnly}
	for _, c := range changes {
		if !c.done {
			cmd.Resources = append(cmd.Resources, meta.AlterResource{Resource: c.resource, Ops: c.ops})
		}
	}
	if len(cmd.Resources) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(r.ctx, defaultTimeout)
	defer cancel()
	reply, err := b.propose(ctx, cmd)
	var results []meta.ResourceResult // of the resources that are not done yet, in their order
	if err == nil {
		results = reply.(meta.AlterConfigsReply).Resources
	}
	for i := range changes {
		c := &changes[i]
		switch {
		case c.done:
		case err != nil:
			c.err = adminError(err)
		default:
			c.err, results = results[0].Outcome.Err(), results[1:]
		}
	}
}

// checkChange is what a broker can say of a change without the controller.
func (b *Broker) checkChange(im *meta.Image, c configChange, replace bool) error {
	if key, twice := meta.RepeatedKey(c.ops); twice {
		return protocol.Errorf(protocol.InvalidRequest, "key %q is in the request twice", key)
	}
	for _, op := range c.ops {
		if op.Value == nil && op.Op != meta.Delete {
			return protocol.Errorf(protocol.InvalidRequest, "key %q is given no value", op.Key)
		}
	}
	switch c.resource.Type {
	case config.TopicResource, config.ClientMetricsResource, config.GroupResource:
		return nil
	case config.BrokerResource:
		return b.checkBrokerChange(im, c, replace)
	case config.BrokerLoggerResource:
		if !replace { // the older API never knew of loggers
			return checkNode(c.resource.Name, b.static.NodeID())
		}
	}
	return protocol.Errorf(protocol.InvalidRequest, "resources of type %d have no configuration", c.rawType)
}

// checkBrokerChange judges the dynamic values that this broker, or all of them, would have.
func (b *Broker) checkBrokerChange(im *meta.Image, c configChange, replace bool) error {
	if c.resource.Name != "" {
		if err := checkNode(c.resource.Name, b.static.NodeID()); err != nil {
			return err
		}
	}
	next := map[string]string{}
	if !replace {
		next = maps.Clone(im.Configs(config.BrokerResource, c.resource.Name))
	}
	if err := meta.ApplyConfigOps(config.BrokerResource, &next, c.ops); err != nil {
		if protocol.CodeOf(err) == protocol.UnknownServerError { // an operation that does not exist
			return protocol.Errorf(protocol.InvalidRequest, "%v", err)
		}
		return err
	}
	if err := config.CheckBroker(next, c.resource.Name != ""); err != nil {
		return protocol.Errorf(protocol.InvalidRequest, "%v", err)
	}
	return nil
}

// canonicalResource is a resource under the name that the metadata keeps it by: brokers by their id in plain decimal.
func canonicalResource(t int8, name string) meta.Resource {
	if config.ResourceType(t) == config.BrokerResource {
		if id, err := strconv.ParseInt(name, 10, 32); err == nil {
			name = strconv.FormatInt(id, 10)
		}
	}
	return meta.Resource{Type: config.ResourceType(t), Name: name}
}

// outcome is an error as the two Alter answers carry it: no text where all is well or nothing can be said.
func outcome(err error) (int16, *string) {
	code := protocol.CodeOf(err)
	if code == protocol.None || code == protocol.UnknownServerError {
		return int16(code), nil
	}
	text := err.Error()
	return int16(code), &text
}
