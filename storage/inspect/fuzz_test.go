package inspect

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"moldau.io/moldau/storage/vfs"
)

// FuzzDump reads hostile files of every kind. Nothing may panic, pieces must cover the file without a gap, and memory is
// watched by the fuzzer itself.
func FuzzDump(f *testing.F) {
	golden, _ := filepath.Glob("../testdata/kafka-4.4.0/golden-0/*")
	for _, name := range golden {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		m := vfs.NewMem()
		must(t, m.MkdirAll("/d/t-0"))
		for _, name := range []string{
			"00000000000000000000.log", "00000000000000000000.index", "00000000000000000000.timeindex",
			"00000000000000000000.txnindex", "00000000000000000007.snapshot", "leader-epoch-checkpoint", "partition.metadata",
			"meta.properties", "replication-offset-checkpoint",
		} {
			name = "/d/t-0/" + name
			must(t, vfs.WriteFile(m, name, b))
			walkAll(t, m, name, int64(len(b)))
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func walkAll(t *testing.T, fsys vfs.FS, name string, size int64) {
	t.Helper()
	switch kind := KindOf(name); kind {
	case Batches:
		l, err := OpenLog(fsys, name)
		must(t, err)
		defer l.Close()
		at := int64(0)
		for {
			p, err := l.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			must(t, err)
			if p.Position != at || p.Bytes <= 0 {
				t.Fatalf("a piece of %d bytes at byte %d follows one that ended at %d", p.Bytes, p.Position, at)
			}
			at += p.Bytes
			if p.Head == nil || p.Damage != nil {
				continue
			}
			b, err := l.Batch(p, nil)
			must(t, err)
			Control(b)
			for r, err := range b.Records(nil) {
				if err == nil {
					DecodeCoordinator(r.Key, r.Value)
				}
			}
		}
		if at != size {
			t.Fatalf("the pieces end at byte %d of %d", at, size)
		}
	case Offsets:
		x, err := OpenOffsetIndex(fsys, name)
		must(t, err)
		defer x.Close()
		for err == nil {
			_, err = x.Next()
		}
	case Times:
		x, err := OpenTimeIndex(fsys, name)
		must(t, err)
		defer x.Close()
		for err == nil {
			_, err = x.Next()
		}
	case Aborted:
		x, err := OpenTxnIndex(fsys, name)
		must(t, err)
		defer x.Close()
		for err == nil {
			_, err = x.Next()
		}
	default:
		_, _ = Small(fsys, name, kind)
	}
}

// FuzzDecodeCoordinator takes hostile keys and values apart.
func FuzzDecodeCoordinator(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x00"), []byte("\x00\x04\x00\x00\x00\x00\x00\x00\x00\x07"))
	f.Add([]byte("\x00\x02\x00\x01g"), []byte("\x00\x03\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, key, value []byte) { DecodeCoordinator(key, value) })
}

func TestACommitIsReadable(t *testing.T) {
	key := []byte("\x00\x01\x00\x01g\x00\x01t\x00\x00\x00\x03")
	value := []byte("\x00\x03\x00\x00\x00\x00\x00\x00\x00\x07\x00\x00\x00\x02\x00\x01m\x00\x00\x00\x00\x00\x00\x00\x09")
	c := DecodeCoordinator(key, value)
	if c.Kind != "commit" || c.Names["group"] != "g" || c.Topic != "t" || *c.Number != 3 || c.Damage != "" ||
		*c.Commit != (Commit{Offset: 7, Epoch: 2, Metadata: "m", Timestamp: 9}) {
		t.Errorf("%+v %+v", c, c.Commit)
	}
	if c := DecodeCoordinator(key, nil); !c.Deleted || c.Damage != "" {
		t.Errorf("a tombstone is %+v", c)
	}
	if c := DecodeCoordinator(key, value[:9]); c.Damage == "" {
		t.Errorf("a damaged value is %+v", c)
	}
}
