package storage

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// The folders testdata/compaction/N-before and N-after were written by Apache Kafka 4.4.0, before and after its cleaner
// ran: twice, with the same topics going on between. compat-tests/compaction (TestMakeGoldenFolders) made them, and
// says what is in them.
const compactionGolden = "testdata/compaction"

var compactionTopics = []string{"created", "appended"} // by message.timestamp.type

// compactionRetention is the topics' delete.retention.ms.
const compactionRetention = time.Millisecond

func compactionConfig() Config {
	cfg := DefaultConfig()
	cfg.Deletes, cfg.Compacts = false, true
	cfg.SegmentBytes, cfg.IndexInterval, cfg.MinCleanableRatio = 1500, 200, 0.01
	cfg.DeleteRetention = compactionRetention
	return cfg
}

// diskOf is a folder of the test's data in memory.
func diskOf(t *testing.T, dir string) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := "/data" + strings.TrimPrefix(filepath.ToSlash(name), dir)
		if d.IsDir() {
			return m.MkdirAll(to)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return vfs.WriteFile(m, to, b)
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// describeBatches is what a reader can know of the batches in a log file.
func describeBatches(t *testing.T, raw []byte) []string {
	t.Helper()
	var out []string
	for len(raw) > 0 {
		b, rest, err := batch.Next(raw)
		if err != nil || !b.CheckCRC() {
			t.Fatalf("%v", err)
		}
		raw = rest
		s := fmt.Sprintf("%d..%d %d records epoch %d producer %d/%d/%d attributes %#x base time %d max time %d", b.BaseOffset(),
			b.LastOffset(), b.Count(), b.LeaderEpoch(), b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.Attributes(),
			b.BaseTimestamp(), b.MaxTimestamp())
		for r, err := range b.Records(nil) {
			if err != nil {
				t.Fatal(err)
			}
			s += fmt.Sprintf("\n  +%d at %d %q %v %q", r.OffsetDelta, r.TimestampDelta, r.Key, r.Value == nil, r.Value)
			for k, v := range r.Headers.All() {
				s += fmt.Sprintf(" %s=%s", k, v)
			}
		}
		out = append(out, s)
	}
	return out
}

// horizons are the delete horizons in a folder of Kafka's.
func horizons(t *testing.T, dir string) []int64 {
	t.Helper()
	var out []int64
	names, _ := filepath.Glob(filepath.Join(dir, "*.log"))
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for len(raw) > 0 {
			b, rest, err := batch.Next(raw)
			if err != nil {
				t.Fatal(err)
			}
			if raw = rest; b.HasDeleteHorizon() {
				out = append(out, b.BaseTimestamp())
			}
		}
	}
	return out
}

// TestKafkasCleanerAndOurs cleans what Kafka's cleaner cleaned, at the same moment: the same segments, and in them the
// same batches and records, byte for byte where they are not compressed, and the same indexes of aborted transactions.
func TestKafkasCleanerAndOurs(t *testing.T) {
	for _, round := range []string{"1", "2"} {
		for _, topic := range compactionTopics {
			t.Run(round+topic, func(t *testing.T) { compareCleaned(t, round, topic) })
		}
	}
}

func compareCleaned(t *testing.T, round, topic string) {
	after := path.Join(compactionGolden, round+"-after", topic+"-0")
	clock := time.UnixMilli(slices.Max(horizons(t, after))).Add(-compactionRetention)
	o := goldenOptions()
	o.ClusterID = "bW9sZGF1LWNvbXBhdC10ZQ"
	o.Config = func(string) Config { return compactionConfig() }
	o.Now = func() time.Time { return clock }
	disk := diskOf(t, path.Join(compactionGolden, round+"-before"))
	s, err := openIdle(disk, []string{"/data"}, o)
	if err != nil {
		t.Fatal(err)
	}
	if n := s.cleanNow(clock); n != len(compactionTopics) {
		t.Fatalf("%d logs were cleaned", n)
	}
	l, ok := s.Log(protocol.TopicPartition{Topic: topic})
	if !ok || l.HighWatermark() != l.Bounds().End {
		t.Fatal(ok, l.HighWatermark())
	}
	checkIndexes(t, l)
	var names []string
	for _, e := range mustList(t, disk, l.Dir()) {
		if ext := path.Ext(e.Name); ext == segment.LogSuffix || ext == segment.TxnSuffix && e.Size > 0 {
			names = append(names, e.Name)
			compareCleanedFile(t, after, disk, path.Join(l.Dir(), e.Name))
		}
	}
	entries, err := os.ReadDir(after)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Size() > 0 && !slices.Contains(names, e.Name()) {
			t.Errorf("Kafka has %s, of %d bytes; %v", e.Name(), info.Size(), err)
		}
	}
	want, err := ReadCheckpoint(diskOf(t, path.Join(compactionGolden, round+"-after")), "/data", cleanerFile)
	if err != nil || int64(want[l.tp]) != l.cleaned.Load() {
		t.Errorf("cleaned up to %d, Kafka to %d; %v", l.cleaned.Load(), want[l.tp], err)
	}
}

func compareCleanedFile(t *testing.T, after string, disk vfs.FS, name string) {
	t.Helper()
	have, err := vfs.ReadFile(disk, name, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(path.Join(after, path.Base(name)))
	if err != nil {
		t.Errorf("Kafka has no %s", path.Base(name))
		return
	}
	if path.Ext(name) == segment.TxnSuffix {
		if string(have) != string(want) {
			t.Errorf("%s: %x, Kafka's is %x", path.Base(name), have, want)
		}
		return
	}
	h, w := describeBatches(t, have), describeBatches(t, want)
	for i := range max(len(h), len(w)) {
		switch {
		case i >= len(h):
			t.Errorf("%s: Kafka has more: %s", path.Base(name), w[i])
		case i >= len(w):
			t.Errorf("%s: Kafka does not have %s", path.Base(name), h[i])
		case h[i] != w[i]:
			t.Errorf("%s:\n have %s\nKafka %s", path.Base(name), h[i], w[i])
		}
	}
	for len(have) > 0 && len(want) > 0 && !t.Failed() {
		a, moreA, _ := batch.Next(have)
		b, moreB, _ := batch.Next(want)
		if a.Codec() == 0 && string(a) != string(b) {
			t.Errorf("the batch at %d is not byte for byte Kafka's", a.BaseOffset())
		}
		have, want = moreA, moreB
	}
}
