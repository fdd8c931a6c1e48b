package meta

import (
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
	for i, ar := range cmd.Resources {
		var made []Record
		err := error(nil)
		if slices.ContainsFunc(cmd.Resources[:i], func(o AlterResource) bool { return o.Resource == ar.Resource }) {
			err = protocol.Errorf(protocol.InvalidRequest, "resource %q is in the request twice", ar.Resource.Name)
		} else {
			made, err = c.alterResource(ar, cmd.Replace)
		}
		reply.Resources = append(reply.Resources, ResourceResult{Resource: ar.Resource, Err: err})
		recs = append(recs, made...)
	}
	if cmd.ValidateOnly {
		recs = nil
	}
	return recs, reply, nil
}

// alterResource gives the records of the difference between what is set and what shall be.
func (c *Controller) alterResource(ar AlterResource, replace bool) ([]Record, error) {
	if err := c.checkResource(ar.Resource); err != nil {
		return nil, err
	}
	now := c.image.Configs(ar.Resource.Type, ar.Resource.Name)
	next := make(map[string]string, len(now)+len(ar.Ops))
	if !replace {
		maps.Copy(next, now)
	}
	for i, op := range ar.Ops {
		if slices.ContainsFunc(ar.Ops[:i], func(o ConfigOp) bool { return o.Key == op.Key }) {
			return nil, protocol.Errorf(protocol.InvalidRequest, "key %q is in the request twice", op.Key)
		}
		if err := alterKey(ar.Resource.Type, next, op); err != nil {
			return nil, err
		}
	}
	if err := checkConfigs(ar.Resource, now, next); err != nil {
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
	key, ok := configKey(t, op.Key)
	if !ok || key.Type != config.List {
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

func splitList(s string) []string {
	var list []string
	for e := range strings.SplitSeq(s, ",") {
		if e = strings.TrimSpace(e); e != "" {
			list = append(list, e)
		}
	}
	return list
}

func configKey(t config.ResourceType, name string) (*config.Key, bool) {
	switch t {
	case config.TopicResource:
		return config.Topic(name)
	case config.GroupResource:
		return config.Group(name)
	default:
		return config.Broker(name)
	}
}

func (c *Controller) checkResource(r Resource) error {
	switch r.Type {
	case config.TopicResource:
		if err := CheckTopicName(r.Name); err != nil {
			return err
		}
		if c.image.Topic(r.Name) == nil {
			return protocol.Errorf(protocol.UnknownTopicOrPartition, "there is no topic %q", r.Name)
		}
	case config.BrokerResource:
		if r.Name == "" {
			return nil
		}
		id, err := strconv.ParseInt(r.Name, 10, 32)
		if err != nil {
			return protocol.Errorf(protocol.InvalidRequest, "a broker is named by its id, not by %q", r.Name)
		}
		if c.image.Broker(protocol.BrokerID(id)) == nil {
			return protocol.Errorf(protocol.BrokerIDNotRegistered, "broker %d is not registered", id)
		}
	case config.GroupResource:
		if r.Name == "" {
			return protocol.Errorf(protocol.InvalidRequest, "the configuration of a group needs the group's name")
		}
	default:
		return protocol.Errorf(protocol.InvalidRequest, "resources of type %d have no configuration here", r.Type)
	}
	return nil
}

// checkConfigs judges the values that a resource would have. Those that it has already are judged for how they go with
// one another only, so that a value that an older version allowed does not stand in the way of changing another key.
func checkConfigs(r Resource, now, next map[string]string) error {
	for _, k := range slices.Sorted(maps.Keys(next)) {
		v := next[k]
		if old, ok := now[k]; ok && old == v {
			continue
		}
		if len(v) > configValueMax {
			return protocol.Errorf(protocol.InvalidConfig, "the value of %q is longer than %d bytes", k, configValueMax)
		}
		if err := checkConfig(r, k, v); err != nil {
			return err
		}
	}
	if r.Type == config.BrokerResource {
		for _, k := range slices.Sorted(maps.Keys(now)) {
			if _, ok := next[k]; !ok {
				if err := checkDynamic(r, k); err != nil {
					return err
				}
			}
		}
	}
	if r.Type == config.TopicResource {
		return checkTopicConfigs(next)
	}
	return nil
}

func checkConfig(r Resource, k, v string) error {
	key, ok := configKey(r.Type, k)
	if r.Type == config.BrokerResource {
		if !ok {
			return nil // as in Kafka: it may belong to a plug-in
		}
		if err := checkDynamic(r, k); err != nil {
			return err
		}
		if err := key.Check(v); err != nil {
			return protocol.Errorf(protocol.InvalidRequest, "%v", err)
		}
		return nil
	}
	if !ok {
		return protocol.Errorf(protocol.InvalidConfig, "there is no configuration key %q", k)
	}
	if err := key.Check(v); err != nil {
		return protocol.Errorf(protocol.InvalidConfig, "%v", err)
	}
	return nil
}

func checkDynamic(r Resource, k string) error {
	key, ok := config.Broker(k)
	switch {
	case !ok:
		return nil
	case !key.Dynamic():
		return protocol.Errorf(protocol.InvalidRequest, "%s can be changed only by a restart of the broker", k)
	case key.Mode == config.PerBroker && r.Name == "":
		return protocol.Errorf(protocol.InvalidRequest, "%s is set on single brokers, not for all of them", k)
	}
	return nil
}

// checkTopicConfigs judges values by one another.
func checkTopicConfigs(m map[string]string) error {
	low, lowOK := parseLong(m, "min.compaction.lag.ms")
	high, highOK := parseLong(m, "max.compaction.lag.ms")
	if lowOK && highOK && low > high {
		return protocol.Errorf(protocol.InvalidConfig,
			"min.compaction.lag.ms %d is greater than max.compaction.lag.ms %d", low, high)
	}
	return nil
}

func parseLong(m map[string]string, key string) (int64, bool) {
	v, err := strconv.ParseInt(strings.TrimSpace(m[key]), 10, 64)
	return v, err == nil
}

// newTopicConfigs judges what a topic is to be created with.
func newTopicConfigs(pairs []ConfigPair) (map[string]string, error) {
	m := make(map[string]string, len(pairs))
	for _, p := range pairs {
		if p.Value == nil {
			return nil, protocol.Errorf(protocol.InvalidConfig, "key %q is given no value", p.Key)
		}
		m[p.Key] = *p.Value
	}
	if err := checkConfigs(topicResource(""), nil, m); err != nil {
		return nil, err
	}
	return m, nil
}
