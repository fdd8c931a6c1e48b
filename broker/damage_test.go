package broker_test

import (
	"bytes"
	"testing"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// TestI30_DamagedRecordsAreNotSent flips a bit of the log while no broker runs, at many places, one at a time. A client then
// gets the right bytes or an error, and the other partition whole.
func TestI30_DamagedRecordsAreNotSent(t *testing.T) {
	const name = "data/t-0/00000000000000000000.log"
	disk := vfs.NewMem()
	b := brokertest.Start(t, brokertest.Options{FS: disk, Quiet: true})
	c := b.Dial()
	id := createTopic(c, "t", 2)
	for p := range int32(2) {
		for range 3 {
			if got := produce(c, 13, "t", id, p, -1, records(2, 20)); got.ErrorCode != 0 {
				t.Fatal(protocol.Code(got.ErrorCode))
			}
		}
	}
	want := one(t, fetch(c, 18, "t", id, fetchFrom(0, 0))).RecordBatches
	other := one(t, fetch(c, 18, "t", id, fetchFrom(1, 0))).RecordBatches
	b.Stop()
	size, errors := int64(len(want)), 0
	for at := int64(0); at < size; at += 5 {
		broken := disk.KillClone()
		f, err := broken.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte{want[at] ^ 0x10}, at); err != nil {
			t.Fatal(err)
		}
		b := brokertest.Start(t, brokertest.Options{FS: broken, Quiet: true})
		c := b.Dial()
		for _, from := range []int64{4, 0, 2} {
			got := one(t, fetch(c, 18, "t", id, fetchFrom(0, from)))
			switch code := protocol.Code(got.ErrorCode); code {
			case protocol.None:
				if len(got.RecordBatches) == 0 || !bytes.HasSuffix(want, got.RecordBatches) {
					t.Fatalf("byte %d: from offset %d on %d bytes that were not written", at, from, len(got.RecordBatches))
				}
			case protocol.KafkaStorageError:
				errors++
			default:
				t.Fatalf("byte %d: from offset %d on: %v", at, from, code)
			}
		}
		if got := one(t, fetch(c, 18, "t", id, fetchFrom(1, 0))); !bytes.Equal(got.RecordBatches, other) {
			t.Fatalf("byte %d: the other partition: %v", at, protocol.Code(got.ErrorCode))
		}
		b.Stop()
	}
	if errors < int(size/5) {
		t.Errorf("%d errors for %d flips", errors, size/5)
	}
}
