package broker_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// alterDir asks for partitions of one topic to lie in dir, and gives their codes.
func alterDir(c *brokertest.Client, version int16, dir, topic string, partitions ...int32) (codes []protocol.Code) {
	c.T.Helper()
	req := kmsg.NewPtrAlterReplicaLogDirsRequest()
	rd := kmsg.NewAlterReplicaLogDirsRequestDir()
	rt := kmsg.NewAlterReplicaLogDirsRequestDirTopic()
	rd.Dir, rt.Topic, rt.Partitions = dir, topic, partitions
	rd.Topics = append(rd.Topics, rt)
	req.Dirs = append(req.Dirs, rd)
	for _, t := range c.Do(brokertest.At(version, req)).(*kmsg.AlterReplicaLogDirsResponse).Topics {
		for _, p := range t.Partitions {
			codes = append(codes, protocol.Code(p.ErrorCode))
		}
	}
	return codes
}

// describeDirs is DescribeLogDirs in short: the folders' codes, and by folder the partitions, with "future" where they
// are on their way.
func describeDirs(c *brokertest.Client) (codes map[string]protocol.Code, in map[string]string) {
	c.T.Helper()
	codes, in = map[string]protocol.Code{}, map[string]string{}
	resp := c.Do(brokertest.Latest(kmsg.NewPtrDescribeLogDirsRequest())).(*kmsg.DescribeLogDirsResponse)
	for _, d := range resp.Dirs {
		codes[d.Dir] = protocol.Code(d.ErrorCode)
		var names []string
		for _, t := range d.Topics {
			for _, p := range t.Partitions {
				name := fmt.Sprintf("%s-%d", t.Topic, p.Partition)
				if p.IsFuture {
					name += " future"
				}
				names = append(names, name)
			}
		}
		in[d.Dir] = strings.Join(names, ", ")
	}
	return codes, in
}

// until waits for a condition.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(20 * time.Second); !ok(); {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// TestAlterReplicaLogDirs moves a partition slowly, sees it on its way, writes to it meanwhile, lets it arrive, and finds
// everything in it after a restart.
func TestAlterReplicaLogDirs(t *testing.T) {
	fs := vfs.NewMem()
	slow := map[string]string{"replica.alter.log.dirs.io.max.bytes.per.second": "1"}
	b := brokertest.Start(t, brokertest.Options{FS: fs, Dirs: []string{"/a", "/b"}, Settings: slow})
	c := b.Dial()
	id := createTopic(c, "t", 2)
	for range 10 {
		if got := protocol.Code(produce(c, 13, "t", id, 0, -1, records(3, 1000)).ErrorCode); got != protocol.None {
			t.Fatal(got)
		}
	}
	_, in := describeDirs(c)
	from, to := "/a", "/b"
	if !strings.Contains(in[from], "t-0") {
		from, to = to, from
	}
	for version := int16(1); version <= 2; version++ {
		if got := alterDir(c, version, to, "t", 0); fmt.Sprint(got) != "[NONE]" {
			t.Fatal(got)
		}
	}
	if _, in = describeDirs(c); !strings.Contains(in[to], "t-0 future") || !strings.Contains(in[from], "t-0") {
		t.Fatalf("on the way: %v", in)
	}
	if got := protocol.Code(produce(c, 13, "t", id, 0, -1, records(5, 10)).ErrorCode); got != protocol.None {
		t.Fatal(got)
	}
	b.Restart() // a move goes on after it
	c = b.Dial()
	if _, in = describeDirs(c); !strings.Contains(in[to], "t-0 future") {
		t.Fatalf("after a restart: %v", in)
	}
	setBroker(c, "replica.alter.log.dirs.io.max.bytes.per.second", "1000000000")
	until(t, "the move's end", func() bool {
		_, in = describeDirs(c)
		return strings.Contains(in[to], "t-0") && !strings.Contains(in[to], "future") && !strings.Contains(in[from], "t-0")
	})
	if got := protocol.Code(produce(c, 13, "t", id, 0, -1, records(2, 10)).ErrorCode); got != protocol.None {
		t.Fatal(got)
	}
	b.Restart()
	resp := fetch(b.Dial(), 18, "t", id, fetchFrom(0, 0))
	if n := countRecords(t, resp.Topics[0].Partitions[0].RecordBatches); n != 37 {
		t.Errorf("%d records, want 37", n)
	}
}

// TestAlterReplicaLogDirsIsRefused expects what Apache Kafka 4.4.0 answers.
func TestAlterReplicaLogDirsIsRefused(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{Dirs: []string{"/a", "/b"}})
	c := b.Dial()
	createTopic(c, "t", 1)
	for _, tc := range []struct {
		dir, topic string
		partition  int32
		want       protocol.Code
	}{
		{"/c", "t", 0, protocol.LogDirNotFound},
		{"", "t", 0, protocol.LogDirNotFound},
		{"a", "t", 0, protocol.LogDirNotFound},
		{"/a/", "t", 0, protocol.LogDirNotFound},
		{"/a/../b", "t", 0, protocol.LogDirNotFound},
		{"/c", "none", 0, protocol.LogDirNotFound},
		{"/a", "none", 0, protocol.UnknownTopicOrPartition},
		{"/a", "t", 1, protocol.UnknownTopicOrPartition},
		{"/a", "t", -1, protocol.UnknownTopicOrPartition},
		{"/a", "bad name", 0, protocol.UnknownTopicOrPartition},
		{"/a", "", 0, protocol.UnknownTopicOrPartition},
		{"/a", "__cluster_metadata", 0, protocol.UnknownTopicOrPartition},
		{"/a", strings.Repeat("n", 249), 0, protocol.InvalidTopicException},
	} {
		if got := alterDir(c, 2, tc.dir, tc.topic, tc.partition); len(got) != 1 || got[0] != tc.want {
			t.Errorf("%s-%d to %q: %v, want %v", tc.topic, tc.partition, tc.dir, got, tc.want)
		}
	}
	// A folder asked for before the topic is there is where it goes.
	if got := alterDir(c, 2, "/b", "later", 0, 1, 2, 3); len(got) != 4 || got[0] != protocol.UnknownTopicOrPartition {
		t.Error(got)
	}
	createTopic(c, "later", 4)
	if _, in := describeDirs(c); strings.Contains(in["/a"], "later") || strings.Count(in["/b"], "later") != 4 {
		t.Errorf("folders %v", in)
	}
}

// setBroker sets a configuration of all brokers.
func setBroker(c *brokertest.Client, name, value string) {
	c.T.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	rr := kmsg.NewIncrementalAlterConfigsRequestResource()
	rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceTypeBroker, ""
	rc := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	rc.Name, rc.Value = name, &value
	rr.Configs = append(rr.Configs, rc)
	req.Resources = append(req.Resources, rr)
	resp := c.Do(brokertest.Latest(req)).(*kmsg.IncrementalAlterConfigsResponse)
	if code := protocol.Code(resp.Resources[0].ErrorCode); code != protocol.None {
		c.T.Fatalf("set %s=%s: %v", name, value, code)
	}
}
