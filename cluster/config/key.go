package config

// ResourceType is what a configuration belongs to; the numbers are those of DescribeConfigs and the metadata log.
type ResourceType int8

const (
	TopicResource         ResourceType = 2
	BrokerResource        ResourceType = 4
	BrokerLoggerResource  ResourceType = 8
	ClientMetricsResource ResourceType = 16
	GroupResource         ResourceType = 32
)

// Type is the type of a value; the numbers are those that DescribeConfigs sends from version 3 on.
type Type int8

const (
	Unknown  Type = 0
	Boolean  Type = 1
	String   Type = 2
	Int      Type = 3
	Short    Type = 4
	Long     Type = 5
	Double   Type = 6
	List     Type = 7
	Class    Type = 8
	Password Type = 9
)

// String is Kafka's name of the type.
func (t Type) String() string {
	for name, number := range typeNames {
		if number == t {
			return name
		}
	}
	return "UNKNOWN"
}

var typeNames = map[string]Type{
	"BOOLEAN": Boolean, "STRING": String, "INT": Int, "SHORT": Short, "LONG": Long, "DOUBLE": Double, "LIST": List,
	"CLASS": Class, "PASSWORD": Password,
}

// Mode says how a key may be changed while the broker runs (Kafka's "update mode"). Topic and group keys always may.
type Mode int8

const (
	ReadOnly    Mode = iota // only by a restart
	PerBroker               // on one broker, since its value makes sense there only
	ClusterWide             // on one broker, or for all of them as the default
	OfTopic                 // a topic's own key
	OfGroup                 // a group's own key
)

var modeNames = map[string]Mode{
	"read-only": ReadOnly, "per-broker": PerBroker, "cluster-wide": ClusterWide, "topic": OfTopic, "group": OfGroup,
}

// Key is one configuration key. Keys are shared and never changed.
type Key struct {
	Name       string
	Type       Type
	Default    *string // nil: the value is null unless set
	Required   bool    // Kafka refuses to start without it; moldau finds a value itself
	Importance string  // HIGH, MEDIUM or LOW
	Mode       Mode
	Internal   bool   // hidden from descriptions unless set
	Sensitive  bool   // never described
	Doc        string // one or more sentences for the operator
	Allowed    string // what values are allowed, as the table says it; empty: any of the type

	// Synonyms are the broker keys that give the value where the key itself is not set, in the order in which they win.
	// For a topic or group key they are its broker-wide defaults; for a broker key with units (log.retention.ms, .minutes,
	// .hours) they include the key itself.
	Synonyms []string

	check validator // from Allowed; nil: any value of the type
}

// Synonym is the broker key that sets the default of a topic or group key; empty where there is none.
func (k *Key) Synonym() string {
	if len(k.Synonyms) == 0 {
		return ""
	}
	return k.Synonyms[0]
}

// Dynamic says whether a broker key may be changed while the broker runs.
func (k *Key) Dynamic() bool { return k.Mode != ReadOnly }
