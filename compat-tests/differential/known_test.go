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
	{"api-versions-unsupported", regexp.MustCompile(`no tags in the header`), regexp.MustCompile(`.`), false,
		"an unknown version is answered whatever follows its correlation id: its header may be of an unknown form, too"},
	{"describe-topic-partitions", regexp.MustCompile(`empty name`), regexp.MustCompile(`.`), false,
		"Kafka fails with an exception, for all topics of the request; here the empty name is an invalid one"},
	{"delete-records", regexp.MustCompile(`largest time`), regexp.MustCompile(`.`), false,
		"Kafka may name a record that has been deleted; here it is the latest of those that are there"},
	{"produce-batches", regexp.MustCompile(`twenty bytes of junk|length 48`), regexp.MustCompile(`ErrorMessage$`), false,
		"bytes that are no batch are explained wherever they stand; Kafka explains some"},
	{"produce-stumbles", regexp.MustCompile(`length too large`), regexp.MustCompile(`.`), false,
		"Kafka fails with an exception (-1), upon which clients give up idempotence; here it is an invalid record"},
	{"produce-stumbles", regexp.MustCompile(`offset delta wrong`), regexp.MustCompile(`.`), false,
		"Kafka means to rebuild such a batch and fails with an exception (-1) over its own iterator; here it is rebuilt"},
	{"stopped", regexp.MustCompile(`.`), regexp.MustCompile(`LeaderEpoch$`), false, epochsOfRestarts},
	{"killed", regexp.MustCompile(`.`), regexp.MustCompile(`LeaderEpoch$`), false, epochsOfRestarts},
	{"stopped", regexp.MustCompile(`repeat of the oldest`), regexp.MustCompile(`.`), false, windowsOfRestarts},
	{"killed", regexp.MustCompile(`repeat of the oldest`), regexp.MustCompile(`.`), false, windowsOfRestarts},
	{"stopped", regexp.MustCompile(`offsets of the trimmed`), regexp.MustCompile(`Offset$`), false,
		"of the largest timestamp, as in delete-records"},
	{"compaction-of-updates", regexp.MustCompile(`by time`), regexp.MustCompile(`.`), false, emptyFirstSegments},
	{"compaction-of-odd-logs", regexp.MustCompile(`by time`), regexp.MustCompile(`.`), false, emptyFirstSegments},
	{"fetch-wakes", regexp.MustCompile(`topic that is deleted`), regexp.MustCompile(`AbortedTransactions$`), false,
		"Kafka has null or empty by the moment at which it finds out that there is no such topic; clients take both"},
	{"fetch-limits", regexp.MustCompile(`negative`), regexp.MustCompile(`.`), false,
		"Kafka fails with an exception (-1); here a negative limit is none at all, which leaves the first batch"},
	{"cluster-replica-fetch", regexp.MustCompile(`^replica (2|3|9|-2),`), regexp.MustCompile(`.`), false,
		"Kafka believes a replica that does not say of which life it is, and hangs up on one that is none; here both are refused"},
	{"fetch-versions", regexp.MustCompile(`isolation level 2`), regexp.MustCompile(`.`), false,
		"Kafka fails with an exception (-1); here what is not read_uncommitted is read_committed"},
}

const epochsOfRestarts = "a restart is one new leader epoch here; in Kafka it is two, one for the time without a leader"

const emptyFirstSegments = "Kafka looks into the first segment whose file is young enough, finds it emptied by compaction, " +
	"and says that there is no such record; here the record is found"

const windowsOfRestarts = "after a restart Kafka knows a producer's last batch only; here it is all five, " +
	"so that no repeat is refused"

// knownReason says why a difference is meant, or "".
func knownReason(script string, st step, path string, absentHere bool) string {
	for _, k := range knownTable {
		if (k.script == "" || k.script == script) && k.label.MatchString(st.label) && k.path.MatchString(path) &&
			(absentHere || !k.absent) {
			return k.reason
		}
	}
	return ""
}
