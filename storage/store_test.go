package storage

import (
	"bytes"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

var tp0 = protocol.TopicPartition{Topic: "t", Partition: 0}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func options() Options {
	return Options{ClusterID: "cluster", NodeID: 1, Logger: discard()}
}

func openStore(t testing.TB, fsys vfs.FS, dir string, o Options) *Store {
	t.Helper()
	s, err := OpenStore(fsys, []string{dir}, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t testing.TB, s *Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, s *Store, cfg Config) *Log {
	t.Helper()
	l, err := s.Create(tp0, protocol.TopicID{1}, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// records builds a batch of n records from first on: the record at offset o has the value "v<o>" and the timestamp ts.
func records(t testing.TB, ts int64, values ...string) batch.Batch {
	t.Helper()
	b := batch.NewBuilder(batch.BuilderOptions{})
	for i, v := range values {
		b.Add(ts+int64(i), nil, []byte(v))
	}
	return b.Build()
}

func mustAppend(t testing.TB, l *Log, bs ...batch.Batch) Appended {
	t.Helper()
	a, err := l.Append(time.UnixMilli(1000), 0, bs...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// readAll is every value in the log from an offset on, each with its offset.
func readAll(t testing.TB, l *Log, from protocol.Offset) []string {
	t.Helper()
	var out []string
	end := l.Bounds().End
	for at := from; at < end; {
		s, err := l.Read(at, end, 1, true)
		if err != nil {
			t.Fatalf("read at %d: %v", at, err)
		}
		raw, err := s.Bytes(nil)
		s.Release()
		if err != nil {
			t.Fatal(err)
		}
		b, rest, err := batch.Next(raw)
		if err != nil || len(rest) > 0 {
			t.Fatalf("read at %d: %v, %d bytes behind the batch", at, err, len(rest))
		}
		for r, err := range b.Records(nil) {
			if err != nil {
				t.Fatal(err)
			}
			if o := b.BaseOffset() + protocol.Offset(r.OffsetDelta); o >= from {
				out = append(out, fmt.Sprintf("%d=%s", o, r.Value))
			}
		}
		at = b.LastOffset() + 1
	}
	return out
}

func TestAppendAndRead(t *testing.T) {
	for _, tc := range []struct {
		name string
		fs   vfs.FS
		dir  string
	}{{"disk", vfs.OS(), t.TempDir()}, {"memory", vfs.NewMem(), "/data"}} {
		t.Run(tc.name, func(t *testing.T) {
			s := openStore(t, tc.fs, tc.dir, options())
			cfg := DefaultConfig()
			cfg.SegmentBytes = 1000
			l := create(t, s, cfg)
			var want []string
			for i := range 50 {
				v := bytes.Repeat([]byte{'x'}, i)
				a := mustAppend(t, l, records(t, int64(i), string(v), "second"))
				if a.Base != protocol.Offset(2*i) || a.Last != a.Base+1 {
					t.Fatalf("append %d went to %d..%d", i, a.Base, a.Last)
				}
				want = append(want, fmt.Sprintf("%d=%s", 2*i, v), fmt.Sprintf("%d=second", 2*i+1))
			}
			if l.Segments() < 5 {
				t.Fatalf("%d segments", l.Segments())
			}
			check := func(l *Log) {
				t.Helper()
				if got := readAll(t, l, 0); fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("got %v\nwant %v", got, want)
				}
				if got := readAll(t, l, 31); fmt.Sprint(got) != fmt.Sprint(want[31:]) {
					t.Fatalf("from 31: got %v\nwant %v", got, want[31:])
				}
				if b := l.Bounds(); b.Start != 0 || b.End != 100 || b.LastStable != 100 {
					t.Fatalf("bounds %+v", b)
				}
			}
			check(l)
			closeStore(t, s)

			s = openStore(t, tc.fs, tc.dir, options())
			l, ok := s.Log(tp0)
			if !ok {
				t.Fatal("the log is gone", s.Failed(tp0))
			}
			if !s.Dirs()[0].Clean {
				t.Fatal("the end was not seen as clean")
			}
			check(l)
			if a := mustAppend(t, l, records(t, 7, "more")); a.Base != 100 {
				t.Fatalf("appended at %d", a.Base)
			}
			closeStore(t, s)
		})
	}
}
