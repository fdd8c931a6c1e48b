package inspect

import (
	"path"
	"strings"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/vfs"
)

// three is a file system with three brokers' folders, each with the same partition as Apache Kafka 4.4.0 wrote it.
func three(t testing.TB) *vfs.Mem {
	t.Helper()
	m := folderOf(t)
	for _, to := range []string{"/b", "/c"} {
		copyTree(t, m, "/data", to)
	}
	return m
}

func copyTree(t testing.TB, m *vfs.Mem, from, to string) {
	t.Helper()
	if err := m.MkdirAll(to); err != nil {
		t.Fatal(err)
	}
	entries, err := m.List(from)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Dir {
			copyTree(t, m, path.Join(from, e.Name), path.Join(to, e.Name))
			continue
		}
		if err := vfs.WriteFile(m, path.Join(to, e.Name), content(t, m, path.Join(from, e.Name))); err != nil {
			t.Fatal(err)
		}
	}
}

func compare(t testing.TB, m vfs.FS, dirs ...string) (Compared, []Difference) {
	t.Helper()
	var found []Difference
	c := &Comparer{FS: m, Report: func(d Difference) { found = append(found, d) }}
	var brokers [][]string
	for _, d := range dirs {
		brokers = append(brokers, strings.Split(d, ","))
	}
	sum, err := c.Compare(brokers)
	if err != nil {
		t.Fatal(err)
	}
	return sum, found
}

const goldenLog = "golden-0/00000000000000000012.log"

// rewrite changes one file.
func rewrite(t testing.TB, m *vfs.Mem, name string, change func([]byte) []byte) {
	t.Helper()
	if err := vfs.WriteFile(m, name, change(content(t, m, name))); err != nil {
		t.Fatal(err)
	}
}

func TestI10_EqualReplicasAreEqual(t *testing.T) {
	sum, found := compare(t, three(t), "/data", "/b", "/c")
	if len(found) > 0 {
		t.Errorf("equal replicas: %+v", found)
	}
	if sum.Partitions != 1 || sum.Replicas != 3 || sum.Batches != 2*29 || sum.Records != 2*73 || sum.Bytes != 2*4704 {
		t.Errorf("compared %+v", sum)
	}
	sum, _ = compare(t, three(t), "/data")
	if sum.Alone != 1 || sum.Partitions != 0 {
		t.Errorf("one broker: %+v", sum)
	}
	sum, found = compare(t, three(t), "/data,/b")
	if len(found) > 0 || sum.Replicas != 2 {
		t.Errorf("a broker's two folders: %+v, %+v", sum, found)
	}
}

// TestI10_TheFirstDifferenceIsFound: whatever is changed in one replica's records, and nothing else is.
func TestI10_TheFirstDifferenceIsFound(t *testing.T) {
	for _, c := range []struct {
		what   string
		change func([]byte) []byte
		says   string
		offset protocol.Offset
		behind bool
	}{
		{"a bit of a record", func(b []byte) []byte { b[400] ^= 1; return b }, "damage", 18, false},
		{"a leader epoch", func(b []byte) []byte { b[15]++; return b }, "epoch", 12, false},
		{"the log's end", func(b []byte) []byte { return b[:0] }, "ends here", 12, true},
	} {
		m := three(t)
		name := "/c/" + goldenLog
		if c.behind { // the segments behind it too
			entries, _ := m.List("/c/golden-0")
			for _, e := range entries {
				if strings.HasSuffix(e.Name, ".log") && e.Name > path.Base(goldenLog) {
					rewrite(t, m, "/c/golden-0/"+e.Name, c.change)
				}
			}
		}
		rewrite(t, m, name, c.change)
		sum, found := compare(t, m, "/data", "/b", "/c")
		if len(found) != 1 || found[0].Offset != c.offset || found[0].Behind != c.behind || !strings.Contains(found[0].What, c.says) ||
			found[0].Folders[1] != "/c/golden-0" || sum.Differences != 1 {
			t.Errorf("%s: %+v", c.what, found)
		}
	}
}

// TestReplicasAreComparedWhereBothShouldBeEqual: what was deleted or compacted on one broker only is left out.
func TestReplicasAreComparedWhereBothShouldBeEqual(t *testing.T) {
	for _, checkpoint := range []string{storage.LogStarts, cleanedPoints} {
		m := three(t)
		rewrite(t, m, "/c/"+goldenLog, func(b []byte) []byte { b[15]++; return b })
		tp := protocol.TopicPartition{Topic: "golden"}
		if err := storage.WriteCheckpoint(m, "/c", checkpoint, storage.Offsets{tp: 18}); err != nil {
			t.Fatal(err)
		}
		if _, found := compare(t, m, "/data", "/c"); len(found) > 0 {
			t.Errorf("%s: %+v", checkpoint, found)
		}
	}
	m := three(t)
	if err := m.Remove("/c/golden-0/00000000000000000000.log"); err != nil {
		t.Fatal(err)
	}
	if _, found := compare(t, m, "/data", "/c"); len(found) > 0 {
		t.Errorf("a log that begins later: %+v", found)
	}
}

func TestATopicThatWasMadeAgainIsAnother(t *testing.T) {
	m := three(t)
	rewrite(t, m, "/c/golden-0/partition.metadata", func([]byte) []byte {
		return []byte("version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAABg")
	})
	if _, found := compare(t, m, "/data", "/c"); len(found) != 1 || !strings.Contains(found[0].What, "id") {
		t.Errorf("%+v", found)
	}
}
