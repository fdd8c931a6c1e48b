package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// CheckTopic says whether a topic may have these values of its own, as Kafka's LogConfig.validate: every key known, every
// value allowed, and the values in force in agreement with each other.
func (v View) CheckTopic(own map[string]string) error {
	if err := checkKnown("topic", Topic, own); err != nil {
		return err
	}
	low, high := v.TopicInt(own, "min.compaction.lag.ms"), v.TopicInt(own, "max.compaction.lag.ms")
	if low > high {
		return fmt.Errorf("min.compaction.lag.ms (%d) must not be above max.compaction.lag.ms (%d)", low, high)
	}
	if v.TopicBool(own, "remote.storage.enable") {
		return fmt.Errorf("remote.storage.enable=true: this broker has no remote storage")
	}
	return nil
}

// CheckGroup says whether a group may have these values of its own: known, allowed, and within the bounds that the
// brokers set (group.*.min.* and group.*.max.*).
func (v View) CheckGroup(own map[string]string) error {
	if err := checkKnown("group", Group, own); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(own)) {
		low, high := v.groupBounds(name)
		n := v.GroupInt(own, name)
		if low != nil && n < *low || high != nil && n > *high {
			return fmt.Errorf("%s=%d must be %s", name, n, boundsText(low, high))
		}
	}
	for _, kind := range []string{"consumer", "share", "streams"} {
		beat, session := kind+".heartbeat.interval.ms", kind+".session.timeout.ms"
		if v.GroupInt(own, session) <= v.GroupInt(own, beat) {
			return fmt.Errorf("%s (%d) must be above %s (%d)", session, v.GroupInt(own, session), beat, v.GroupInt(own, beat))
		}
	}
	return nil
}

func boundsText(low, high *int64) string {
	switch {
	case low == nil:
		return fmt.Sprintf("at most %d", *high)
	case high == nil:
		return fmt.Sprintf("at least %d", *low)
	}
	return fmt.Sprintf("from %d to %d", *low, *high)
}

// groupBounds finds the broker keys that bound a group key: group.KIND.min.REST and group.KIND.max.REST.
func (v View) groupBounds(name string) (low, high *int64) {
	kind, rest, _ := strings.Cut(name, ".")
	rest = strings.TrimPrefix(rest, "num.") // the streams keys num.standby.replicas are bounded by max.standby.replicas
	bound := func(which string) *int64 {
		key := "group." + kind + "." + which + "." + rest
		if _, ok := Broker(key); !ok {
			return nil
		}
		n := v.BrokerInt(key)
		return &n
	}
	return bound("min"), bound("max")
}

func checkKnown(kind string, find func(string) (*Key, bool), own map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(own)) {
		k, ok := find(name)
		if !ok {
			return fmt.Errorf("%q is no %s configuration", name, kind)
		}
		if err := k.Check(own[name]); err != nil {
			return err
		}
	}
	return nil
}

// The keys of a client metrics subscription (KIP-714).
const (
	metricsInterval = "interval.ms"
	metricsMatch    = "match"
	metricsNames    = "metrics"
)

// UnknownClientMetricsError is a key that client metrics subscriptions do not have, or an interval out of bounds, which
// Kafka answers with INVALID_REQUEST while other faults are INVALID_CONFIG.
type UnknownClientMetricsError struct{ Text string }

func (e *UnknownClientMetricsError) Error() string { return e.Text }

// CheckClientMetrics says whether a client metrics subscription may have these values.
func CheckClientMetrics(own map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(own)) {
		value := strings.TrimSpace(own[name])
		switch name {
		case metricsNames:
			if slices.Contains(commaAndBlanks.Split(value, -1), "") && value != "" {
				return &InvalidError{Key: name, Value: value, Allowed: "a comma separated list without empty elements"}
			}
		case metricsInterval:
			n, err := strconv.ParseInt(value, 10, 32)
			if err != nil {
				return &InvalidError{Key: name, Value: value, Allowed: "a whole number of milliseconds"}
			}
			if n < 100 || n > 3_600_000 {
				return &UnknownClientMetricsError{fmt.Sprintf("%s=%d: it must be from 100 to 3600000", name, n)}
			}
		case metricsMatch:
			if err := checkClientMatch(value); err != nil {
				return err
			}
		default:
			return &UnknownClientMetricsError{fmt.Sprintf("%q is no configuration of client metrics", name)}
		}
	}
	return nil
}

var clientSelectors = []string{
	"client_id", "client_instance_id", "client_software_name", "client_software_version", "client_source_address",
	"client_source_port",
}

func checkClientMatch(value string) error {
	if value == "" {
		return nil
	}
	for _, p := range commaAndBlanks.Split(value, -1) {
		selector, pattern, ok := strings.Cut(p, "=")
		if !ok || !slices.Contains(clientSelectors, strings.TrimSpace(selector)) {
			return fmt.Errorf("match: %q is not SELECTOR=PATTERN with one of %s", p, strings.Join(clientSelectors, ", "))
		}
		if _, err := regexp.Compile(strings.TrimSpace(pattern)); err != nil || pattern == "" {
			return fmt.Errorf("match: %q is no regular expression", strings.TrimSpace(pattern))
		}
	}
	return nil
}

// ClientMetricsEntries describes a client metrics subscription, whether or not it exists.
func ClientMetricsEntries(own map[string]string) []Entry {
	defaults := []Entry{
		{Name: metricsInterval, Type: Int, Value: text("300000"), Doc: "How often clients push, in milliseconds."},
		{Name: metricsMatch, Type: List, Value: text(""), Doc: "Which clients are asked, as SELECTOR=PATTERN; all if empty."},
		{Name: metricsNames, Type: List, Value: text(""), Doc: "Prefixes of the names of the metrics that clients push."},
	}
	for i := range defaults {
		e := &defaults[i]
		e.Origin = FromDefault
		if value, ok := own[e.Name]; ok {
			e.Value, e.Origin = &value, FromClientMetrics
			e.Synonyms = []EntrySynonym{{e.Name, &value, FromClientMetrics}}
		}
	}
	return defaults
}
