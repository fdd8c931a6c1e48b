package storage

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// The folder testdata/kafka-4.4.0 was written by Apache Kafka 4.4.0, and testdata/kafka-4.4.0.dump is what its
// kafka-dump-log
// --deep-iteration --print-data-log says of it: one partition with segment.ms=10000 and index.interval.bytes=200, four batches
// of three records with each codec, then transactions: committed, aborted, committed, aborted, and one that is still
// open.
const golden = "testdata/kafka-4.4.0"

var goldenTP = protocol.TopicPartition{Topic: "golden", Partition: 0}

func goldenConfig() Config {
	cfg := DefaultConfig()
	cfg.SegmentAge = 10 * time.Second
	cfg.IndexInterval = 200
	return cfg
}

func goldenOptions() Options {
	o := options()
	o.ClusterID = "4L6g3nShT-eMCtK--X86sw"
	o.Config = func(string) Config { return goldenConfig() }
	return o
}

// goldenDisk is the folder in memory.
func goldenDisk(t *testing.T) *vfs.Mem {
	t.Helper()
	m := vfs.NewMem()
	err := filepath.WalkDir(golden, func(name string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := "/data" + strings.TrimPrefix(filepath.ToSlash(name), golden)
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

func goldenLog(t *testing.T, disk vfs.FS) (*Store, *Log) {
	t.Helper()
	s, err := openIdle(disk, []string{"/data"}, goldenOptions())
	if err != nil {
		t.Fatal(err)
	}
	l, ok := s.Log(goldenTP)
	if !ok {
		t.Fatal(s.Failed(goldenTP))
	}
	return s, l
}

// dump prints a log's batches and records as kafka-dump-log does, in its words.
func dump(t *testing.T, l *Log) string {
	t.Helper()
	var out strings.Builder
	for _, s := range *l.segments.Load() {
		out.WriteString(dumpOf(t, s))
	}
	return out.String()
}

func dumpOf(t *testing.T, s *segment.Segment) string {
	t.Helper()
	var out strings.Builder
	name := segment.FileName(s.Base(), segment.LogSuffix)
	fmt.Fprintf(&out, "Dumping %s\nLog starting offset: %d\n", name, s.Base())
	err := s.Heads(0, func(_ batch.Batch, p segment.Place) bool {
		b, err := s.ReadBatch(p, nil)
		if err != nil {
			t.Fatal(err)
		}
		dumpBatch(t, &out, b, p.Position)
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func dumpBatch(t *testing.T, out *strings.Builder, b batch.Batch, position int64) {
	t.Helper()
	horizon, time := "OptionalLong.empty", "CreateTime"
	if b.HasDeleteHorizon() {
		horizon = fmt.Sprintf("OptionalLong[%d]", b.BaseTimestamp())
	}
	if b.IsLogAppendTime() {
		time = "LogAppendTime"
	}
	fmt.Fprintf(out, "baseOffset: %d lastOffset: %d count: %d baseSequence: %d lastSequence: %d producerId: %d "+
		"producerEpoch: %d partitionLeaderEpoch: %d isTransactional: %v isControl: %v deleteHorizonMs: %s "+
		"position: %d %s: %d size: %d magic: %d compresscodec: %v crc: %d isvalid: %v\n",
		b.BaseOffset(), b.LastOffset(), b.Count(), b.BaseSequence(), b.LastSequence(), b.ProducerID(), b.ProducerEpoch(),
		b.LeaderEpoch(), b.IsTransactional(), b.IsControl(), horizon, position, time, b.MaxTimestamp(), len(b), b.Magic(), b.Codec(),
		b.CRC(), b.CheckCRC())
	for r, err := range b.Records(nil) {
		if err != nil {
			t.Fatal(err)
		}
		seq := b.BaseSequence()
		if seq >= 0 {
			seq = (seq + r.OffsetDelta) & math.MaxInt32
		}
		fmt.Fprintf(out, "| offset: %d %s: %d keySize: %d valueSize: %d sequence: %d", b.BaseOffset()+
			protocol.Offset(r.OffsetDelta), time, b.Timestamp(r), size(r.Key), size(r.Value), seq)
		var keys []string
		for key := range r.Headers.All() {
			keys = append(keys, string(key))
		}
		fmt.Fprintf(out, " headerKeys: [%s]", strings.Join(keys, ","))
		switch {
		case b.IsControl():
			kind := map[uint16]string{0: "ABORT", 1: "COMMIT"}[binary.BigEndian.Uint16(r.Key[2:])]
			fmt.Fprintf(out, " endTxnMarker: %s coordinatorEpoch: %d", kind, binary.BigEndian.Uint32(r.Value[2:]))
		default:
			if r.Key != nil {
				fmt.Fprintf(out, " key: %s", r.Key)
			}
			if r.Value != nil {
				fmt.Fprintf(out, " payload: %s", r.Value)
			}
		}
		out.WriteByte('\n')
	}
}

func size(b []byte) int {
	if b == nil {
		return -1
	}
	return len(b)
}

// checkGolden holds an opened log against what Kafka says of it.
func checkGolden(t *testing.T, l *Log) {
	t.Helper()
	want, err := os.ReadFile(golden + ".dump")
	if err != nil {
		t.Fatal(err)
	}
	if got := dump(t, l); got != string(want) {
		g, w := strings.Split(got, "\n"), strings.Split(string(want), "\n")
		for i := range min(len(g), len(w)) {
			if g[i] != w[i] {
				t.Fatalf("line %d:\n got %s\nwant %s", i+1, g[i], w[i])
			}
		}
		t.Fatalf("%d lines, want %d", len(g), len(w))
	}
	if b := l.Bounds(); b.Start != 0 || b.End != 73 || b.LastStable != 72 {
		t.Fatalf("bounds %+v", b)
	}
	aborted, err := l.Aborted(0, 73)
	if err != nil || fmt.Sprint(aborted) != "[{5 63 65 66} {5 69 71 72}]" {
		t.Fatalf("aborted %v, %v", aborted, err)
	}
	if aborted, err = l.Aborted(66, 69); err != nil || len(aborted) > 0 {
		t.Fatalf("aborted in 66..69: %v, %v", aborted, err)
	}
	ps := l.Producers()
	last := producers.Active{ID: 5, Epoch: 4, LastOffset: 72, LastTimestamp: 1700000100009, TxnFirst: 72}
	if len(ps) != 6 || ps[5] != last {
		t.Fatalf("producers %+v", ps)
	}
	if es := l.Epochs().Entries(); len(es) != 1 || es[0].Epoch != 0 || es[0].Start != 0 {
		t.Fatalf("epochs %v", es)
	}
	checkIndexes(t, l)
	checkGoldenReads(t, l)
}

func checkGoldenReads(t *testing.T, l *Log) {
	t.Helper()
	f, ok, err := l.OffsetAt(1700000040250, 73)
	if err != nil || !ok || f.Offset != 33 || f.Timestamp != 1700000040300 {
		t.Fatalf("offset at: %+v, %v, %v", f, ok, err)
	}
	if f, ok, err = l.MaxTimestamp(); err != nil || !ok || f.Offset < 62 {
		t.Fatalf("largest timestamp: %+v, %v, %v", f, ok, err)
	}
	s, err := l.Read(40, 73, 1<<20, true)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Release()
	raw, err := s.Bytes(nil)
	if err != nil {
		t.Fatal(err)
	}
	file, err := os.ReadFile(path.Join(golden, "golden-0", segment.FileName(36, segment.LogSuffix)))
	if err != nil || !bytes.Equal(raw, file[s.Position():]) {
		t.Fatalf("the bytes from offset 40 on are not the file's: %v", err)
	}
	if b, _, err := batch.Next(raw); err != nil || b.BaseOffset() != 39 {
		t.Fatalf("the first batch begins at %v, %v", b, err)
	}
}

func TestKafkasFolderIsRead(t *testing.T) {
	s, l := goldenLog(t, goldenDisk(t))
	if !s.Dirs()[0].Clean || s.Dirs()[0].ID == "" {
		t.Fatalf("%+v", s.Dirs())
	}
	if got := l.TopicID().String(); !strings.Contains(readGolden(t, partitionFile), got) {
		t.Fatalf("topic id %s", got)
	}
	checkGolden(t, l)
}

func readGolden(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(path.Join(golden, "golden-0", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestKafkasFolderAfterAKill does to the folder what kill -9 does: no mark, empty checkpoints, and the last segment's
// index files at their full size, filled with zeros. What is made anew must be what Kafka had made, byte for byte.
func TestKafkasFolderAfterAKill(t *testing.T) {
	disk := goldenDisk(t)
	for _, name := range []string{recoveryPointFile, logStartFile, highWatermarkFile} {
		if err := vfs.WriteFile(disk, path.Join("/data", name), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := disk.Remove(path.Join("/data", cleanFile)); err != nil {
		t.Fatal(err)
	}
	for suffix, full := range map[string]int64{segment.IndexSuffix: 10 << 20, segment.TimeSuffix: 10<<20 - 4} {
		f, err := disk.Open(path.Join("/data/golden-0", segment.FileName(62, suffix)))
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Truncate(full); err != nil {
			t.Fatal(err)
		}
	}
	s, l := goldenLog(t, disk)
	checkGolden(t, l)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	compareFiles(t, disk, "/data/golden-0")
}

// TestFilesAreKafkas appends the same batches to an empty log: the files must come out as Kafka's.
func TestFilesAreKafkas(t *testing.T) {
	_, kafkas := goldenLog(t, goldenDisk(t))
	disk := vfs.NewMem()
	s, err := openIdle(disk, []string{"/data"}, goldenOptions())
	if err != nil {
		t.Fatal(err)
	}
	l, err := s.Create(goldenTP, kafkas.TopicID(), goldenConfig())
	if err != nil {
		t.Fatal(err)
	}
	for at := protocol.Offset(0); at < 73; {
		slice, err := kafkas.Read(at, 73, 1, true)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := slice.Bytes(nil)
		slice.Release()
		if err != nil {
			t.Fatal(err)
		}
		a, err := l.Append(time.UnixMilli(1700000000000), 0, batch.Batch(raw))
		if err != nil || a.Base != at {
			t.Fatalf("append at %d: %+v, %v", at, a, err)
		}
		at = a.Last + 1
	}
	checkGolden(t, l)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	compareFiles(t, disk, "/data/golden-0")
}

// compareFiles compares a partition's folder with the golden one. Of snapshots, what Kafka reads of them.
func compareFiles(t *testing.T, disk vfs.FS, dir string) {
	t.Helper()
	entries, err := os.ReadDir(path.Join(golden, "golden-0"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := disk.List(dir)
	if err != nil || len(got) != len(entries) {
		t.Fatalf("%d files, Kafka has %d; %v\n%v", len(got), len(entries), err, got)
	}
	for _, e := range entries {
		want := []byte(readGolden(t, e.Name()))
		have, err := vfs.ReadFile(disk, path.Join(dir, e.Name()), 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(e.Name(), segment.SnapshotSuffix) {
			if _, err := producers.Load(have, 0); err != nil {
				t.Fatal(err)
			}
			have, want = have[6:min(len(want), len(have))], want[6:]
		}
		if !bytes.Equal(have, want) {
			t.Errorf("%s:\n got %x\nwant %x", e.Name(), have, want)
		}
	}
}

// TestGapsOfAKilledKafkaAreKept removes a segment from the middle, as compaction may: after a kill of Kafka that is taken as
// it is, after one of ours it shows that something was lost, and the log ends there.
func TestGapsOfAKilledKafkaAreKept(t *testing.T) {
	for _, kafkas := range []bool{true, false} {
		disk := goldenDisk(t)
		for _, name := range []string{recoveryPointFile, cleanFile} {
			if err := disk.Remove(path.Join("/data", name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, suffix := range []string{segment.LogSuffix, segment.IndexSuffix, segment.TimeSuffix} {
			if err := disk.Remove(path.Join("/data/golden-0", segment.FileName(24, suffix))); err != nil {
				t.Fatal(err)
			}
		}
		want := protocol.Offset(24)
		if kafkas {
			want = 73
			f, err := disk.Open(path.Join("/data/golden-0", segment.FileName(62, segment.IndexSuffix)))
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Truncate(10 << 20); err != nil {
				t.Fatal(err)
			}
		}
		_, l := goldenLog(t, disk)
		if got := l.Bounds().End; got != want {
			t.Errorf("Kafka's %v: the log ends at %d, want %d", kafkas, got, want)
		}
		if !kafkas {
			continue
		}
		if _, base := length(t, l, 30, 73, 1<<20, true); base != 36 {
			t.Errorf("a read in the gap begins at %d", base)
		}
	}
}
