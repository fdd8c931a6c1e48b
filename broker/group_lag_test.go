package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

// commitTo commits an offset for a consumer without a group.
func (w *groupWire) commitTo(group, topic string, partition int32, offset int64) {
	w.T.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation = group, -1
	t := kmsg.NewOffsetCommitRequestTopic()
	t.Topic = topic
	p := kmsg.NewOffsetCommitRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp := w.Do(brokertest.At(8, req)).(*kmsg.OffsetCommitResponse)
	if code := resp.Topics[0].Partitions[0].ErrorCode; code != 0 {
		w.T.Fatalf("commit of %s-%d=%d by %s: %d", topic, partition, offset, group, code)
	}
}

// series is the values of a metric by the values of its labels, in the order of their names, with a space between.
func series(t testing.TB, b *brokertest.Broker, name string) map[string]float64 {
	t.Helper()
	families, err := b.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			out[strings.Join(labels, " ")] = m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
	}
	return out
}

// lagIs waits until the metrics say that so many records are unread, of which the oldest is of that time (0: none is
// unread). Labels are group, partition and topic.
func (w *groupWire) lagIs(labels string, records float64, millis int64) {
	w.T.Helper()
	said := ""
	defer func() {
		if w.T.Failed() {
			w.T.Logf("%s: %s", labels, said)
		}
	}()
	eventually(w.T, func() bool {
		before := time.Now().Add(-time.Second) // a measurement is good for so long
		lag, ok := series(w.T, w.broker, "moldau_group_lag")[labels]
		age, known := series(w.T, w.broker, "moldau_group_lag_seconds")[labels]
		after := time.Now()
		least, most := float64(before.UnixMilli()-millis)/1000, float64(after.UnixMilli()-millis)/1000
		if millis == 0 {
			least, most = 0, 0
		}
		said = fmt.Sprintf("lag %v %v, seconds %v %v; want %v, %v..%v", lag, ok, age, known, records, least, most)
		return ok && known && lag == records && age >= least && age <= most
	})
}

func TestLagOfGroupsInRecordsAndInTime(t *testing.T) {
	w := newGroupWire(t, nil)
	now := time.Now().UnixMilli()
	put := func(partition int32, records []byte) {
		t.Helper()
		resp := produce(w.Client, 9, "t", w.topic, partition, 1, records)
		if code := resp.ErrorCode; code != 0 {
			t.Fatalf("produce: %d", code)
		}
	}
	put(0, timed(now-90_000, now-60_000, now-30_000)) // 0..2, exact in the middle of it
	put(0, timed(now-20_000, now-19_900, now-19_800)) // 3..5, with one time for all of it
	zipped := batch.NewBuilder(batch.BuilderOptions{Codec: compress.Zstd})
	for _, ms := range []int64{now - 15_000, now - 10_000} {
		zipped.Add(ms, []byte("k"), []byte("v"))
	}
	put(0, zipped.Build()) // 6..7
	for offset := range int64(9) {
		w.commitTo(fmt.Sprint("g", offset), "t", 0, offset)
	}
	w.commitTo("over", "t", 0, 99)
	w.commitTo("none", "t", 0, -1) // what is stored like this stands for nothing
	for offset, want := range []struct {
		records float64
		millis  int64
	}{
		{8, now - 90_000}, {7, now - 60_000}, {6, now - 30_000}, {5, now - 20_000}, {4, now - 20_000}, {3, now - 20_000},
		{2, now - 15_000}, {1, now - 10_000}, {0, 0},
	} {
		w.lagIs(fmt.Sprintf("g%d 0 t", offset), want.records, want.millis)
	}
	w.lagIs("over 0 t", 0, 0)

	// New records are a lag at once, and a commit takes it away.
	put(1, timed(now-5000))
	w.commitTo("g0", "t", 1, 0)
	w.lagIs("g0 1 t", 1, now-5000)
	w.commitTo("g0", "t", 1, 1)
	w.lagIs("g0 1 t", 0, 0)
	if _, ok := series(t, w.broker, "moldau_group_lag")["none 0 t"]; ok {
		t.Error("an offset below zero has a lag")
	}

	// Below the log's start lag counts from there, and what is gone is told apart.
	if p := deleteRecords(w.Client, "t", 0, 6); p.ErrorCode != 0 {
		t.Fatalf("%+v", p)
	}
	w.lagIs("g2 0 t", 2, now-15_000)
	w.lagIs("g8 0 t", 0, 0)
	if behind := series(t, w.broker, "moldau_group_behind_log_start"); behind["g2 0 t"] != 4 || len(behind) != 6 {
		t.Errorf("behind the log's start: %v", behind)
	}

	deleteTopic(w.Client, w.topic)
	eventually(t, func() bool { return len(series(t, w.broker, "moldau_group_lag")) == 0 })
}

// TestLagMetricsAreBounded: clients choose how many groups there are, and what they are called.
func TestLagMetricsAreBounded(t *testing.T) {
	w := newGroupWire(t, map[string]string{"moldau.group.lag.metrics": "5"})
	for _, g := range []string{"e", "d", "c", "b", "a"} {
		for partition := range int32(2) {
			w.commitTo(g, "t", partition, 0)
		}
	}
	w.lagIs("a 0 t", 0, 0)
	lags := series(t, w.broker, "moldau_group_lag")
	if _, ok := lags["c 0 t"]; !ok || len(lags) != 5 {
		t.Errorf("not the first five: %v", lags)
	}
	if n := series(t, w.broker, "moldau_group_lag_left_out_partitions")[""]; n != 5 {
		t.Errorf("%v are said to be left out", n)
	}
	w.commitTo("\xff", "t", 0, 0)
	w.commitTo("\xfe", "t", 0, 0)
	w.commitTo("A"+strings.Repeat("x", 20_000), "t", 0, 0)
	eventually(t, func() bool { return series(t, w.broker, "moldau_group_lag_left_out_partitions")[""] == 9 })
	if n := len(series(t, w.broker, "moldau_group_lag")); n != 4 {
		t.Errorf("%d series beside one with a name that is too long", n)
	}

	off := newGroupWire(t, map[string]string{"moldau.group.lag.metrics": "0"})
	off.commitTo("a", "t", 0, 0)
	if n := len(series(t, off.broker, "moldau_group_lag")); n != 0 {
		t.Errorf("%d series though there should be none", n)
	}
	eventually(t, func() bool { // who asks for one group is told its lag all the same
		list := off.broker.GroupStatus(10)
		d, err := off.broker.GroupDetail("a")
		return err == nil && len(list.Groups) == 1 && list.Groups[0].Lag == nil && d.Lag != nil && *d.Lag == 0
	})
}
