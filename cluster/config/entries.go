package config

import (
	"maps"
	"slices"
)

// Origin says where a described value was set; the numbers are Kafka's ConfigSource.
type Origin int8

const (
	FromTopic          Origin = 1 // the topic's own
	FromBroker         Origin = 2 // dynamic, of this broker
	FromClusterDefault Origin = 3 // dynamic, of all brokers
	FromStatic         Origin = 4 // what the broker was started with
	FromDefault        Origin = 5 // nobody set it
	FromLogger         Origin = 6
	FromClientMetrics  Origin = 7
	FromGroup          Origin = 8
)

// Entry is one described key.
type Entry struct {
	Name      string
	Value     *string // nil: null, or not to be told
	Origin    Origin
	ReadOnly  bool
	Sensitive bool
	Type      Type
	Doc       string
	Synonyms  []EntrySynonym // every place that would give the value, the one in force first
}

// EntrySynonym is one place that gives, or would give, a described value.
type EntrySynonym struct {
	Name   string
	Value  *string
	Origin Origin
}

// TopicEntries describes a topic with these values of its own: every public key, and internal ones that are set.
// A source is "topic" exactly where the topic sets the key, even to the default. (Kafka's ConfigHelper.)
func (v View) TopicEntries(own map[string]string) []Entry {
	return v.derivedEntries(append(slices.Clip(TopicKeys()), ownTopicKeys[Durability]), own, FromTopic, v.Topic)
}

// GroupEntries is the same for a group, whether or not it exists. A key without a broker-wide default is its own synonym.
func (v View) GroupEntries(own map[string]string) []Entry {
	entries := v.derivedEntries(GroupKeys(), own, FromGroup, v.Group)
	for i := range entries {
		e := &entries[i]
		k, _ := Group(e.Name)
		if k.Synonym() == "" && k.Default != nil {
			e.Synonyms = append(e.Synonyms, EntrySynonym{k.Name, k.Default, FromDefault})
		}
	}
	return entries
}

func (v View) derivedEntries(
	keys []*Key, own map[string]string, origin Origin, get func(map[string]string, string) (string, bool),
) []Entry {
	entries := make([]Entry, 0, len(keys))
	for _, k := range keys {
		_, set := own[k.Name]
		if k.Internal && !set {
			continue
		}
		e := Entry{Name: k.Name, Type: k.Type, Doc: k.Doc, Origin: FromDefault}
		if value, ok := get(own, k.Name); ok {
			e.Value = &value
		}
		if set {
			e.Synonyms = append(e.Synonyms, EntrySynonym{k.Name, e.Value, origin})
		}
		if s := k.Synonym(); s != "" {
			e.Synonyms = append(e.Synonyms, v.synonyms(s)...)
		}
		if len(e.Synonyms) > 0 {
			e.Origin = e.Synonyms[0].Origin
		}
		entries = append(entries, e)
	}
	return entries
}

// BrokerEntries describes this broker: every public key, and every other key that was set, known or not. A key of which
// the type is unknown counts as secret.
func (v View) BrokerEntries() []Entry {
	names := map[string]bool{}
	for _, k := range BrokerKeys() {
		names[k.Name] = !k.Internal
	}
	for _, set := range []map[string]string{v.static.given, v.cluster, v.broker} {
		for name := range set {
			names[name] = true
		}
	}
	entries := make([]Entry, 0, len(names))
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if names[name] {
			value, ok := v.Broker(name)
			entries = append(entries, v.brokerEntry(name, value, ok, false))
		}
	}
	return entries
}

// ClusterEntries describes what is set dynamically for all brokers.
func (v View) ClusterEntries() []Entry {
	entries := make([]Entry, 0, len(v.cluster))
	for _, name := range slices.Sorted(maps.Keys(v.cluster)) {
		entries = append(entries, v.brokerEntry(name, v.cluster[name], true, true))
	}
	return entries
}

