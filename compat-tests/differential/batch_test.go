//go:build compat

package differential

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A rec is one record. Its offset delta is its place in the batch plus skew.
type rec struct {
	time  int64 // after the batch's first time, ms
	key   []byte
	value []byte
	skew  int32
}

// A fakeBatch is a record batch of which everything can be made wrong. The zero value of every field gives a right one.
type fakeBatch struct {
	base      int64
	epoch     int32
	magic     int8 // 2 when 0
	attrs     int16
	codec     int // 1 gzip, 2 snappy, 3 lz4, 4 zstd
	time      int64
	maxTime   int64 // of the records when 0
	pid       int64 // none when 0
	pidEpoch  int16
	sequence  int32
	lastDelta *int32
	count     *int32
	crcXor    uint32
	body      []byte // instead of the records, sent as it is
	records   []rec
}

// someTime is when the records of the scripts were made: any time of the past that is not this run's.
const someTime = 1_700_000_000_000

// simple is a good batch of n records with keys and values.
func simple(n int) fakeBatch {
	b := fakeBatch{time: someTime}
	for i := range n {
		b.records = append(b.records, rec{time: int64(i), key: []byte{'k', byte('a' + i%26)},
			value: []byte("value of the record")})
	}
	return b
}

func ptr[T any](v T) *T { return &v }

// bytes is the batch as it goes over the wire.
func (f fakeBatch) bytes() []byte {
	if f.records == nil && f.body == nil {
		f.records = simple(1).records
	}
	if f.time == 0 {
		f.time = someTime
	}
	body, latest := f.encodeRecords()
	if f.body != nil {
		body = f.body
	}
	if f.maxTime == 0 {
		f.maxTime = f.time + latest
	}
	h := kmsg.RecordBatch{
		FirstOffset: f.base, PartitionLeaderEpoch: f.epoch, Magic: 2, Attributes: f.attrs | int16(f.codec),
		LastOffsetDelta: int32(len(f.records) - 1), FirstTimestamp: f.time, MaxTimestamp: f.maxTime,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(len(f.records)), Records: body,
	}
	if f.magic != 0 {
		h.Magic = f.magic
	}
	if f.pid != 0 {
		h.ProducerID, h.ProducerEpoch, h.FirstSequence = f.pid, f.pidEpoch, f.sequence
	}
	if f.lastDelta != nil {
		h.LastOffsetDelta = *f.lastDelta
	}
	if f.count != nil {
		h.NumRecords = *f.count
	}
	b := h.AppendTo(nil)
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli))^f.crcXor)
	return b
}

func (f fakeBatch) encodeRecords() (body []byte, latest int64) {
	for i, r := range f.records {
		one := kmsg.Record{OffsetDelta: int32(i) + r.skew, TimestampDelta64: r.time, Key: r.key, Value: r.value}
		raw := one.AppendTo(nil) // with a length of 0, one byte
		one.Length = int32(len(raw) - 1)
		body = one.AppendTo(body)
		latest = max(latest, r.time)
	}
	return pack(f.codec, body), latest
}

// pack compresses as clients do.
func pack(codec int, body []byte) []byte {
	var out bytes.Buffer
	switch codec {
	case 1:
		w := gzip.NewWriter(&out)
		w.Write(body)
		w.Close()
	case 2: // raw, as librdkafka
		return s2.EncodeSnappy(nil, body)
	case 3:
		w := lz4.NewWriter(&out)
		w.Write(body)
		w.Close()
	case 4:
		w, _ := zstd.NewWriter(nil)
		defer w.Close()
		return w.EncodeAll(body, nil)
	default:
		return body
	}
	return out.Bytes()
}
