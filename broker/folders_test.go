package broker_test

import (
	"log/slog"
	"strings"
	"testing"

	"moldau.io/moldau/broker"
	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// TestADataFolderThatIsLeftOutIsMissed starts a broker of two folders with one of them, with both in the other order, and
// with a third.
func TestADataFolderThatIsLeftOutIsMissed(t *testing.T) {
	fs := vfs.NewMem()
	b := brokertest.Start(t, brokertest.Options{FS: fs, Dirs: []string{"a", "b"}})
	c := b.Dial()
	id := createTopic(c, "t", 2)
	for p := range int32(2) {
		if got := protocol.Code(produce(c, 13, "t", id, p, -1, records(3, 10)).ErrorCode); got != protocol.None {
			t.Fatal(got)
		}
	}
	b.Stop()
	for _, dirs := range [][]string{{"a"}, {"b"}, {"b", "c"}} {
		got, err := broker.New(t.Context(), broker.Config{Static: config.Empty(), FS: fs, Dirs: dirs, Log: slog.New(slog.DiscardHandler)})
		if err == nil || !strings.Contains(err.Error(), "is missing") {
			t.Errorf("with %v: %v", dirs, err)
		}
		if err == nil {
			_ = got.Close()
		}
	}
	for _, dirs := range [][]string{{"b", "a"}, {"c", "b", "a"}, {"a", "b", "c"}} {
		b := brokertest.Start(t, brokertest.Options{FS: fs, Dirs: dirs})
		c := b.Dial()
		for p := range int32(2) {
			resp := fetch(c, 18, "t", id, fetchFrom(p, 0))
			if n := countRecords(t, resp.Topics[0].Partitions[0].RecordBatches); n != 3 {
				t.Errorf("with %v: %d records in partition %d, want 3", dirs, n, p)
			}
		}
		b.Stop()
	}
}
