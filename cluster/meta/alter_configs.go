package meta

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

// configValueMax is the longest value of a key, in bytes, as in Kafka.
const configValueMax = 32767

func (c *Controller) alterConfigs(cmd AlterConfigs) ([]Record, Reply, error) {
	var recs []Record
	reply := AlterConfigsReply{Resources: make([]ResourceResult, 0, len(cmd.Resources))}
	seen := make(map[Resource]struct{}, len(cmd.Resources))
	for _, ar := range cmd.Resources {
		var made []Record
		err := error(nil)
		if _, twice := seen[ar.Resource]; twice {
			err = protocol.Errorf(protocol.InvalidRequest, "resource %q is in the request twice", ar.Resource.Name)
		} else {
			seen[ar.Resource] = struct{}{}
			made, err = c.alterResource(ar, cmd.Replace)
		}
		reply.Resources = append(reply.Resources, ResourceResult{Resource: ar.Resource, Outcome: OutcomeOf(err)})
		recs = append(recs, made...)
	}
	if cmd.ValidateOnly {
		recs = nil
	}
	more, err := c.afterConfigs(recs)
	return append(recs, more...), reply, err
}

// alterResource gives the records of the difference between what is set and what shall be. Whether the values are allowed
// is judged before whether the resource exists, as Kafka's ConfigurationControlManager does.
func (c *Controller) alterResource(ar AlterResource, replace bool) ([]Record, error) {
	if err := checkResourceName(ar.Resource); err != nil {
		return nil, err
	}
	now := c.image.Configs(ar.Resource.Type, ar.Resource.Name)
	next := make(map[string]string, len(now)+len(ar.Ops))
	if !replace {
		maps.Copy(next, now)
	}
	if err := ApplyConfigOps(ar.Resource.Type, &next, ar.Ops); err != nil {
		return nil, err
	}
	if err := c.checkConfigs(ar.Resource, next); err != nil {
		return nil, err
	}
	if err := c.checkExists(ar.Resource); err != nil {
		return nil, err
	}
	if err := c.checkMinISR(ar.Resource, now, next); err != nil {
		return nil, err
	}
	var recs []Record
	for _, k := range slices.Sorted(maps.Keys(now)) {
		if _, ok := next[k]; !ok {
			recs = append(recs, ConfigRecord{Resource: ar.Resource, Key: k})
		}
	}
	for _, k := range slices.Sorted(maps.Keys(next)) {
		if v, ok := now[k]; !ok || v != next[k] {
			v := next[k]
			recs = append(recs, ConfigRecord{Resource: ar.Resource, Key: k, Value: &v})
		}
	}
	return recs, nil
}

// ApplyConfigOps does the operations, one after the other, to the values in next.
func ApplyConfigOps(t config.ResourceType, next *map[string]string, ops []ConfigOp) error {
	if *next == nil {
		*next = make(map[string]string, len(ops))
	}
	if key, twice := RepeatedKey(ops); twice {
		return protocol.Errorf(protocol.InvalidRequest, "key %q is in the request twice", key)
	}
	for _, op := range ops {
		if err := alterKey(t, *next, op); err != nil {
			return err
		}
	}
	return nil
}

// RepeatedKey finds a key that is named more than once.
func RepeatedKey(ops []ConfigOp) (key string, repeated bool) {
	seen := make(map[string]struct{}, len(ops))
	for _, op := range ops {
		if _, ok := seen[op.Key]; ok {
			return op.Key, true
		}
		seen[op.Key] = struct{}{}
	}
	return "", false
}

// alterKey does one operation to the values in next.
func alterKey(t config.ResourceType, next map[string]string, op ConfigOp) error {
	if op.Op == Delete {
		delete(next, op.Key)
		return nil
	}
	if op.Op < Set || op.Op > Subtract {
		return protocol.Errorf(protocol.UnknownServerError, "there is no operation %d on a configuration", op.Op)
	}
	if op.Value == nil {
		return protocol.Errorf(protocol.InvalidRequest, "key %q is given no value", op.Key)
	}
	if op.Op == Set {
		next[op.Key] = *op.Value
		return nil
	}
	if len(*op.Value) > configValueMax { // before anything is done that takes its time
		return protocol.Errorf(protocol.InvalidConfig, "the value of %q is longer than %d bytes", op.Key, configValueMax)
	}
	key, ok := listKey(t, op.Key)
	if !ok {
		return protocol.Errorf(protocol.InvalidConfig, "key %q is not a list, so nothing is added to it or taken away", op.Key)
	}
	old, ok := next[op.Key]
	if !ok && key.Default != nil {
		old = *key.Default
	}
	list := splitList(old)
	for _, e := range splitList(*op.Value) {
		at := slices.Index(list, e)
		switch {
		case op.Op == Append && at < 0:
			list = append(list, e)
		case op.Op == Subtract && at >= 0:
			list = slices.Delete(list, at, at+1)
		}
	}
	next[op.Key] = strings.Join(list, ",")
	return nil
}

