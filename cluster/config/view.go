package config

import (
	"strconv"
	"strings"
)

// Source is where dynamic values are kept, by resource; the empty broker name holds the defaults of all brokers.
// The metadata image is one. The maps are shared and never changed.
type Source interface {
	Configs(t ResourceType, name string) map[string]string
}

// View is the configuration in force on one broker at one moment: the static values under the dynamic ones.
type View struct {
	static  *Static
	broker  map[string]string // dynamic, of this broker
	cluster map[string]string // dynamic, of all brokers
}

// NewView takes the dynamic values of the moment from src.
func NewView(st *Static, src Source) View {
	return View{
		static:  st,
		broker:  src.Configs(BrokerResource, strconv.Itoa(int(st.NodeID()))),
		cluster: src.Configs(BrokerResource, ""),
	}
}

// TopicValue is the value in force of a topic key: the topic's own, else the dynamic one of this broker, else the dynamic
// default of all brokers, else the static one, else Kafka's default. Empty for a key whose value is null.
func TopicValue(st *Static, src Source, topic, key string) string {
	v, _ := NewView(st, src).Topic(src.Configs(TopicResource, topic), key)
	return v
}

// BrokerValue is the value in force of a broker key.
func BrokerValue(st *Static, src Source, key string) string {
	v, _ := NewView(st, src).Broker(key)
	return v
}

// GroupValue is the value in force of a group key.
func GroupValue(st *Static, src Source, group, key string) string {
	v, _ := NewView(st, src).Group(src.Configs(GroupResource, group), key)
	return v
}

// Topic is the value in force of a topic key for a topic with these values of its own, in canonical form. It is false
// where the value is null or the key unknown.
func (v View) Topic(own map[string]string, key string) (string, bool) {
	k, ok := Topic(key)
	if !ok {
		return "", false
	}
	return v.derived(k, own)
}

// Group is the same for a group key.
func (v View) Group(own map[string]string, key string) (string, bool) {
	k, ok := Group(key)
	if !ok {
		return "", false
	}
	value, ok := v.derived(k, own)
	if k.Name == "streams.assignor.name" { // its synonym is a list, of which the first is the default
		value, _, _ = strings.Cut(value, ",")
	}
	return value, ok
}

// Broker is the value in force of a broker key. A key that can also be given in other units (log.retention.hours) is
// looked up as it is; the topic keys derived from it mind the units.
func (v View) Broker(key string) (string, bool) {
	k, known := typedKey(key)
	if value, ok := v.given(key); ok {
		return canonical(k, value), true
	}
	if !known || k.Name != key || k.Default == nil {
		return "", false
	}
	return *k.Default, true
}

// TopicInt is a topic key's value as a number; zero where it is null.
func (v View) TopicInt(own map[string]string, key string) int64 {
	s, _ := v.Topic(own, key)
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// TopicBool is a topic key's value as a boolean.
func (v View) TopicBool(own map[string]string, key string) bool {
	s, _ := v.Topic(own, key)
	return s == "true"
}

// BrokerInt is a broker key's value as a number; zero where it is null.
func (v View) BrokerInt(key string) int64 {
	s, _ := v.Broker(key)
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// BrokerBool is a broker key's value as a boolean.
func (v View) BrokerBool(key string) bool {
	s, _ := v.Broker(key)
	return s == "true"
}

// GroupInt is a group key's value as a number; zero where it is null.
func (v View) GroupInt(own map[string]string, key string) int64 {
	s, _ := v.Group(own, key)
	n, _ := strconv.ParseInt(s, 10, 64)
	return n
}

// derived finds a topic's or group's value: its own, else the first synonym that has one, in the key's unit.
func (v View) derived(k *Key, own map[string]string) (string, bool) {
	if value, ok := own[k.Name]; ok {
		return canonical(k, value), true
	}
	for _, name := range k.Synonyms {
		if value, ok := v.Broker(name); ok {
			return inMillis(name, value), true
		}
	}
	if k.Default == nil {
		return "", false
	}
	return *k.Default, true
}

// given finds a broker key that was set somewhere: dynamic of this broker, dynamic of all, static.
func (v View) given(name string) (string, bool) {
	if value, ok := v.broker[name]; ok {
		return value, true
	}
	if value, ok := v.cluster[name]; ok {
		return value, true
	}
	return v.static.stated(name)
}

// inMillis turns the value of a broker key in hours or minutes into milliseconds; less than zero means no limit.
func inMillis(name, value string) string {
	unit := int64(0)
	switch {
	case strings.HasSuffix(name, ".hours"):
		unit = 3_600_000
	case strings.HasSuffix(name, ".minutes"):
		unit = 60_000
	default:
		return value
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return "-1"
	}
	return strconv.FormatInt(n*unit, 10)
}

// canonical is the value as Kafka describes it. What is stored was checked when it was set, by this version or by an
// older one; a value that does not check out any more is given as it is.
func canonical(k *Key, value string) string {
	if k == nil {
		return value
	}
	if c, err := k.Canonical(value); err == nil {
		return c
	}
	return value
}
