//go:build bench

package storage

import (
	"fmt"
	"io"
	"log/slog"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/vfs"
)

const clusterID = "AAAAAAAAAAAAAAAAAAAAAA"

var topicID = protocol.TopicID{15: 1}

func options() storage.Options {
	return storage.Options{ClusterID: clusterID, NodeID: 1, Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func openStore(t testing.TB, fsys vfs.FS, dir string) *storage.Store {
	t.Helper()
	s, err := storage.OpenStore(fsys, []string{dir}, options())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func closeStore(t testing.TB, s *storage.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func create(t testing.TB, s *storage.Store, i int, cfg storage.Config) *storage.Log {
	t.Helper()
	l, err := s.Create(partition(i), topicID, cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func partition(i int) protocol.TopicPartition {
	return protocol.TopicPartition{Topic: fmt.Sprintf("orders-of-region-%03d", i/10), Partition: int32(i % 10)}
}

// sized is a batch of about n bytes, in records of 1 KB; sequence is its producer's first sequence number, -1 for none.
func sized(n int, sequence int32) batch.Batch {
	const record = 1000
	options := batch.BuilderOptions{}
	if sequence >= 0 {
		options.Producer = &batch.Producer{ID: 7, Sequence: sequence}
	}
	b := batch.NewBuilder(options)
	value := make([]byte, min(record, n)-batch.HeaderBytes-7)
	for at := 0; at < n; at += record {
		b.Add(time.Now().UnixMilli(), nil, value)
	}
	return b.Build()
}

// fill appends n idempotent batches of about size bytes.
func fill(t testing.TB, l *storage.Log, n, size int) {
	t.Helper()
	now := time.Now()
	sequence := int32(0)
	for range n {
		b := sized(size, sequence)
		sequence = b.LastSequence() + 1
		if _, err := l.Append(now, 0, b); err != nil {
			t.Fatal(err)
		}
	}
}

// unsynced is the real file system without its syncs: folders that are only made to be measured are made faster.
type unsynced struct{ vfs.FS }

type unsyncedFile struct{ vfs.File }

func (unsyncedFile) Sync() error { return nil }

func (unsynced) SyncDir(string) error { return nil }
func (unsynced) SyncAll(string) error { return nil }

func (u unsynced) Create(name string) (vfs.File, error) { return keep(u.FS.Create(name)) }
func (u unsynced) Open(name string) (vfs.File, error)   { return keep(u.FS.Open(name)) }

func keep(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return unsyncedFile{f}, nil
}
