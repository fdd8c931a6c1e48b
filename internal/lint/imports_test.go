package lint

import (
	"strings"
	"testing"
)

// directions says which packages of the project each may import; the first row that matches counts, and a package that
// has no row may import nothing of ours. Think twice before you widen a row: it is the architecture. Tests may import more,
// since they put things together that know nothing of one another.
var directions = []struct {
	pkg string
	may []string
}{
	{"protocol", nil},
	{"protocol/compress", []string{"protocol"}},
	{"protocol/fields", nil},
	{"protocol/batch", []string{"protocol", "protocol/compress", "internal/invariant"}},

	{"storage/vfs", nil},
	{"storage/epoch", []string{"protocol", "internal/invariant"}},
	{"storage/compact", []string{"protocol", "protocol/batch", "protocol/compress", "internal/invariant"}},
	{"storage/producers", []string{"protocol", "protocol/batch", "internal/invariant"}},
	{"storage/...", []string{"protocol/...", "storage/...", "internal/invariant"}},

	{"cluster/config", nil},
	{"cluster/meta", []string{"protocol", "cluster/config", "internal/invariant"}},
	{"cluster/spread", nil},
	{"cluster/adopt", []string{"protocol", "protocol/fields", "cluster/config", "cluster/meta"}},
	{"cluster/replica", []string{"protocol", "storage/epoch", "internal/invariant"}},
	{"cluster/quorum", []string{"protocol", "cluster/meta", "storage/vfs", "internal/invariant"}},
	{"cluster/link", []string{"protocol"}},
	{"cluster/gossip", []string{"protocol", "cluster/link", "storage/vfs"}},
	{"cluster", []string{"protocol", "cluster/...", "storage/...", "internal/invariant"}},

	{"coordinator/group", []string{"protocol", "protocol/batch", "internal/invariant", "coordinator/group/assignor"}},
	{"coordinator/group/assignor", []string{"protocol", "internal/invariant"}},
	{"coordinator/txn", []string{"protocol", "protocol/batch", "internal/invariant"}},
	{"coordinator/lag", []string{"protocol", "coordinator/group"}},
	{"coordinator", []string{"protocol/...", "coordinator/...", "internal/invariant"}},

	{"security", []string{"protocol"}},
	{"broker/...", []string{
		"protocol/...", "storage/...", "cluster/...", "coordinator/...", "security/...", "broker/...", "internal/invariant",
	}},
	{"console", []string{"broker", "protocol"}},
	{"cmd/...", []string{
		"broker", "console", "security", "storage/...", "cluster", "cluster/config", "cluster/link", "cluster/spread", "cluster/quorum",
		"protocol/...", "cmd/...", "bench/...",
	}},

	{"bench/...", []string{"protocol/...", "broker/...", "storage/...", "cluster/...", "coordinator/...", "bench/..."}},
	{"compat-tests/...", []string{"protocol/...", "compat-tests/..."}},
	{"internal/invariant", nil},
	{"internal/lint", nil},
	{"internal/...", []string{
		"protocol/...", "storage/...", "cluster/...", "coordinator/...", "broker/...", "security", "internal/...",
	}},
}

func TestImportsGoTheRightWay(t *testing.T) {
	for _, s := range load(t).files {
		if s.test {
			continue
		}
		for _, imp := range s.imports {
			ours, ok := strings.CutPrefix(imp, module+"/")
			if ok && ours != s.pkg && !mayImport(s.pkg, ours) {
				t.Errorf("%s imports %s, which %s may not (see directions in internal/lint/imports_test.go)", s.path, ours, s.pkg)
			}
		}
	}
}

func mayImport(pkg, imported string) bool {
	for _, row := range directions {
		if under(pkg, row.pkg) {
			return anyUnder(imported, row.may)
		}
	}
	return false
}

func TestEveryPackageHasItsDirections(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range load(t).files {
		if s.test || seen[s.pkg] {
			continue
		}
		seen[s.pkg] = true
		found := false
		for _, row := range directions {
			found = found || under(s.pkg, row.pkg)
		}
		if !found {
			t.Errorf("package %s has no row in internal/lint/imports_test.go", s.pkg)
		}
	}
}

// outside says which packages, besides tests, may import a library. One that is not named here may be imported by all.
var outside = []struct {
	library string
	by      []string
	because string
}{
	{"go.etcd.io/raft/v3/...", []string{"cluster/quorum"}, "the quorum must be replaceable and simulated"},
	{"github.com/hashicorp/memberlist/...", []string{"cluster/gossip"}, "gossip gives hints and decides nothing"},
	{"github.com/flynn/noise/...", []string{"cluster/link"}, "encryption between brokers is in one place"},
	{"github.com/spf13/cobra/...", []string{"cmd/..."}, "only commands have flags"},
	{"github.com/twmb/franz-go", []string{"cmd/...", "bench/...", "compat-tests/...", "internal/..."}, "a broker is no client"},
	{"github.com/twmb/franz-go/pkg/kgo/...", []string{"cmd/...", "bench/...", "compat-tests/...", "internal/..."}, "a broker is no client"},
	{"github.com/twmb/franz-go/pkg/kadm/...", []string{"cmd/...", "bench/...", "compat-tests/...", "internal/..."}, "a broker is no client"},
	{"github.com/IBM/sarama/...", []string{"bench/...", "compat-tests/..."}, "a broker is no client"},
	{"github.com/segmentio/kafka-go/...", []string{"bench/...", "compat-tests/..."}, "a broker is no client"},
	{"github.com/zeebo/xxh3", []string{"coordinator/group"}, "records that Kafka reads too have one hash of it"},
	{"github.com/klauspost/compress/...", []string{"protocol/compress"}, "every decoder needs the limits that it sets"},
	{"github.com/pierrec/lz4/v4/...", []string{"protocol/compress"}, "every decoder needs the limits that it sets"},
	{"compress/...", []string{"protocol/compress"}, "every decoder needs the limits that it sets"},
	{"github.com/prometheus/...", []string{"broker/...", "cmd/...", "console"}, "cores count nothing"},
	{"encoding/gob", nil, "files have formats that are drawn"},
	{"unsafe", []string{"protocol", "protocol/...", "storage/vfs"}, "only where bytes become strings on the hot path"},
}

func TestLibrariesHaveTheirPlace(t *testing.T) {
	for _, s := range load(t).files {
		if s.test {
			continue
		}
		for _, imp := range s.imports {
			for _, row := range outside {
				if under(imp, row.library) && !anyUnder(s.pkg, row.by) {
					t.Errorf("%s imports %s, which only %v may: %s", s.path, imp, row.by, row.because)
				}
			}
		}
	}
}
