package groups

// Story is one story as told by the members of one client.
type Story struct {
	Name     string // see ../scenarios.md
	Client   string // java, confluent-kafka, franz-go, kafkajs, or all
	Protocol string // range, cooperative and roundrobin are the classic protocol with that assignor; convert begins with it; all: each
	Alone    bool   // it measures pauses, so that nothing else may run
}

// String is the story's name as a test.
func (s Story) String() string { return s.Name + "/" + s.Client + "/" + s.Protocol }

// Stories are all that are told.
var Stories = []Story{
	{"smooth", "java", "cooperative", true},
	{"smooth", "java", "consumer", true},
	{"stops", "java", "range", true},
	{"convert", "java", "cooperative", true},

	{"smooth", "confluent-kafka", "cooperative", false},
	{"smooth", "confluent-kafka", "consumer", false},
	{"members", "java", "range", false},
	{"members", "java", "cooperative", false},
	{"members", "java", "consumer", false},
	{"members", "confluent-kafka", "range", false},
	{"members", "confluent-kafka", "cooperative", false},
	{"members", "confluent-kafka", "consumer", false},
	{"members", "franz-go", "cooperative", false},
	{"members", "franz-go", "consumer", false},
	{"members", "kafkajs", "roundrobin", false},
	{"rolling", "java", "range", false},
	{"rolling", "java", "consumer", false},
	{"rolling", "confluent-kafka", "range", false},
	{"rolling", "confluent-kafka", "consumer", false},
	{"rolling", "franz-go", "range", false},
	{"zombie", "java", "range", false},
	{"zombie", "java", "consumer", false},
	{"zombie", "confluent-kafka", "range", false},
	{"zombie", "confluent-kafka", "consumer", false},
	{"fenced", "java", "range", false},
	{"fenced", "java", "consumer", false},
	{"convert", "confluent-kafka", "range", false},
	{"crash", "java", "all", false},
	{"mixed", "all", "range", false},
	{"mixed", "all", "consumer", false},
	{"mixed", "all", "both", false},
	{"pattern", "java", "consumer", false},
	{"pattern", "confluent-kafka", "consumer", false},
	{"pattern", "franz-go", "consumer", false},
	{"chosen", "java", "consumer", false},
	{"chosen", "confluent-kafka", "consumer", false},
	{"chosen", "franz-go", "consumer", false},
}
