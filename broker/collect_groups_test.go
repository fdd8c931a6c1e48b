package broker_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
)

// values are the metrics of one name that are not 0, as "label=value,... number".
func values(t *testing.T, b *brokertest.Broker, name string) string {
	t.Helper()
	families, err := b.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			if n := m.GetCounter().GetValue() + m.GetGauge().GetValue(); n != 0 {
				all = append(all, strings.TrimSpace(fmt.Sprint(strings.Join(labels, "/"), " ", n)))
			}
		}
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

func TestGroupsAreCounted(t *testing.T) {
	w := newGroupWire(t, map[string]string{"offsets.topic.num.partitions": "4"})
	for i := range 3 {
		c := w.joinConsumer(fmt.Sprint("new-", i), "m")
		w.codes("commit", w.commit(9, c.group, "m", c.epoch), protocol.None)
	}
	w.codes("commit", w.commit(9, "old", "", -1), protocol.None)
	w.codes("commit again", w.commit(9, "old", "", -1), protocol.None)
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for _, want := range [][2]string{
		{"moldau_groups", "Empty/classic 1, Stable/consumer 3"},
		{"moldau_group_partitions", "active 4"},
		{"moldau_group_offsets", "4"},
		{"moldau_group_commits_total", "5"},
		{"kafka_coordinator_group_groupmetadatamanager_numgroups", "1"},
		{"kafka_coordinator_group_groupmetadatamanager_numgroupsempty", "1"},
		{"kafka_coordinator_group_groupmetadatamanager_numgroupsstable", ""},
		{"kafka_coordinator_group_groupmetadatamanager_numoffsets", "4"},
		{"kafka_server_group_coordinator_metrics_group_count", "classic 1, consumer 3"},
		{"kafka_server_group_coordinator_metrics_classic_group_count", "Empty 1"},
		{"kafka_server_group_coordinator_metrics_consumer_group_count", "Stable 3"},
		{"kafka_server_group_coordinator_metrics_num_partitions", "active 4"},
		{"kafka_server_group_coordinator_metrics_offset_commit_count", "5"},
	} {
		for end := time.Now().Add(10 * time.Second); ; <-look.C {
			got := values(t, w.broker, want[0])
			if got == want[1] {
				break
			}
			if time.Now().After(end) {
				t.Errorf("%s: %q, want %q", want[0], got, want[1])
				break
			}
		}
	}
}
