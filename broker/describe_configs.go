package broker

import (
	"slices"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// describedMax is how many keys one answer tells of at most: those of 10,000 topics. Eight bytes of a request ask for the 350
// keys of a broker, so that without a bound a small request could fill the memory.
const describedMax = 400_000

// DescribeConfigs, versions 1 to 4.
//
//	v1  sources and synonyms in place of "is default"
//	v3  types and documentation
//	v4  flexible
//
// Rules as in Kafka's ConfigHelper. Entries are sorted by name, where Kafka's order is that of a hash map.
func handleDescribeConfigs(b *Broker, r *request) {
	req := r.msg.(*kmsg.DescribeConfigsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeConfigsResponse)
	d := describer{
		req: req, image: b.image(), view: config.NewView(b.static, b.image()), node: b.static.NodeID(), loggers: b.loggers,
	}
	unknown := slices.ContainsFunc(req.Resources, func(q kmsg.DescribeConfigsRequestResource) bool {
		return !describable(q.ResourceType)
	})
	described := 0
	for _, q := range req.Resources {
		a := kmsg.NewDescribeConfigsResponseResource()
		a.ResourceType, a.ResourceName, a.ErrorMessage = q.ResourceType, q.ResourceName, new(string)
		var entries []config.Entry
		var err error
		switch {
		case unknown: // Kafka refuses such a request as a whole
			err = protocol.Errorf(protocol.InvalidRequest, "the request names a type of resource that has no configuration")
		case described >= describedMax:
			err = protocol.Errorf(protocol.InvalidRequest, "the answer would be too large: ask for fewer resources at a time")
		default:
			entries, err = d.resource(q)
			described += len(entries)
		}
		if err != nil {
			a.ErrorCode = int16(protocol.CodeOf(err))
			if protocol.CodeOf(err) != protocol.UnknownTopicOrPartition {
				text := err.Error()
				a.ErrorMessage = &text
			}
		}
		a.Configs = d.wire(q, entries)
		resp.Resources = append(resp.Resources, a)
	}
	r.Reply(resp)
}

// describer answers one DescribeConfigs.
type describer struct {
	req     *kmsg.DescribeConfigsRequest
	image   *meta.Image
	view    config.View
	node    int32
	loggers *loggers
	broker  []config.Entry // this broker's, once it was asked for
}

func describable(t kmsg.ConfigResourceType) bool {
	switch config.ResourceType(t) {
	case config.TopicResource, config.BrokerResource, config.BrokerLoggerResource, config.ClientMetricsResource,
		config.GroupResource:
		return true
	}
	return false
}

func (d *describer) resource(q kmsg.DescribeConfigsRequestResource) ([]config.Entry, error) {
	t, name := config.ResourceType(q.ResourceType), q.ResourceName
	switch t {
	case config.TopicResource:
		if err := meta.CheckTopicName(name); err != nil {
			return nil, err
		}
		if d.image.Topic(name) == nil {
			return nil, protocol.UnknownTopicOrPartition
		}
		return d.view.TopicEntries(d.image.Configs(t, name)), nil
	case config.BrokerResource:
		if name == "" {
			return d.view.ClusterEntries(), nil
		}
		if err := checkNode(name, d.node); err != nil {
			return nil, err
		}
		if d.broker == nil {
			d.broker = d.view.BrokerEntries()
		}
		return d.broker, nil
	case config.BrokerLoggerResource:
		if err := checkNode(name, d.node); err != nil {
			return nil, err
		}
		return d.loggers.entries(), nil
	case config.ClientMetricsResource:
		if name == "" {
			return nil, protocol.Errorf(protocol.InvalidRequest, "a client metrics subscription has a name")
		}
		return config.ClientMetricsEntries(d.image.Configs(t, name)), nil
	case config.GroupResource:
		if name == "" {
			return nil, protocol.Errorf(protocol.InvalidRequest, "a group has a name")
		}
		return d.view.GroupEntries(d.image.Configs(t, name)), nil
	}
	return nil, protocol.Errorf(protocol.InvalidRequest, "resources of type %d have no configuration", q.ResourceType)
}

// checkNode says whether name is the id of this broker, the only one whose configuration it can tell or check.
func checkNode(name string, node int32) error {
	id, err := strconv.ParseInt(name, 10, 32)
	if err != nil {
		return protocol.Errorf(protocol.InvalidRequest, "a broker is named by its id, which is a number, not by %q", name)
	}
	if int32(id) != node {
		return protocol.Errorf(protocol.InvalidRequest, "this is broker %d; ask broker %d itself", node, id)
	}
	return nil
}

// wire is the entries that q asks for, as they are sent.
func (d *describer) wire(q kmsg.DescribeConfigsRequestResource, entries []config.Entry) []kmsg.DescribeConfigsResponseResourceConfig {
	out := make([]kmsg.DescribeConfigsResponseResourceConfig, 0, len(entries))
	for _, e := range entries {
		if len(q.ConfigNames) > 0 && !slices.Contains(q.ConfigNames, e.Name) {
			continue
		}
		c := kmsg.NewDescribeConfigsResponseResourceConfig()
		c.Name, c.Value, c.ReadOnly, c.IsSensitive = e.Name, e.Value, e.ReadOnly, e.Sensitive
		c.Source, c.ConfigType = kmsg.ConfigSource(e.Origin), kmsg.ConfigType(e.Type)
		if d.req.IncludeDocumentation || e.Origin == config.FromLogger {
			c.Documentation = &e.Doc
		}
		if d.req.IncludeSynonyms {
			for _, s := range e.Synonyms {
				y := kmsg.NewDescribeConfigsResponseResourceConfigConfigSynonym()
				y.Name, y.Value, y.Source = s.Name, s.Value, kmsg.ConfigSource(s.Origin)
				c.ConfigSynonyms = append(c.ConfigSynonyms, y)
			}
		}
		out = append(out, c)
	}
	return out
}