// listKey finds a key that Append and Subtract work on. Kafka's controller knows the types of topic and broker keys only,
// so a group's list is not one.
func listKey(t config.ResourceType, name string) (*config.Key, bool) {
	var key *config.Key
	switch t {
	case config.TopicResource:
		key, _ = config.Topic(name)
	case config.BrokerResource:
		key, _ = config.Broker(name)
	}
	return key, key != nil && key.Type == config.List
}

func splitList(s string) []string {
	var list []string
	for e := range strings.SplitSeq(s, ",") {
		if e = strings.TrimSpace(e); e != "" {
			list = append(list, e)
		}
	}
	return list
}

// checkResourceName says whether a resource of that type can have that name at all.
func checkResourceName(r Resource) error {
	switch r.Type {
	case config.TopicResource:
		if r.Name == "" {
			return protocol.Errorf(protocol.InvalidRequest, "topics have no defaults of their own; set the brokers' (log.*)")
		}
		return CheckTopicName(r.Name)
	case config.BrokerResource:
		if id, err := strconv.ParseInt(r.Name, 10, 32); r.Name != "" && (err != nil || id < 0) {
			return protocol.Errorf(protocol.InvalidRequest, "a broker is named by its id, not by %q", r.Name)
		}
	case config.GroupResource:
		if r.Name == "" {
			return protocol.Errorf(protocol.InvalidRequest, "groups have no defaults of their own; set the brokers' (group.*)")
		}
	case config.ClientMetricsResource:
		if r.Name == "" {
			return protocol.Errorf(protocol.InvalidRequest, "a client metrics subscription has a name")
		}
	default:
		return protocol.Errorf(protocol.InvalidRequest, "resources of type %d have no configuration here", r.Type)
	}
	return nil
}

// checkExists says whether the resource is there, where it must be: groups and subscriptions may be configured before.
func (c *Controller) checkExists(r Resource) error {
	switch {
	case r.Type == config.TopicResource && c.image.Topic(r.Name) == nil:
		return protocol.Errorf(protocol.UnknownTopicOrPartition, "there is no topic %q", r.Name)
	case r.Type == config.BrokerResource && r.Name != "":
		id, _ := strconv.ParseInt(r.Name, 10, 32)
		if c.image.Broker(protocol.BrokerID(id)) == nil {
			return protocol.Errorf(protocol.BrokerIDNotRegistered, "broker %d is not registered", id)
		}
	}
	return nil
}

// checkConfigs judges the values that a resource would have, by themselves and by one another.
func (c *Controller) checkConfigs(r Resource, next map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(next)) {
		if len(next[k]) > configValueMax {
			return protocol.Errorf(protocol.InvalidConfig, "the value of %q is longer than %d bytes", k, configValueMax)
		}
	}
	view := config.NewView(c.cfg.Static, c.image)
	var err error
	code := protocol.InvalidConfig
	switch r.Type {
	case config.TopicResource:
		err = view.CheckTopic(next)
	case config.GroupResource:
		err = view.CheckGroup(next)
	case config.BrokerResource:
		err, code = config.CheckBroker(next, r.Name != ""), protocol.InvalidRequest
	case config.ClientMetricsResource:
		err = config.CheckClientMetrics(next)
		if unknown := (*config.UnknownClientMetricsError)(nil); errors.As(err, &unknown) {
			code = protocol.InvalidRequest
		}
	}
	if err != nil {
		return protocol.Errorf(code, "%v", err)
	}
	return nil
}

// newTopicConfigs judges what a topic is to be created with.
func (c *Controller) newTopicConfigs(pairs []ConfigPair) (map[string]string, error) {
	m := make(map[string]string, len(pairs))
	for _, p := range pairs {
		if p.Value == nil {
			return nil, protocol.Errorf(protocol.InvalidConfig, "key %q is given no value", p.Key)
		}
		m[p.Key] = *p.Value
	}
	if err := c.checkConfigs(topicResource(""), m); err != nil {
		return nil, err
	}
	return m, nil
}