func (v View) brokerEntry(name, value string, ok, clusterOnly bool) Entry {
	k, known := typedKey(name)
	e := Entry{Name: name, Origin: FromDefault, ReadOnly: true, Sensitive: true}
	if known {
		e.Type, e.Doc, e.Sensitive = k.Type, k.Doc, k.Sensitive
		e.ReadOnly = k.Name != name || !k.Dynamic()
	}
	if ok && !e.Sensitive {
		e.Value = &value
	}
	for _, s := range v.synonyms(name) {
		if !clusterOnly || s.Origin == FromClusterDefault {
			if e.Sensitive {
				s.Value = nil
			}
			e.Synonyms = append(e.Synonyms, s)
		}
	}
	if len(e.Synonyms) > 0 {
		e.Origin = e.Synonyms[0].Origin
	}
	return e
}

// synonyms is where the value of a broker key may come from, in the order in which the places win. What stands before
// the key itself is left out: it is a listener's own value, or the same thing in another unit.
func (v View) synonyms(name string) []EntrySynonym {
	chain := []string{name}
	if k, ok := Broker(name); ok && len(k.Synonyms) > 0 {
		chain = k.Synonyms
	} else if base := baseKey(name); base != name {
		chain = append(chain, base)
	}
	var all []EntrySynonym
	add := func(origin Origin, get func(name string) (string, bool)) {
		for _, n := range chain {
			if value, ok := get(n); ok {
				all = append(all, EntrySynonym{n, &value, origin})
			}
		}
	}
	in := func(m map[string]string) func(string) (string, bool) {
		return func(n string) (string, bool) { value, ok := m[n]; return value, ok }
	}
	add(FromBroker, in(v.broker))
	add(FromClusterDefault, in(v.cluster))
	add(FromStatic, v.static.stated)
	add(FromDefault, func(n string) (string, bool) {
		if k, ok := Broker(n); ok && k.Default != nil {
			return *k.Default, true
		}
		return "", false
	})
	first := slices.IndexFunc(all, func(s EntrySynonym) bool { return s.Name == name })
	if first < 0 {
		return nil
	}
	return all[first:]
}

// typedKey finds the key that gives a broker property its type: the key itself, the one that it overrides for a
// listener, or one of the few that exist only as dynamic ones.
func typedKey(name string) (*Key, bool) {
	if k, ok := Broker(name); ok {
		return k, true
	}
	if k, ok := dynamicOnly[name]; ok {
		return k, true
	}
	if k, ok := Own(name); ok {
		return k, true
	}
	base := baseKey(name)
	if k, ok := Broker(base); ok {
		return k, true
	}
	for _, suffix := range perMechanism { // listener.name.NAME.MECHANISM.KEY
		if base != name && len(base) > len(suffix) && base[len(base)-len(suffix)-1:] == "."+suffix {
			return Broker(suffix)
		}
	}
	return nil, false
}

// perMechanism are the keys that a listener may set for each of its SASL mechanisms.
var perMechanism = []string{
	"sasl.jaas.config", "sasl.login.callback.handler.class", "sasl.login.class", "sasl.server.callback.handler.class",
	"connections.max.reauth.ms",
}

func notNegative(v value) (string, bool) { return "at least 0", v.whole >= 0 }

// dynamicOnly are the keys that cannot be in a server.properties (Kafka's DynamicConfig.Broker).
var dynamicOnly = map[string]*Key{
	"leader.replication.throttled.rate": {
		Name: "leader.replication.throttled.rate", Type: Long, Importance: "MEDIUM", Mode: ClusterWide, check: notNegative,
		Default: text("9223372036854775807"),
		Doc: "Bytes a second that a leader sends to followers on the topic's list of throttled replicas " +
			"(leader.replication.throttled.replicas).",
	},
	"follower.replication.throttled.rate": {
		Name: "follower.replication.throttled.rate", Type: Long, Importance: "MEDIUM", Mode: ClusterWide, check: notNegative,
		Default: text("9223372036854775807"),
		Doc: "Bytes a second that a follower fetches for replicas on the topic's list of throttled ones " +
			"(follower.replication.throttled.replicas).",
	},
	"replica.alter.log.dirs.io.max.bytes.per.second": {
		Name: "replica.alter.log.dirs.io.max.bytes.per.second", Type: Long, Importance: "MEDIUM", Mode: ClusterWide, check: notNegative,
		Default: text("9223372036854775807"),
		Doc:     "Bytes a second at which replicas are moved between the data folders of a broker.",
	},
}
