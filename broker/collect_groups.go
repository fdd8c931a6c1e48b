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
	descGroups = desc("moldau_groups", "Groups coordinated by this broker, by state.", "state")

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
	states := b.groups.Count()
	for _, state := range []group.State{group.Empty, group.PreparingRebalance, group.CompletingRebalance, group.Stable,
		group.Assigning, group.Reconciling} {
		gauge(descGroups, float64(states[state]), string(state))
	}
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
