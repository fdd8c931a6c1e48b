package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// CheckBroker says whether these may be the dynamic values of one broker (perBroker) or of all. A key that nobody knows is
// let through: a plug-in may read it. (Kafka's DynamicBrokerConfig.validateConfigs.)
func CheckBroker(values map[string]string, perBroker bool) error {
	var readOnly, security, single []string
	for _, name := range slices.Sorted(maps.Keys(values)) {
		k, known := typedKey(name)
		if !known {
			continue
		}
		prefixed := k.Name != name
		switch {
		case !k.Dynamic() && !prefixed:
			readOnly = append(readOnly, name)
		case !prefixed && (strings.HasPrefix(name, "ssl.") && k.Mode == PerBroker):
			security = append(security, name)
		case !perBroker && (prefixed && !clusterLevelListener(k.Name) || k.Mode == PerBroker):
			single = append(single, name)
		}
	}
	switch {
	case readOnly != nil:
		return fmt.Errorf("only a restart changes these: %s", strings.Join(readOnly, ", "))
	case security != nil:
		return fmt.Errorf("these are changed for one listener at a time, as listener.name.NAME.KEY: %s",
			strings.Join(security, ", "))
	case single != nil:
		return fmt.Errorf("these are changed on one broker at a time, so its id must be given: %s",
			strings.Join(single, ", "))
	}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if err := checkDynamicValue(name, values); err != nil {
			return err
		}
	}
	return nil
}

func checkDynamicValue(name string, values map[string]string) error {
	k, known := typedKey(name)
	if !known {
		return nil
	}
	value, err := k.Canonical(values[name])
	if err != nil {
		return err
	}
	if err := checkBeyondTable(k.Name, value, values); err != nil {
		return err
	}
	refuse := func(allowed string) error { return &InvalidError{Key: name, Value: value, Allowed: allowed} }
	switch {
	case value == "0" && (k.Name == "max.connections" || k.Name == "max.connection.creation.rate"):
		return refuse("at least 1")
	case k.Name == "listeners" || k.Name == "listener.security.protocol.map":
		// Kafka opens and closes listeners while it runs. Taking the value without doing so would be a wrong success.
		return refuse("changed by a restart, with --listen: listeners are not opened while the broker runs")
	case k.Type == Class && (k.Default == nil || value != *k.Default),
		k.Name == "metric.reporters" && value != "" && value != *k.Default:
		return refuse("left as it is: moldau runs no Java classes")
	}
	return nil
}

// checkBeyondTable holds the bounds that Kafka's tables do not have and that it checks all the same, at start and when a
// value changes (KafkaConfig.validateValues). beside is what is set together with the value.
func checkBeyondTable(name, value string, beside map[string]string) error {
	refuse := func(allowed string) error { return &InvalidError{Key: name, Value: value, Allowed: allowed} }
	n, _ := strconv.ParseInt(value, 10, 64)
	switch name {
	case "log.retention.ms", "log.retention.minutes", "log.retention.hours":
		if n == 0 {
			return refuse("at least 1, or -1 for no limit")
		}
	case "log.roll.ms":
		if n < 1 {
			return refuse("at least 1")
		}
	case "log.roll.jitter.ms":
		if n < 0 {
			return refuse("at least 0")
		}
	case "log.cleaner.dedupe.buffer.size":
		if n <= 1<<20 {
			return refuse("more than 1048576 for each thread of the compactor")
		}
	case "max.connections.per.ip":
		if n == 0 && strings.TrimSpace(beside["max.connections.per.ip.overrides"]) == "" {
			return refuse("at least 1, unless max.connections.per.ip.overrides lets hosts in")
		}
	case "max.connections.per.ip.overrides":
		if !areOverrides(value) {
			return refuse("a list of HOST:NUMBER")
		}
	case "group.consumer.assignors":
		if names := Assignors(commaAndBlanks.Split(value, -1)); value == "" || slices.Contains(names, "") {
			return refuse("a list of uniform and range, the default first; a broker does not run classes of others")
		}
	}
	return nil
}

// Assignors are the names of assignors, which may be given by the names of Kafka's classes; "" for one that is not there.
func Assignors(given []string) []string {
	const classes = "org.apache.kafka.coordinator.group.assignor."
	names := make([]string, len(given))
	for i, name := range given {
		switch name {
		case "uniform", classes + "UniformAssignor":
			names[i] = "uniform"
		case "range", classes + "RangeAssignor":
			names[i] = "range"
		}
	}
	return names
}

// areOverrides says whether value is a list of HOST:NUMBER.
func areOverrides(value string) bool {
	if value == "" {
		return true
	}
	for _, e := range commaAndBlanks.Split(value, -1) {
		colon := strings.LastIndexByte(e, ':')
		if colon < 0 {
			return false
		}
		if _, err := strconv.ParseInt(e[colon+1:], 10, 32); err != nil {
			return false
		}
	}
	return true
}

// clusterLevelListener are keys of a listener that may be set for all brokers at once.
func clusterLevelListener(base string) bool {
	return base == "max.connections" || base == "max.connection.creation.rate" || base == "num.network.threads"
}
