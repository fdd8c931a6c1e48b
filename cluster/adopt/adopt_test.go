package adopt

import (
	"encoding/binary"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// testdata/metadata.log is the __cluster_metadata of Apache Kafka 4.4.0, one node in combined mode: topics with
// configurations, one deleted, one with partitions added, groups and transactions (internal topics of 3 and 2 partitions),
// settings of the broker and of all brokers, one SCRAM credential, one quota, one ACL, an orderly end.

// values are the values of the data records of a file of batches.
func values(tb testing.TB, name string) (out [][]byte) {
	tb.Helper()
	rest, err := os.ReadFile(name)
	if err != nil {
		tb.Fatal(err)
	}
	for len(rest) > 0 {
		var b batch.Batch
		if b, rest, err = batch.Next(rest); err != nil {
			tb.Fatal(err)
		}
		if b.IsControl() {
			continue
		}
		for r, err := range b.Records(nil) {
			if err != nil {
				tb.Fatal(err)
			}
			out = append(out, slices.Clone(r.Value))
		}
	}
	return out
}

func golden(t *testing.T) *Metadata {
	t.Helper()
	m := New()
	for _, name := range []string{"testdata/bootstrap.checkpoint", "testdata/metadata.log"} {
		for _, v := range values(t, name) {
			if err := m.Apply(v); err != nil {
				t.Fatal(err)
			}
		}
	}
	return m
}

// goldenDirectory is the directory.id of the data folder that the metadata was in.
const goldenDirectory = "SwNqyuu2RGS4iNoJlwRIvQ"

var everything = []string{IgnoreACLs, IgnoreSCRAM, IgnoreQuotas, IgnoreTokens}

func TestKafkasMetadataIsTaken(t *testing.T) {
	rides := protocol.TopicPartition{Topic: "rides", Partition: 1}
	plan, notes, err := golden(t).Plan(Here{
		ClusterID: "c", Node: 1, Directories: []string{goldenDirectory}, Ignore: everything, Logs: map[protocol.TopicPartition]Log{rides: {Epoch: 41}},
	})
	if err != nil {
		t.Fatal(err)
	}
	partitions := map[string]int{}
	for _, topic := range plan.Topics {
		partitions[topic.Name] = len(topic.Partitions)
		for i, p := range topic.Partitions {
			if p.Leader != 1 || len(p.Replicas) != 1 || p.ISR[0] != 1 || p.LeaderEpoch < 1 {
				t.Errorf("%s-%d is to be %+v", topic.Name, i, p)
			}
			if above := p.LeaderEpoch == 42; above != (topic.Name == rides.Topic && i == 1) {
				t.Errorf("%s-%d is to be led in epoch %d", topic.Name, i, p.LeaderEpoch)
			}
		}
	}
	want := map[string]int{
		"__consumer_offsets": 3, "__transaction_state": 2, "grown": 4, "paid": 1, "profiles": 1, "rides": 3,
	}
	if !maps.Equal(partitions, want) {
		t.Errorf("topics %v, not %v", partitions, want)
	}
	if plan.NextProducerID != 1000+producerIDGap {
		t.Errorf("producer ids go on at %d", plan.NextProducerID)
	}
	have := map[string]string{}
	for _, c := range plan.Configs {
		for k, v := range c.Values {
			have[c.Resource.Name+" "+k] = v
		}
	}
	for k, v := range map[string]string{
		"rides retention.ms": "-1", "rides segment.bytes": "1048576", "profiles cleanup.policy": "compact",
		"grown retention.bytes": "123456789", " log.retention.ms": "999999999", "1 log.cleaner.threads": "2",
		"__consumer_offsets cleanup.policy": "compact",
	} {
		if have[k] != v {
			t.Errorf("%s is %q, not %q", k, have[k], v)
		}
	}
	if len(notes) != 3 {
		t.Errorf("what is left behind: %q", notes)
	}
}

func TestWhatProtectsIsNotLeftBehindInSilence(t *testing.T) {
	_, _, err := golden(t).Plan(Here{ClusterID: "c", Node: 1, Directories: []string{goldenDirectory}})
	if err == nil {
		t.Fatal("a folder with ACLs, credentials and quotas was taken")
	}
	for _, part := range []string{"ACLs (1)", "SCRAM credentials (1)", "client quotas (1)",
		"--set moldau.adopt.ignore=acls,scram,quotas"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("the refusal does not say %q: %v", part, err)
		}
	}
	if _, _, err := golden(t).Plan(Here{ClusterID: "c", Node: 1, Directories: []string{goldenDirectory}, Ignore: []string{IgnoreACLs, IgnoreSCRAM}}); err == nil ||
		strings.Contains(err.Error(), "ACL") || !strings.Contains(err.Error(), "quotas") {
		t.Errorf("with all but the quotas ignored: %v", err)
	}
}

