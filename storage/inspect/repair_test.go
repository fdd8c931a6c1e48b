package inspect

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/vfs"
)

var repairTime = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// repaired plans and applies a repair.
func repaired(t *testing.T, m vfs.FS, skip bool) (Plan, string) {
	t.Helper()
	r := &Repairer{FS: m, Skip: skip}
	p, err := r.Plan("/data")
	must(t, err)
	aside := Aside(m, "/data", repairTime)
	must(t, r.Apply(p, aside, repairTime))
	return p, aside
}

// offsetsOf are the offsets of all records of the golden partition, as a broker that opens the folder serves them.
func offsetsOf(t *testing.T, m vfs.FS) []int64 {
	t.Helper()
	s, err := storage.OpenStore(m, []string{"/data"}, storage.Options{
		ClusterID: "4L6g3nShT-eMCtK--X86sw", NodeID: 1, Logger: slog.New(slog.DiscardHandler),
	})
	must(t, err)
	tp := protocol.TopicPartition{Topic: "golden"}
	if _, ok := s.Log(tp); !ok {
		t.Fatalf("the partition cannot be opened: %v", s.Failed(tp))
	}
	must(t, s.Close())
	if damage, _ := found(t, m, "/data"); len(damage) > 0 {
		t.Fatalf("after a repair and an opening: %+v", damage)
	}
	return recordsOf(t, m)
}

func recordsOf(t *testing.T, m vfs.FS) (out []int64) {
	t.Helper()
	files, err := Files(m, "/data")
	must(t, err)
	for _, name := range files {
		if KindOf(name) != Batches {
			continue
		}
		l, err := OpenLog(m, name)
		must(t, err)
		for {
			p, err := l.Next()
			if err == io.EOF {
				break
			}
			must(t, err)
			if p.Damage != nil {
				continue
			}
			b, err := l.Batch(p, nil)
			must(t, err)
			for r, err := range b.Records(nil) {
				must(t, err)
				out = append(out, int64(b.BaseOffset())+int64(r.OffsetDelta))
			}
		}
		l.Close()
	}
	return out
}

func upTo(end int64) []int64 {
	var out []int64
	for i := range end {
		out = append(out, i)
	}
	return out
}

// hurtings damage the golden folder in all kinds of ways. cut is where a log that is cut ends; dropped are the offsets that
// --skip loses, where it loses any.
var hurtings = []struct {
	what    string
	hurt    func(t *testing.T, m *vfs.Mem)
	cut     int64
	dropped []int64
}{
	{"a flipped bit", flipAt("00000000000000000012.log", 200), 15, []int64{15, 16, 17}},
	{"a flipped length", flipAt("00000000000000000012.log", 158+8), 15, []int64{15, 16, 17}},
	{"the first batch", flipAt("00000000000000000000.log", 100), 0, []int64{0, 1, 2}},
	{"the last batch", flipAt("00000000000000000062.log", 630), 72, []int64{72}},
	{"a lowered offset", flipAt("00000000000000000024.log", 160+7), 27, []int64{27, 28, 29}},
	{"an aborted batch", flipAt("00000000000000000062.log", 100), 63, []int64{63, 64}},
	{"an index", flipAt("00000000000000000000.index", 7), 73, nil},
	{"a time index", flipAt("00000000000000000000.timeindex", 7), 73, nil},
	{"an index of aborted transactions", flipAt("00000000000000000062.txnindex", 25), 73, nil},
	{"a snapshot", flipAt("00000000000000000073.snapshot", 20), 73, nil},
	{"the epochs", flipAt("leader-epoch-checkpoint", 4), 73, nil},
	{"the topic's id", flipAt("partition.metadata", 1), 73, nil},
	{"a checkpoint", flipAt("../recovery-point-offset-checkpoint", 2), 73, nil},
	{"a cut log", func(t *testing.T, m *vfs.Mem) {
		name := "/data/golden-0/00000000000000000062.log"
		b := content(t, m, name)
		must(t, vfs.WriteFile(m, name, b[:len(b)-3]))
	}, 72, []int64{72}},
}

func flipAt(name string, at int64) func(t *testing.T, m *vfs.Mem) {
	return func(t *testing.T, m *vfs.Mem) {
		f, err := m.Open("/data/golden-0/" + name)
		if name == "../recovery-point-offset-checkpoint" {
			f, err = m.Open("/data/recovery-point-offset-checkpoint")
		}
		must(t, err)
		b := []byte{0}
		_, err = f.ReadAt(b, at)
		must(t, err)
		b[0] ^= 1
		_, err = f.WriteAt(b, at)
		must(t, err)
		must(t, f.Close())
	}
}

func TestARepairedFolderIsServedAgain(t *testing.T) {
	for _, h := range hurtings {
		for _, skip := range []bool{false, true} {
			m := folderOf(t)
			h.hurt(t, m)
			p, aside := repaired(t, m, skip)
			if p.Empty() {
				t.Errorf("%s: nothing is to be repaired", h.what)
				continue
			}
			want := upTo(h.cut)
			if skip {
				want = slices.DeleteFunc(upTo(73), func(o int64) bool { return slices.Contains(h.dropped, o) })
			}
			if got := offsetsOf(t, m); !slices.Equal(got, want) {
				t.Errorf("%s, skip=%v: the records %v are left, not %v", h.what, skip, got, want)
			}
			if lost := len(p.Partitions) > 0 && p.Partitions[0].LostFrom >= 0; lost != (h.dropped != nil) {
				t.Errorf("%s, skip=%v: the plan says that records are lost: %v", h.what, skip, lost)
			}
			if left, err := m.List(aside); err != nil || len(left) == 0 {
				t.Errorf("%s, skip=%v: nothing lies aside: %v", h.what, skip, err)
			}
		}
	}
}

