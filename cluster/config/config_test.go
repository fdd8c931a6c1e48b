package config

import (
	"strings"
	"testing"
)

func TestTablesHoldEveryKeyOfKafka(t *testing.T) {
	for name, f := range map[string]struct {
		keys          []*Key
		all, internal int
	}{
		"broker": {BrokerKeys(), 379, 29},
		"topic":  {TopicKeys(), 38, 1},
		"group":  {GroupKeys(), 27, 6},
	} {
		internal := 0
		for _, k := range f.keys {
			if k.Internal {
				internal++
			}
			if !strings.HasSuffix(k.Doc, ".") || len(k.Doc) < 15 {
				t.Errorf("%s key %s has no documentation: %q", name, k.Name, k.Doc)
			}
			if k.Default != nil {
				if c, err := k.Canonical(*k.Default); err != nil || c != *k.Default {
					t.Errorf("%s key %s: default %q becomes %q, %v", name, k.Name, *k.Default, c, err)
				}
			}
		}
		if len(f.keys) != f.all || internal != f.internal {
			t.Errorf("%s: %d keys, %d of them internal; Kafka 4.4.0 has %d and %d", name, len(f.keys), internal, f.all, f.internal)
		}
	}
}
