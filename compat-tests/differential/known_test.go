//go:build compat

package differential

import "regexp"

// A known difference is one that is meant.
type known struct {
	script string         // name of the script, or "" for all
	label  *regexp.Regexp // of the step
	path   *regexp.Regexp // of the field
	absent bool           // only as far as the field is missing here
	reason string
}

var knownTable = []known{
	{"", regexp.MustCompile(`ApiVersions`), regexp.MustCompile(`^ApiKeys\[\d+\]\.`), true,
		"an API is announced when it works; announcedIsSubset holds the versions of those that are announced to Kafka's"},
	{"", regexp.MustCompile(`ApiVersions`), regexp.MustCompile(`^(Supported|Finalized)Features`), true,
		"a feature is announced when its behaviour is there"},
	{"", regexp.MustCompile(`DescribeConfigs|CreateTopics`), regexp.MustCompile(`Configs\["min\.insync\.replicas"\]\.(Source|ConfigSynonyms)`), false,
		"Kafka keeps a dynamic default of all brokers for it with eligible.leader.replicas.version 1, which is not announced here yet"},
}

// knownReason says why a difference is meant, or "".
func knownReason(script string, st step, path string, absentHere bool) string {
	for _, k := range knownTable {
		if (k.script == "" || k.script == script) && k.label.MatchString(st.label) && k.path.MatchString(path) && (absentHere || !k.absent) {
			return k.reason
		}
	}
	return ""
}
