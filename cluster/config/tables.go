package config

import (
	_ "embed" // the tables
	"fmt"
	"strings"
)

// The tables hold one key a line, sorted by name: name, type, default ("null", "required" and `""` are themselves),
// importance, mode, internal, allowed values, synonyms (comma separated), documentation. "-" stands for nothing.
var (
	//go:embed tables/broker.tsv
	brokerTable string
	//go:embed tables/topic.tsv
	topicTable string
	//go:embed tables/group.tsv
	groupTable string

	brokerKeys = mustParse(brokerTable)
	topicKeys  = mustParse(topicTable)
	groupKeys  = mustParse(groupTable)
)

// keySet is the keys of one kind of resource.
type keySet struct {
	sorted []*Key
	byName map[string]*Key
}

// Broker finds a broker key by name.
func Broker(name string) (*Key, bool) { return brokerKeys.find(name) }

// Topic finds a topic key by name.
func Topic(name string) (*Key, bool) {
	if k, ok := topicKeys.find(name); ok {
		return k, true
	}
	k, ok := ownTopicKeys[name]
	return k, ok
}

// Group finds a group key by name.
func Group(name string) (*Key, bool) { return groupKeys.find(name) }

// BrokerKeys are all broker keys sorted by name. The slice is shared.
func BrokerKeys() []*Key { return brokerKeys.sorted }

// TopicKeys are all topic keys sorted by name. The slice is shared.
func TopicKeys() []*Key { return topicKeys.sorted }

// GroupKeys are all group keys sorted by name. The slice is shared.
func GroupKeys() []*Key { return groupKeys.sorted }

func (s keySet) find(name string) (*Key, bool) {
	k, ok := s.byName[name]
	return k, ok
}

// mustParse reads a table. The tables are part of the program, so a bad line is a fault of ours and shows in any test.
func mustParse(table string) keySet {
	lines := strings.Split(strings.TrimSuffix(table, "\n"), "\n")[1:]
	set := keySet{sorted: make([]*Key, 0, len(lines)), byName: make(map[string]*Key, len(lines))}
	for _, line := range lines {
		k, err := parseKey(line)
		if err != nil {
			panic(fmt.Sprintf("configuration table, line %q: %v", line, err))
		}
		set.sorted = append(set.sorted, k)
		set.byName[k.Name] = k
	}
	return set
}

func parseKey(line string) (*Key, error) {
	f := strings.Split(line, "\t")
	if len(f) != 9 {
		return nil, fmt.Errorf("%d columns, want 9", len(f))
	}
	for i := range f {
		if f[i] == "-" {
			f[i] = ""
		}
	}
	t, knownType := typeNames[f[1]]
	mode, knownMode := modeNames[f[4]]
	if !knownType || !knownMode {
		return nil, fmt.Errorf("unknown type %q or mode %q", f[1], f[4])
	}
	k := &Key{
		Name: f[0], Type: t, Importance: f[3], Mode: mode, Internal: f[5] == "true", Sensitive: t == Password,
		Allowed: f[6], Doc: f[8],
	}
	switch f[2] {
	case "null":
	case "required":
		k.Required = true
	case `""`:
		k.Default = new(string)
	default:
		d := f[2]
		k.Default = &d
	}
	if f[7] != "" {
		k.Synonyms = strings.Split(f[7], ",")
	}
	var err error
	k.check, err = parseAllowed(k.Type, k.Allowed)
	return k, err
}
