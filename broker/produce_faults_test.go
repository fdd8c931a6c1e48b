package broker_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
	"moldau.io/moldau/storage/vfs"
)

// messageSet is one message of the formats before record batches.
func messageSet(magic byte, key, value string) []byte {
	body := []byte{magic, 0}
	if magic == 1 {
		body = binary.BigEndian.AppendUint64(body, uint64(time.Now().UnixMilli()))
	}
	for _, s := range []string{key, value} {
		body = append(binary.BigEndian.AppendUint32(body, uint32(len(s))), s...)
	}
	b := binary.BigEndian.AppendUint64(nil, 0)
	b = binary.BigEndian.AppendUint32(b, uint32(4+len(body)))
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(body))
	return append(b, body...)
}

// TestC40_OldMessageFormatsAreRefused at the versions that this broker answers; the connection stays.
func TestC40_OldMessageFormatsAreRefused(t *testing.T) {
	w := newWorld(t)
	for version := int16(3); version <= 13; version++ {
		for magic := byte(0); magic <= 1; magic++ {
			for name, set := range map[string][]byte{
				"one": messageSet(magic, "k", strings.Repeat("v", 100)), "short": messageSet(magic, "", ""),
				"two": append(messageSet(magic, "k", "v"), messageSet(magic, "k", "v")...),
			} {
				p := produce(w.c, version, "t", w.id, 0, -1, set)
				if protocol.Code(p.ErrorCode) != protocol.InvalidRecord || p.BaseOffset != -1 {
					t.Errorf("version %d, magic %d, %s: %+v", version, magic, name, p)
				}
			}
		}
	}
	w.putAt(0, records(1, 10))
}

// TestC66_AttributesMatchWhatIsStored, whatever was sent to whatever topic.
func TestC66_AttributesMatchWhatIsStored(t *testing.T) {
	targets := map[string]compress.Codec{"uncompressed": compress.None, "gzip": compress.Gzip, "snappy": compress.Snappy,
		"lz4": compress.LZ4, "zstd": compress.Zstd}
	for target, stored := range targets {
		for _, timestamps := range []string{"CreateTime", "LogAppendTime"} {
			w := newWorld(t, "compression.type", target, "message.timestamp.type", timestamps)
			for _, sent := range targets {
				at := w.end()
				w.putAt(at, recordsOf(batch.BuilderOptions{Codec: sent}, 20, 100))
				b := batch.Batch(w.get(at).RecordBatches)
				if b.Codec() != stored || !b.CheckCRC() || b.Count() != 20 || b.IsLogAppendTime() != (timestamps == "LogAppendTime") {
					t.Errorf("%v to %s, %s: stored as %v, attributes %x", sent, target, timestamps, b.Codec(), b.Attributes())
				}
				n := 0
				for r, err := range b.Records(compress.NewDecoder()) {
					if err != nil || len(r.Value) != 100 || string(r.Key) != "key" {
						t.Fatalf("%v to %s: record %d: %v", sent, target, n, err)
					}
					n++
				}
				if n != 20 {
					t.Errorf("%v to %s: %d records", sent, target, n)
				}
			}
		}
	}
}

// TestRule048_ADuplicateIsCheckedBeforeItIsFound: one that the topic would refuse now is refused.
func TestRule048_ADuplicateIsCheckedBeforeItIsFound(t *testing.T) {
	w := newWorld(t)
	sent := recordsOf(batch.BuilderOptions{Producer: &batch.Producer{ID: 5}}, 1, 3000)
	w.putAt(0, append([]byte(nil), sent...))
	w.putAt(0, append([]byte(nil), sent...)) // found
	set(w.c, kmsg.ConfigResourceTypeTopic, "t", "max.message.bytes", "1000")
	w.refused("a duplicate that is too large now", protocol.MessageTooLarge, append([]byte(nil), sent...))
	set(w.c, kmsg.ConfigResourceTypeTopic, "t", "max.message.bytes", "")
	w.putAt(0, append([]byte(nil), sent...))
	set(w.c, kmsg.ConfigResourceTypeTopic, "t", "message.timestamp.type", "LogAppendTime")
	// The time of a duplicate is that of the batch in the log, not of now.
	now := time.Now().UnixMilli()
	if p := w.putAt(0, append([]byte(nil), sent...)); p.LogAppendTime != batch.Batch(sent).MaxTimestamp() || p.LogAppendTime > now {
		t.Errorf("append time %d of a duplicate, its batch has %d", p.LogAppendTime, batch.Batch(sent).MaxTimestamp())
	}
}

