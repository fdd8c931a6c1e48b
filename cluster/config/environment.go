package config

import (
	"slices"
	"strings"
)

// notProperties are variables that begin with KAFKA_ and speak to Kafka's start scripts or its JVM.
var notProperties = []string{
	"KAFKA_VERSION", "KAFKA_HEAP_OPTS", "KAFKA_LOG4J_OPTS", "KAFKA_OPTS", "KAFKA_JMX_OPTS", "KAFKA_JVM_PERFORMANCE_OPTS",
	"KAFKA_GC_LOG_OPTS", "KAFKA_LOG4J_ROOT_LOGLEVEL", "KAFKA_LOG4J_LOGGERS", "KAFKA_TOOLS_LOG4J_LOGLEVEL",
	"KAFKA_JMX_HOSTNAME", "KAFKA_JMX_PORT", "KAFKA_HOME", "KAFKA_DEBUG", "KAFKA_DIR",
}

// Environment is what a process environment ("NAME=value" each) says of the configuration.
type Environment struct {
	Properties map[string]string
	ClusterID  string // CLUSTER_ID, which the apache/kafka image formats a new data folder with
}

// ParseEnvironment reads the variables of the apache/kafka image: KAFKA_NUM_PARTITIONS is num.partitions, "_" is a dot,
// "__" an underscore, "___" a dash. MOLDAU_ADMIN_LISTEN is moldau.admin.listen in the same way. Where the listeners are
// not given they follow from the advertised ones, on all addresses, as in that image.
func ParseEnvironment(environ []string) Environment {
	e := Environment{Properties: map[string]string{}}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		switch {
		case name == "CLUSTER_ID":
			e.ClusterID = value
		case slices.Contains(notProperties, name):
		case strings.HasPrefix(name, "KAFKA_"):
			e.Properties[propertyName(strings.TrimPrefix(name, "KAFKA_"))] = value
		case strings.HasPrefix(name, "MOLDAU_"):
			if key := "moldau." + propertyName(strings.TrimPrefix(name, "MOLDAU_")); ownKeys[key] != nil {
				e.Properties[key] = value
			}
		}
	}
	delete(e.Properties, "")
	advertised := e.Properties["advertised.listeners"]
	if _, given := e.Properties["listeners"]; !given && advertised != "" {
		e.Properties["listeners"] = onAllAddresses(advertised)
	}
	return e
}

func propertyName(variable string) string {
	return strings.NewReplacer("___", "-", "__", "_", "_", ".").Replace(strings.ToLower(variable))
}

// onAllAddresses replaces the host of each listener, NAME://host:port.
func onAllAddresses(listeners string) string {
	parts := strings.Split(listeners, ",")
	for i, p := range parts {
		name, address, ok := strings.Cut(p, "://")
		if colon := strings.LastIndexByte(address, ':'); ok && colon >= 0 {
			parts[i] = name + "://0.0.0.0" + address[colon:]
		}
	}
	return strings.Join(parts, ",")
}