// writer makes metadata records as Kafka writes them.
type writer []byte

func record(kind, version byte) writer { return writer{1, kind, version} }

func (w writer) text(s string) writer { return append(append(w, byte(len(s)+1)), s...) }
func (w writer) id(b byte) writer     { return append(w, topicID(b)[:]...) }
func (w writer) int8(n int8) writer   { return append(w, byte(n)) }
func (w writer) int32(n int32) writer { return binary.BigEndian.AppendUint32(w, uint32(n)) }
func (w writer) tags() writer         { return append(w, 0) }
func (w writer) list(ns ...int32) writer {
	w = append(w, byte(len(ns)+1))
	for _, n := range ns {
		w = w.int32(n)
	}
	return w
}

func topicID(b byte) *protocol.TopicID { return &protocol.TopicID{15: b, 6: 0x40} }

func topicOf(name string, id byte) writer { return record(kindTopic, 0).text(name).id(id).tags() }

// partitionOf is a partition of replicas, of which isr are in sync, each in the data folder of its own number.
func partitionOf(id byte, number int32, replicas, isr []int32) writer {
	w := record(kindPartition, 1).int32(number).id(id).list(replicas...).list(isr...).list().list().int32(1).int32(3).int32(5)
	w = append(w, byte(len(replicas)+1))
	for _, r := range replicas {
		d := directory{0: 9, 15: byte(r)}
		w = append(w, d[:]...)
	}
	return w.tags()
}

