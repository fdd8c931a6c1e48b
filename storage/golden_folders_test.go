package storage

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// The archives testdata/kafka-4.4.0-stopped.tar.gz and -killed.tar.gz are data folders that Apache Kafka 4.4.0 wrote, with
// what its kafka-dump-log says of them (dump.txt) and what the broker answered about them (facts.tsv). compat-tests/golden
// makes them:
//
//	codecs      every codec, at several levels, with and without keys, and records of nothing
//	txn         two producers whose transactions overlap, committed and aborted; killed: one is open
//	compact     cleaned: tombstones, a delete horizon, batches that are left without a record
//	compacttxn  cleaned, with markers and aborted transactions
//	appendtime  LogAppendTime
//	times       equal and falling timestamps, none, far ones; several segments
//	producers   several of them
//	deleted     DeleteRecords up to the middle of a batch in the middle of a segment
//
// The killed one is a later state of the stopped one: several of its logs have records of two leaders.

// goldenFolder is such an archive.
type goldenFolder struct {
	disk    *vfs.Mem
	cluster string
	dump    map[string]string // by file
	facts   []string
}

func unpackGolden(t *testing.T, name string) *goldenFolder {
	t.Helper()
	dir := os.Getenv("MOLDAU_GOLDEN") // for compat-tests/golden, which has just made one
	if dir == "" {
		dir = "testdata"
	}
	f, err := os.Open(filepath.Join(dir, name+".tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	zip, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	g := &goldenFolder{disk: vfs.NewMem(), dump: map[string]string{}}
	for r := tar.NewReader(zip); ; {
		h, err := r.Next()
		if err == io.EOF {
			return g
		}
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		g.add(t, h.Name, b)
	}
}

func (g *goldenFolder) add(t *testing.T, name string, b []byte) {
	t.Helper()
	switch name {
	case "dump.txt":
		for part := range strings.SplitSeq("\n"+string(b), "\nDumping ") {
			file, text, _ := strings.Cut(part, "\n")
			g.dump[file] = strings.TrimSuffix(text, "\n") + "\n"
		}
		return
	case "facts.tsv":
		g.facts = strings.Split(strings.TrimSpace(string(b)), "\n")
		return
	case "data/meta.properties":
		m, err := parseMeta(b)
		if err != nil {
			t.Fatal(err)
		}
		g.cluster = m.ClusterID
	}
	if err := g.disk.MkdirAll("/" + path.Dir(name)); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFile(g.disk, "/"+name, b); err != nil {
		t.Fatal(err)
	}
}

func (g *goldenFolder) open(t *testing.T) *Store {
	t.Helper()
	o := options()
	o.ClusterID = g.cluster
	o.Config = func(string) Config {
		cfg := DefaultConfig()
		cfg.SegmentBytes, cfg.IndexInterval, cfg.DeleteDelay = 3000, 200, 0
		return cfg
	}
	s, err := openIdle(g.disk, []string{"/data"}, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func goldenTopics() []string {
	return []string{"appendtime", "codecs", "compact", "compacttxn", "deleted", "producers", "times", "txn"}
}

func goldenLogOf(t *testing.T, s *Store, topic string) *Log {
	t.Helper()
	tp := protocol.TopicPartition{Topic: topic}
	l, ok := s.Log(tp)
	if !ok {
		t.Fatalf("%s: %v", topic, s.Failed(tp))
	}
	return l
}

// check compares everything that is there with what Kafka says.
func (g *goldenFolder) check(t *testing.T, s *Store) {
	t.Helper()
	for _, topic := range goldenTopics() {
		l := goldenLogOf(t, s, topic)
		checkIndexes(t, l)
		for _, seg := range *l.segments.Load() {
			g.checkFile(t, l, segment.FileName(seg.Base(), segment.LogSuffix), dumpSegment(t, seg))
			if aborted, err := seg.Aborted(nil); err != nil || len(aborted) > 0 {
				g.checkFile(t, l, segment.FileName(seg.Base(), segment.TxnSuffix), dumpAborted(aborted))
			}
		}
	}
	for _, line := range g.facts {
		g.checkFact(t, s, line)
	}
}

func dumpSegment(t *testing.T, s *segment.Segment) string {
	t.Helper()
	_, text, _ := strings.Cut(dumpOf(t, s), "\n")
	return text
}

func dumpAborted(aborted []segment.AbortedTxn) string {
	var out strings.Builder
	for _, a := range aborted {
		fmt.Fprintf(&out, "version: 0 producerId: %d firstOffset: %d lastOffset: %d lastStableOffset: %d\n", a.ProducerID,
			a.First, a.Last, a.LastStable)
	}
	return out.String()
}

func (g *goldenFolder) checkFile(t *testing.T, l *Log, name, got string) {
	t.Helper()
	name = path.Join(path.Base(l.Dir()), name)
	want, ok := g.dump[name]
	if !ok {
		t.Fatalf("Kafka has no %s", name)
	}
	gs, ws := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range min(len(gs), len(ws)) {
		if gs[i] != ws[i] {
			t.Fatalf("%s, line %d:\n got %s\nwant %s", name, i+1, gs[i], ws[i])
		}
	}
	if len(gs) != len(ws) {
		t.Fatalf("%s has %d lines, want %d", name, len(gs), len(ws))
	}
}

// checkFact compares one of Kafka's answers with ours; compat-tests/golden says what the lines are.
func (g *goldenFolder) checkFact(t *testing.T, s *Store, line string) {
	t.Helper()
	var kind, topic string
	if _, err := fmt.Sscan(line, &kind, &topic); err != nil {
		t.Fatalf("%q: %v", line, err)
	}
	l := goldenLogOf(t, s, topic)
	var got string
	n := make([]int64, 6)
	for i, f := range strings.Fields(line)[2:] {
		if _, err := fmt.Sscan(f, &n[i]); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
	}
	switch kind {
	case "offset":
		got = offsetFact(t, l, n[0])
		if n[0] >= 0 && n[1] < 0 && strings.HasPrefix(topic, "compact") {
			// Kafka looks into the first segment only whose largest timestamp is late enough, and says that there is no such
			// record when the cleaner has taken it. The next segment's is what was asked for.
			line = "offset " + topic + " " + scanned(t, l, n[0])
		}
	case "stable":
		got = fmt.Sprint(l.Bounds().LastStable)
	case "end":
		epoch, end := l.EpochEnd(protocol.Epoch(n[0]))
		got = fmt.Sprint(n[0], epoch, end)
	case "producer":
		for _, p := range l.Producers() {
			if p.ID == n[0] {
				got = fmt.Sprint(p.ID, p.Epoch, p.LastSequence, p.LastTimestamp, max(p.CoordinatorEpoch, -1), p.TxnFirst)
			}
		}
	default:
		t.Fatalf("%q is no fact", line)
	}
	if got = kind + " " + topic + " " + got; got != line {
		t.Errorf("got  %s\nwant %s", got, line)
	}
}

// offsetFact is what ListOffsets answers.
func offsetFact(t *testing.T, l *Log, ts int64) string {
	t.Helper()
	b := l.Bounds()
	answer := func(o protocol.Offset, at int64, e protocol.Epoch) string { return fmt.Sprint(ts, o, at, e) }
	var f TimestampOffset
	var ok bool
	var err error
	switch ts {
	case -1:
		return answer(b.End, -1, l.Epochs().Latest())
	case -2:
		return answer(b.Start, -1, l.Epochs().At(b.Start))
	case -3:
		f, ok, err = l.MaxTimestamp()
	default:
		f, ok, err = l.OffsetAt(ts, b.End)
	}
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return answer(-1, -1, -1)
	}
	return answer(f.Offset, f.Timestamp, f.Epoch)
}

// scanned is offsetFact by looking at every record.
func scanned(t *testing.T, l *Log, ts int64) string {
	t.Helper()
	for raw := batchesFrom(t, l, l.Bounds().Start); len(raw) > 0; {
		b, rest, err := batch.Next(raw)
		if err != nil {
			t.Fatal(err)
		}
		for r, err := range b.Records(nil) {
			if err != nil {
				t.Fatal(err)
			}
			if b.Timestamp(r) >= ts {
				return fmt.Sprint(ts, b.BaseOffset()+protocol.Offset(r.OffsetDelta), b.Timestamp(r), b.LeaderEpoch())
			}
		}
		raw = rest
	}
	return fmt.Sprint(ts, -1, -1, -1)
}

// unclean takes away what says that Kafka ended in order.
func (g *goldenFolder) unclean(t *testing.T) {
	t.Helper()
	if err := g.disk.Remove("/data/" + cleanFile); err != nil {
		t.Fatal(err)
	}
	if err := vfs.WriteFile(g.disk, "/data/"+recoveryPointFile, []byte("0\n0\n")); err != nil {
		t.Fatal(err)
	}
}

// goOn appends to every log, stops in order and starts again, then goes down without a word and starts once more: what was
// there before must be there, and what was appended.
func (g *goldenFolder) goOn(t *testing.T, s *Store) {
	t.Helper()
	raw := map[string][]byte{}
	from := map[string]protocol.Offset{}
	for _, topic := range goldenTopics() {
		l := goldenLogOf(t, s, topic)
		from[topic] = l.Bounds().End
		for i := range 5 {
			b := records(t, 1_900_000_000_000+int64(i), strings.Repeat("ours", 100))
			if _, err := l.Append(time.UnixMilli(1_900_000_000_000), l.Epochs().Latest()+1, b); err != nil {
				t.Fatal(err)
			}
			raw[topic] = append(raw[topic], b...)
		}
	}
	for i := range 2 {
		if i == 0 {
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		} else {
			g.disk = g.disk.KillClone()
		}
		s = g.open(t)
		for _, topic := range goldenTopics() {
			l := goldenLogOf(t, s, topic)
			if got := batchesFrom(t, l, from[topic]); !bytes.Equal(got, raw[topic]) {
				t.Fatalf("%s: %d bytes were appended, and %d are there", topic, len(raw[topic]), len(got))
			}
			for _, seg := range *l.segments.Load() {
				name := path.Join(path.Base(l.Dir()), segment.FileName(seg.Base(), segment.LogSuffix))
				if got := dumpSegment(t, seg); !strings.HasPrefix(got, g.dump[name]) {
					t.Fatalf("%s has changed since Kafka wrote it", name)
				}
			}
		}
	}
}

func batchesFrom(t *testing.T, l *Log, from protocol.Offset) (all []byte) {
	t.Helper()
	for end := l.Bounds().End; from < end; {
		s, err := l.Read(from, end, 1, true)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := s.Bytes(nil)
		s.Release()
		if err != nil || len(raw) == 0 {
			t.Fatalf("read at %d: %d bytes, %v", from, len(raw), err)
		}
		all = append(all, raw...)
		from = batch.Batch(raw).LastOffset() + 1
	}
	return all
}

func TestGoldenStoppedFolder(t *testing.T) {
	g := unpackGolden(t, "kafka-4.4.0-stopped")
	s := g.open(t)
	if !s.Dirs()[0].Clean {
		t.Error("Kafka stopped in order, and that is not seen")
	}
	g.check(t, s)
	g.goOn(t, s)
}

// TestGoldenStoppedFolderWithoutItsMark has everything read again that can be.
func TestGoldenStoppedFolderWithoutItsMark(t *testing.T) {
	g := unpackGolden(t, "kafka-4.4.0-stopped")
	g.unclean(t)
	for _, topic := range goldenTopics() { // as kill -9 leaves the active segment's indexes: at their full size, with zeros
		segs := g.bases(t, topic)
		for _, suffix := range []string{segment.IndexSuffix, segment.TimeSuffix} {
			f, err := g.disk.Open(path.Join("/data", topic+"-0", segment.FileName(segs[len(segs)-1], suffix)))
			if err != nil {
				t.Fatal(err)
			}
			if err := f.Truncate(1 << 20); err != nil {
				t.Fatal(err)
			}
		}
	}
	s := g.open(t)
	g.check(t, s)
	g.goOn(t, s)
}

func (g *goldenFolder) bases(t *testing.T, topic string) (out []protocol.Offset) {
	t.Helper()
	entries, err := g.disk.List("/data/" + topic + "-0")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if base, suffix, ok := segment.ParseName(e.Name); ok && suffix == segment.LogSuffix {
			out = append(out, base)
		}
	}
	return out
}

func TestGoldenKilledFolder(t *testing.T) {
	g := unpackGolden(t, "kafka-4.4.0-killed")
	s := g.open(t)
	if s.Dirs()[0].Clean {
		t.Error("Kafka was killed, and that is not seen")
	}
	g.check(t, s)
	g.goOn(t, s)
}
