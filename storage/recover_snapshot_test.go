package storage

import (
	"path"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// TestRecoveryMakesTornSnapshotsAnew: a crash tears the snapshots of segments that had not been flushed. What compaction
// leaves below may not tell who the producers were, so that a truncation needs them.
func TestRecoveryMakesTornSnapshotsAnew(t *testing.T) {
	for _, left := range []string{"torn", "gone"} {
		t.Run(left, func(t *testing.T) {
			m := vfs.NewMem()
			s, err := openIdle(m, []string{"/data"}, options()) // so that nothing is flushed
			if err != nil {
				t.Fatal(err)
			}
			cfg := DefaultConfig()
			cfg.SegmentBytes = 600
			l := create(t, s, cfg)
			for i := range int32(20) {
				b := batch.NewBuilder(batch.BuilderOptions{Producer: &batch.Producer{ID: 4, Sequence: i}})
				b.Add(int64(i), nil, []byte("a"))
				mustAppend(t, l, b.Build())
			}
			s.abandon()
			for _, name := range snapshotFiles(t, m, l.Dir()) {
				if name = path.Join(l.Dir(), path.Base(name)); left == "gone" {
					if err := m.Remove(name); err != nil {
						t.Fatal(err)
					}
					continue
				}
				f, err := m.Open(name)
				if err != nil {
					t.Fatal(err)
				}
				if err := f.Truncate(20); err != nil {
					t.Fatal(err)
				}
				f.Close()
			}
			s = openStore(t, m, "/data", options())
			defer closeStore(t, s)
			l = mustLog(t, s, tp0)
			segs := *l.segments.Load()
			if len(segs) < 3 {
				t.Fatalf("%d segments", len(segs))
			}
			for _, seg := range segs[1:] {
				checkSnapshot(t, m, l, seg.Base())
			}
		})
	}
}

// checkSnapshot wants the snapshot of an offset that each of producer 4's batches of one record ends at.
func checkSnapshot(t *testing.T, fsys vfs.FS, l *Log, at protocol.Offset) {
	t.Helper()
	name := path.Join(l.Dir(), segment.FileName(at, segment.SnapshotSuffix))
	b, err := vfs.ReadFile(fsys, name, smallFileMax)
	if err != nil {
		t.Fatal(err)
	}
	state, err := producers.Load(b, at)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	if known := state.Active(); len(known) != 1 || known[0].ID != 4 || known[0].LastOffset != at-1 {
		t.Errorf("%s knows %+v", name, known)
	}
}