// TestC135_TooLargeIsAnAnswerAsLongAsItIsAFrame: clients learn the limit from it.
func TestC135_TooLargeIsAnAnswerAsLongAsItIsAFrame(t *testing.T) {
	w := newWorld(t)
	for _, acks := range []int16{1, -1} {
		p := produce(w.c, 13, "t", w.id, 0, acks, records(1, 5<<20))
		if protocol.Code(p.ErrorCode) != protocol.MessageTooLarge {
			t.Errorf("5 MiB with acks=%d: %v", acks, protocol.Code(p.ErrorCode))
		}
	}
	w.putAt(0, records(1, 1_040_000))
	c := w.b.Dial()
	c.Send(binary.BigEndian.AppendUint32(nil, 104857600+1)) // socket.request.max.bytes is 100 MiB
	c.Closed()
}

var errDisk = errors.New("the disk says no")

// brokenDisk is a broker whose disk fails for the log of t-0 while broken is set.
func brokenDisk(t *testing.T, kind string) (*world, *atomic.Bool) {
	t.Helper()
	broken := &atomic.Bool{}
	fs := vfs.WithFaults(vfs.NewMem(), func(op vfs.Op) error {
		if broken.Load() && op.Kind == kind && strings.Contains(op.Name, "t-0/") && strings.HasSuffix(op.Name, ".log") {
			return errDisk
		}
		return nil
	})
	b := brokertest.Start(t, brokertest.Options{FS: fs, Quiet: true})
	w := &world{T: t, b: b, c: b.Dial()}
	w.id = createTopic(w.c, "t", 2)
	return w, broken
}

// TestC122_OurOwnFailureIsRetried: UNKNOWN_SERVER_ERROR would have an idempotent producer begin anew, and write twice.
func TestC122_OurOwnFailureIsRetried(t *testing.T) {
	w, broken := brokenDisk(t, "WriteAt")
	w.putAt(0, from(5, 0, 0, 2))
	broken.Store(true)
	for version := int16(3); version <= 13; version++ {
		p := produce(w.c, version, "t", w.id, 0, -1, from(5, 0, 2, 3))
		if code := protocol.Code(p.ErrorCode); !code.Retriable() || p.BaseOffset != -1 {
			t.Errorf("version %d: %v at offset %d", version, code, p.BaseOffset)
		}
	}
	if p := produce(w.c, 13, "t", w.id, 1, -1, records(1, 10)); p.ErrorCode != 0 {
		t.Errorf("another partition: %v", protocol.Code(p.ErrorCode))
	}
	broken.Store(false)
	w.putAt(2, from(5, 0, 2, 3)) // the retry
	w.putAt(2, from(5, 0, 2, 3)) // and its duplicate
	w.putAt(5, from(5, 0, 5, 1))
	w.b.Restart()
	w.c = w.b.Dial()
	if n := countRecords(t, w.get(0).RecordBatches); n != 6 {
		t.Errorf("%d records, want 6", n)
	}
}