func apply(t *testing.T, records ...writer) *Metadata {
	t.Helper()
	m := New()
	for _, r := range records {
		if err := m.Apply(r); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func dirOf(n byte) string { return protocol.TopicID{0: 9, 15: n}.String() }

func TestPartitionsThatAreNotHereAreRefused(t *testing.T) {
	tp := protocol.TopicPartition{Topic: "a"}
	log := map[protocol.TopicPartition]Log{tp: {Topic: *topicID(7), Epoch: 3}}
	for _, c := range []struct {
		what          string
		replicas, isr []int32
		logs          map[protocol.TopicPartition]Log
		dirs          []string
		says          string // empty: it is taken
		ignore        string
	}{
		{"here", []int32{1}, []int32{1}, log, []string{dirOf(1)}, "", ""},
		{"made, but without a log yet", []int32{1}, []int32{1}, nil, []string{dirOf(1)}, "", ""},
		{"on another node", []int32{2, 3}, []int32{2, 3}, nil, []string{dirOf(1)}, "no replica on node 1: a-0", IgnoreMissing},
		{"in another folder", []int32{1}, []int32{1}, nil, []string{dirOf(8)}, "was not named: a-0", IgnoreMissing},
		{"behind", []int32{1, 2}, []int32{2}, log, []string{dirOf(1)}, "not in sync on node 1", IgnoreLagging},
		{"in sync with another", []int32{1, 2}, []int32{1, 2}, log, []string{dirOf(1)}, "", ""},
		{"the only replica, after an orderly end", []int32{1}, nil, log, []string{dirOf(1)}, "", ""},
		{"another topic's", []int32{1}, []int32{1}, map[protocol.TopicPartition]Log{tp: {Topic: *topicID(8)}}, []string{dirOf(1)},
			"folders of deleted topics are in the way: a-0", "nothing helps"},
	} {
		m := apply(t, topicOf("a", 7), partitionOf(7, 0, c.replicas, c.isr))
		here := Here{ClusterID: "c", Node: 1, Directories: c.dirs, Logs: c.logs}
		_, _, err := m.Plan(here)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v, it should say %q", c.what, err, c.says)
		}
		if c.says == "" || c.ignore == "nothing helps" {
			continue
		}
		here.Ignore = []string{c.ignore}
		if _, notes, err := m.Plan(here); err != nil || len(notes) != 1 {
			t.Errorf("%s, ignored: %v, notes %q", c.what, err, notes)
		}
	}
}

func TestPartitionsChangeInTaggedFields(t *testing.T) {
	change := record(kindPartitionChange, 0).int32(0).id(7)
	change = append(change, 3)                                    // tagged fields:
	change = append(append(change, 0, 9), writer{}.list(1, 2)...) // the in-sync set
	change = append(append(change, 1, 4), writer{}.int32(2)...)   // the leader
	change = append(append(change, 2, 9), writer{}.list(2, 1)...) // the replicas
	m := apply(t, topicOf("a", 7), partitionOf(7, 0, []int32{2}, []int32{2}), change)
	p := m.topics[*topicID(7)].partitions[0]
	if !slices.Equal(p.isr, []int32{1, 2}) || !slices.Equal(p.replicas, []int32{2, 1}) || p.leaderEpoch != 4 || p.epoch != 6 {
		t.Errorf("%+v", p)
	}
}

func TestWhatTheControllerTookBackIsNotTaken(t *testing.T) {
	m := apply(t, record(kindBegin, 0).tags(), topicOf("a", 7), record(kindAbort, 0).tags(),
		record(kindBegin, 0).tags(), topicOf("b", 8), record(kindEnd, 0).tags(), record(kindBegin, 0).tags(), topicOf("c", 9))
	if ids := m.Topics(); len(ids) != 1 || ids[0] != *topicID(8) {
		t.Errorf("topics %v", ids)
	}
}

func TestUnknownKindsAndDamageAreErrors(t *testing.T) {
	m := New()
	for what, r := range map[string]writer{
		"a kind of a later Kafka": record(99, 0).tags(), "another frame": {2, 2, 0}, "nothing": {},
		"a topic cut short": topicOf("abc", 7)[:9], "a partition of no topic": partitionOf(3, 0, []int32{1}, nil),
	} {
		if err := m.Apply(r); err == nil {
			t.Errorf("%s was taken", what)
		}
	}
}

func TestWithoutMetadataTheFoldersSayTheTopics(t *testing.T) {
	tp := func(name string, n int32) protocol.TopicPartition {
		return protocol.TopicPartition{Topic: name, Partition: n}
	}
	here := Here{ClusterID: "c", Node: 1, NextProducerID: 5, Logs: map[protocol.TopicPartition]Log{
		tp("a", 0): {Topic: *topicID(1), Epoch: 6}, tp("a", 1): {Topic: *topicID(1), Epoch: -1},
		tp("b", 0): {Topic: *topicID(2), Epoch: 0}, tp("nameless", 0): {Epoch: 0},
	}}
	plan, notes, err := FromLogs(here)
	if err != nil || len(plan.Topics) != 2 || len(plan.Topics[0].Partitions) != 2 || plan.Topics[0].ID != *topicID(1) ||
		plan.Topics[0].Partitions[0].LeaderEpoch != 7 || len(notes) != 1 || plan.NextProducerID < 5 {
		t.Errorf("%+v, %q, %v", plan, notes, err)
	}
	here.Logs[tp("b", 2)] = Log{Topic: *topicID(2)}
	if _, _, err := FromLogs(here); err == nil || !strings.Contains(err.Error(), "b-1") {
		t.Errorf("with a partition missing in the middle: %v", err)
	}
	delete(here.Logs, tp("b", 2))
	here.Logs[tp("b", 1)] = Log{Topic: *topicID(3)}
	if _, _, err := FromLogs(here); err == nil || !strings.Contains(err.Error(), "two topic ids") {
		t.Errorf("with two ids for one name: %v", err)
	}
}

func TestSettingsOfOtherBrokersAreNamedNotTaken(t *testing.T) {
	set := func(kind config.ResourceType, name, key, value string) writer {
		return record(kindConfig, 0).int8(int8(kind)).text(name).text(key).text(value).tags()
	}
	unset := append(record(kindConfig, 0).int8(int8(config.BrokerResource)).text("1").text("b"), 0, 0)
	m := apply(t, set(config.BrokerResource, "1", "a", "x"), set(config.BrokerResource, "1", "b", "x"), unset,
		set(config.BrokerResource, "2", "a", "y"))
	plan, notes, err := m.Plan(Here{ClusterID: "c", Node: 1})
	want := meta.Resource{Type: config.BrokerResource, Name: "1"}
	if err != nil || len(plan.Configs) != 1 || plan.Configs[0].Resource != want || len(plan.Configs[0].Values) != 1 ||
		len(notes) != 1 {
		t.Errorf("%+v, %q, %v", plan.Configs, notes, err)
	}
}

// FuzzApply gives hostile records, one after the other.
func FuzzApply(f *testing.F) {
	for _, v := range values(f, "testdata/metadata.log") {
		f.Add([]byte(topicOf("a", 7)), v)
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		m := New()
		_ = m.Apply(a)
		_ = m.Apply(b)
		_, _, _ = m.Plan(Here{ClusterID: "c", Node: 1})
	})
}