// TestARepairLosesNoByte holds every byte of every log against what lies in the folder and aside.
func TestARepairLosesNoByte(t *testing.T) {
	for _, h := range hurtings {
		for _, skip := range []bool{false, true} {
			m := folderOf(t)
			h.hurt(t, m)
			before := map[string][]byte{}
			entries, err := m.List("/data/golden-0")
			must(t, err)
			for _, e := range entries {
				before[e.Name] = content(t, m, "/data/golden-0/"+e.Name)
			}
			_, aside := repaired(t, m, skip)
			for name, b := range before {
				kept := false
				for _, dir := range []string{"/data/golden-0", aside + "/golden-0"} {
					now, err := vfs.ReadFile(m, dir+"/"+name, 1<<20)
					kept = kept || err == nil && bytes.Equal(now, b)
				}
				if !kept {
					t.Errorf("%s, skip=%v: the bytes of %s are nowhere", h.what, skip, name)
				}
			}
		}
	}
}

// TestARepairMayBeCutShort crashes a repair at each of its file operations: what is left can be repaired, and is then what
// it would have been.
func TestARepairMayBeCutShort(t *testing.T) {
	for _, h := range hurtings {
		for _, skip := range []bool{false, true} {
			for n := 1; ; n++ {
				m := folderOf(t)
				must(t, m.SyncAll("/data"))
				h.hurt(t, m)
				must(t, m.SyncAll("/data"))
				left := n
				broken := fmt.Errorf("cut short")
				cut := vfs.WithFaults(m, func(vfs.Op) error {
					if left--; left < 0 {
						return broken
					}
					return nil
				})
				r := &Repairer{FS: cut, Skip: skip}
				p, err := (&Repairer{FS: m, Skip: skip}).Plan("/data")
				must(t, err)
				err = r.Apply(p, "/data/aside", repairTime)
				if err == nil {
					break
				}
				if p, err = (&Repairer{FS: m, Skip: skip}).Plan("/data"); err != nil {
					t.Fatalf("%s, skip=%v, cut short at operation %d: %v", h.what, skip, n, err)
				}
				must(t, (&Repairer{FS: m, Skip: skip}).Apply(p, "/data/again", repairTime))
				want := upTo(h.cut)
				if skip {
					want = slices.DeleteFunc(upTo(73), func(o int64) bool { return slices.Contains(h.dropped, o) })
				}
				if got := offsetsOf(t, m); !slices.Equal(got, want) {
					t.Fatalf("%s, skip=%v, cut short at operation %d: the records %v are left, not %v", h.what, skip, n, got, want)
				}
			}
		}
	}
}

// TestAHalfRepairedFolderIsNotTakenForOneLeftInOrder opens what a repair that was cut short has left: the open transaction,
// which only a snapshot tells a log that was closed in order, is known or the partition is offline.
func TestAHalfRepairedFolderIsNotTakenForOneLeftInOrder(t *testing.T) {
	for n := 1; ; n++ {
		m := folderOf(t)
		flipAt("00000000000000000000.index", 7)(t, m)
		p, err := (&Repairer{FS: m}).Plan("/data")
		must(t, err)
		left := n
		cut := vfs.WithFaults(m, func(vfs.Op) error {
			if left--; left < 0 {
				return fmt.Errorf("cut short")
			}
			return nil
		})
		if (&Repairer{FS: cut}).Apply(p, "/data/aside", repairTime) == nil {
			return
		}
		s, err := storage.OpenStore(m, []string{"/data"}, storage.Options{
			ClusterID: "4L6g3nShT-eMCtK--X86sw", NodeID: 1, Logger: slog.New(slog.DiscardHandler),
		})
		must(t, err)
		if l, ok := s.Log(protocol.TopicPartition{Topic: "golden"}); ok && l.Bounds().LastStable != 72 {
			t.Errorf("cut short at operation %d: the last stable offset is %d", n, l.Bounds().LastStable)
		}
		must(t, s.Close())
	}
}

// TestRescuedRecordsStayUnlessTheLogIsCut: what waits beside a log for its end goes aside only where that end is lost.
func TestRescuedRecordsStayUnlessTheLogIsCut(t *testing.T) {
	const name = "/data/golden-0/" + storage.RescuedFile
	for _, skip := range []bool{false, true} {
		m := folderOf(t)
		must(t, vfs.WriteFile(m, name, []byte("records")))
		flipAt("00000000000000000012.log", 200)(t, m)
		p, aside := repaired(t, m, skip)
		_, here := m.Stat(name)
		_, there := m.Stat(aside + "/golden-0/" + storage.RescuedFile)
		if p.Partitions[0].Rescued == skip || (here == nil) != skip || (there == nil) == skip {
			t.Errorf("skip=%v: plan %v, in the folder: %v, aside: %v", skip, p.Partitions[0].Rescued, here, there)
		}
	}
}

func TestAGoodFolderNeedsNoRepair(t *testing.T) {
	p, err := (&Repairer{FS: folderOf(t)}).Plan("/data")
	if err != nil || !p.Empty() {
		t.Errorf("%+v, %v", p, err)
	}
}