// TestC55_ALogThatIsOfflineHasACodeThatConsumersKnow, at every version, and costs that partition only.
func TestC55_ALogThatIsOfflineHasACodeThatConsumersKnow(t *testing.T) {
	w, broken := brokenDisk(t, "Open")
	w.putAt(0, records(3, 10))
	produce(w.c, 13, "t", w.id, 1, -1, records(2, 10))
	broken.Store(true)
	w.b.Restart()
	w.c = w.b.Dial()
	for version := int16(4); version <= 18; version++ {
		resp := fetch(w.c, version, "t", w.id, fetchFrom(0, 0), fetchFrom(1, 0), fetchFrom(1, 9), fetchFrom(7, 0))
		want := []protocol.Code{protocol.KafkaStorageError, 0, protocol.OffsetOutOfRange, protocol.UnknownTopicOrPartition}
		for i, p := range resp.Topics[0].Partitions {
			checkFetchCode(t, p.ErrorCode)
			if got := protocol.Code(p.ErrorCode); got != want[i] {
				t.Errorf("version %d, partition %d: %v, want %v", version, p.Partition, got, want[i])
			}
		}
		if n := countRecords(t, resp.Topics[0].Partitions[1].RecordBatches); n != 2 {
			t.Errorf("version %d: the other partition gave %d records", version, n)
		}
	}
	for version := int16(3); version <= 13; version++ {
		p := produce(w.c, version, "t", w.id, 0, -1, records(1, 10))
		if got := protocol.Code(p.ErrorCode); got != protocol.KafkaStorageError {
			t.Errorf("C122: Produce version %d: %v", version, got)
		}
	}
	broken.Store(false)
	w.b.Restart()
	w.c = w.b.Dial()
	if n := countRecords(t, w.get(0).RecordBatches); n != 3 {
		t.Errorf("%d records when the disk is well again", n)
	}
}

// TestC55_ARecordThatCannotBeReadCostsTheConnectionAtMost: the answer's size has been sent before its records are read.
func TestC55_ARecordThatCannotBeReadCostsTheConnectionAtMost(t *testing.T) {
	w, broken := brokenDisk(t, "ReadAt")
	w.putAt(0, records(3, 10))
	broken.Store(true)
	c := w.b.Dial()
	c.Send(c.Encode(fetchRequest(18, "t", w.id, fetchFrom(0, 0))))
	if raw, err := c.TryRecv(20 * time.Second); err == nil {
		resp, _, err := brokertest.Decode(fetchRequest(18, "t", w.id), raw)
		if err != nil || one(t, resp.(*kmsg.FetchResponse)).ErrorCode != int16(protocol.KafkaStorageError) {
			t.Errorf("%+v, %v", resp, err)
		}
	}
	broken.Store(false)
	if n := countRecords(t, w.get(0).RecordBatches); n != 3 {
		t.Errorf("%d records when the disk is well again", n)
	}
}

// TestC125_C133_OffsetsAreDense across batches, refused batches, duplicates, restarts and new leader epochs.
func TestC125_C133_OffsetsAreDense(t *testing.T) {
	w := newWorld(t, "segment.bytes", "1048576")
	next, sequence := int64(0), int32(0)
	for range 3 {
		for i := range 20 {
			n := i%4 + 1
			w.putAt(next, recordsOf(batch.BuilderOptions{Producer: &batch.Producer{ID: 5, Sequence: sequence}}, n, 10_000))
			w.refused("out of sequence", protocol.OutOfOrderSequenceNumber, from(5, 0, sequence+1000, 1))
			w.refused("no batch", protocol.InvalidRecord, []byte{1})
			next, sequence = next+int64(n), sequence+int32(n)
		}
		w.b.Restart()
		w.c = w.b.Dial()
	}
	seen := int64(0)
	for seen < next {
		raw := w.get(seen).RecordBatches
		for len(raw) > 0 {
			b, rest, err := batch.Next(raw)
			if err != nil {
				break // a fragment
			}
			if int64(b.BaseOffset()) != seen {
				t.Fatalf("a batch begins at %d, the one before ends at %d", b.BaseOffset(), seen)
			}
			for r, err := range b.Records(compress.NewDecoder()) {
				if err != nil || int64(b.BaseOffset())+int64(r.OffsetDelta) != seen {
					t.Fatalf("record %d has offset %d, %v", seen, int64(b.BaseOffset())+int64(r.OffsetDelta), err)
				}
				seen++
			}
			raw = rest
		}
	}
	if seen != next {
		t.Errorf("%d records were read, %d acknowledged", seen, next)
	}
}
