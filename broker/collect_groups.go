package broker

import (
	"strconv"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"moldau.io/moldau/coordinator"
	"moldau.io/moldau/coordinator/group"
)

// The metrics of groups.
var (
	descGroups = desc("moldau_groups", "Groups coordinated by this broker, by state and type.", "state", "type")
	descShards = desc("moldau_group_partitions", "Partitions of the topic of groups that this broker coordinates, by what "+
		"they are: active, or loading.", "state")
	descOffsets = desc("moldau_group_offsets", "Offsets that groups have committed and that are kept.")
	descCommits = desc("moldau_group_commits_total", "Offsets that groups have committed since the start.")

	descKafkaGroups = desc("kafka_coordinator_group_groupmetadatamanager_numgroups", "Groups of the classic protocol.")
	descKafkaStates = map[group.State]*prometheus.Desc{
		group.Empty: desc("kafka_coordinator_group_groupmetadatamanager_numgroupsempty", "Classic groups without members."),
		group.PreparingRebalance: desc("kafka_coordinator_group_groupmetadatamanager_numgroupspreparingrebalance",
			"Classic groups whose members are joining."),
		group.CompletingRebalance: desc("kafka_coordinator_group_groupmetadatamanager_numgroupscompletingrebalance",
			"Classic groups that wait for an assignment."),
		group.Stable: desc("kafka_coordinator_group_groupmetadatamanager_numgroupsstable", "Classic groups at rest."),
		group.Dead:   desc("kafka_coordinator_group_groupmetadatamanager_numgroupsdead", "Always 0: such a group is gone."),
	}
	descKafkaOffsets = desc("kafka_coordinator_group_groupmetadatamanager_numoffsets", "Committed offsets that are kept.")
	descKafkaCount   = desc("kafka_server_group_coordinator_metrics_group_count", "Groups by protocol.", "protocol")
	descKafkaClassic = desc("kafka_server_group_coordinator_metrics_classic_group_count", "Classic groups by state.", "state")
	descKafkaConsume = desc("kafka_server_group_coordinator_metrics_consumer_group_count", "Consumer groups by state.", "state")
	descKafkaShards  = desc("kafka_server_group_coordinator_metrics_num_partitions", "Partitions of the topic of groups.", "state")
	descKafkaKept    = desc("kafka_server_group_coordinator_metrics_offset_count", "Committed offsets that are kept.")
	descKafkaCommits = desc("kafka_server_group_coordinator_metrics_offset_commit_count", "Offsets committed since the start.")

	descGroupLag = desc("moldau_group_lag", "Records that a group has not read: from its committed offset, or the log's "+
		"start where that is later, to the high watermark.", "group", "topic", "partition")
	descGroupLagSeconds = desc("moldau_group_lag_seconds", "How old the oldest record is that a group has not read; 0: none.",
		"group", "topic", "partition")
	descGroupBehind = desc("moldau_group_behind_log_start", "Records that were deleted before a group has read them; no "+
		"series where there are none.", "group", "topic", "partition")
	descGroupLeftOut = desc("moldau_group_lag_left_out_partitions", "Partitions of groups whose lag is not in the metrics: "+
		"above moldau.group.lag.metrics, or of a group whose name is too long or no UTF-8.")

	descGroupLast = desc("moldau_group_last_rebalance_timestamp_seconds", "When the last rebalance of a group began, of the "+
		"groups whose lag is in the metrics.", "group")
	descRebalances = desc("moldau_group_rebalances_total", "Rebalances of groups that began, by what caused them.", "cause")
	descRebalance  = desc("moldau_group_rebalance_seconds", "Time that rebalances of groups took, of those that came to an end.")
)

// groups collects what is known of groups.
func (c collector) groups(ch chan<- prometheus.Metric, count func(*prometheus.Desc, uint64, ...string),
	gauge func(*prometheus.Desc, float64, ...string)) {
	b := c.b
	c.held(b.groups.Count(), count, gauge)
	counts := b.groups.JournalCounts()
	for _, cause := range group.Causes() {
		count(descRebalances, counts.Rebalances[cause], string(cause))
	}
	buckets, below := map[float64]uint64{}, uint64(0)
	for i, bound := range coordinator.RebalanceSeconds {
		below += counts.Buckets[i]
		buckets[bound] = below
	}
	ch <- prometheus.MustNewConstHistogram(descRebalance, counts.Ended, counts.Seconds, buckets)
	if b.lag != nil && b.lag.most > 0 {
		c.lags(gauge)
	}
}

// The states that groups of each type can be in.
var (
	classicStates  = []group.State{group.Empty, group.PreparingRebalance, group.CompletingRebalance, group.Stable, group.Dead}
	consumerStates = []group.State{group.Empty, group.Assigning, group.Reconciling, group.Stable, group.Dead}
)

// held collects how many groups and offsets there are.
func (c collector) held(n coordinator.Counts, count func(*prometheus.Desc, uint64, ...string),
	gauge func(*prometheus.Desc, float64, ...string)) {
	sum := [2]int{}
	for i, states := range [][]group.State{classicStates, consumerStates} {
		kind, kafkas := "classic", descKafkaClassic
		if i == 1 {
			kind, kafkas = "consumer", descKafkaConsume
		}
		for _, state := range states {
			k := n.Groups[group.Counted{State: state, Consumer: i == 1}]
			sum[i] += k
			gauge(kafkas, float64(k), string(state))
			if state != group.Dead {
				gauge(descGroups, float64(k), string(state), kind)
			}
			if i == 0 {
				gauge(descKafkaStates[state], float64(k))
			}
		}
		gauge(descKafkaCount, float64(sum[i]), kind)
	}
	gauge(descKafkaGroups, float64(sum[0]))
	for _, d := range []*prometheus.Desc{descOffsets, descKafkaOffsets, descKafkaKept} {
		gauge(d, float64(n.Offsets))
	}
	for _, d := range []*prometheus.Desc{descShards, descKafkaShards} {
		gauge(d, float64(n.Active), "active")
		gauge(d, float64(n.Loading), "loading")
	}
	count(descCommits, n.Commits)
	count(descKafkaCommits, n.Commits)
}

// lags collects how far groups are behind.
func (c collector) lags(gauge func(*prometheus.Desc, float64, ...string)) {
	measured := c.b.lag.all()
	last, leftOut := "", measured.leftOut
	for i := range measured.lags {
		l := &measured.lags[i]
		if !labelable(l.Group) {
			leftOut++
			continue
		}
		partition := strconv.Itoa(int(l.Partition))
		gauge(descGroupLag, float64(l.Records), l.Group, l.Topic, partition)
		if l.Age >= 0 {
			gauge(descGroupLagSeconds, l.Age.Seconds(), l.Group, l.Topic, partition)
		}
		if l.Behind > 0 {
			gauge(descGroupBehind, float64(l.Behind), l.Group, l.Topic, partition)
		}
		if l.Group == last {
			continue
		}
		last = l.Group
		if r := c.b.groups.LastRebalance(last); r != nil {
			gauge(descGroupLast, float64(r.Began.UnixMilli())/1000, last)
		}
	}
	gauge(descGroupLeftOut, float64(leftOut))
}

// groupLabelMax bounds the name of a group as a label: clients choose them, and they may be 32 KiB long.
const groupLabelMax = 512

// labelable says that the name of a group may be a label. One that is not UTF-8 would have the whole scrape refused.
func labelable(group string) bool { return len(group) <= groupLabelMax && utf8.ValidString(group) }
