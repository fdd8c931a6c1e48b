package batch

import (
	"encoding/binary"
	"hash/crc32"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/compress"
)

// Batch is a view of exactly one magic-2 record batch. It owns nothing: its bytes are the caller's. Batches come from Next
// or from a Builder; the views below expect at least HeaderBytes bytes.
type Batch []byte

// HeaderBytes is the size of everything before the records.
const HeaderBytes = 61

// Where the fields lie.
const (
	atBaseOffset      = 0
	atLength          = 8
	atLeaderEpoch     = 12
	atMagic           = 16
	atCRC             = 17
	atAttributes      = 21
	atLastOffsetDelta = 23
	atBaseTimestamp   = 27
	atMaxTimestamp    = 35
	atProducerID      = 43
	atProducerEpoch   = 51
	atBaseSequence    = 53
	atCount           = 57

	lengthOverhead = 12 // the base offset and the length itself, which the length does not count
)

// The attribute bits.
const (
	codecMask         = 0x07
	logAppendTimeBit  = 0x08
	transactionalBit  = 0x10
	controlBit        = 0x20
	deleteHorizonBit  = 0x40
	magicV2           = 2
	maxSequence       = 1<<31 - 1
	noTimestamp       = int64(-1)
	smallestRecordLen = 7 // size, attributes, two deltas, two lengths and the header count, one byte each
)

// castagnoli is the table of CRC-32C. crc32 uses the processor's instruction for it.
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// BaseOffset is the offset of the first record, also after compaction has removed that record.
func (b Batch) BaseOffset() protocol.Offset {
	return protocol.Offset(binary.BigEndian.Uint64(b[atBaseOffset:]))
}

// LastOffset is the offset of the last record, also after compaction has removed that record.
func (b Batch) LastOffset() protocol.Offset {
	return b.BaseOffset() + protocol.Offset(b.LastOffsetDelta())
}

// LastOffsetDelta is LastOffset less BaseOffset.
func (b Batch) LastOffsetDelta() int32 { return int32(binary.BigEndian.Uint32(b[atLastOffsetDelta:])) }

// LeaderEpoch is the epoch of the leader that appended the batch.
func (b Batch) LeaderEpoch() protocol.Epoch {
	return protocol.Epoch(binary.BigEndian.Uint32(b[atLeaderEpoch:]))
}

// Magic is the version of the format, 2.
func (b Batch) Magic() int8 { return int8(b[atMagic]) }

// CRC is the checksum that the batch carries.
func (b Batch) CRC() uint32 { return binary.BigEndian.Uint32(b[atCRC:]) }

// ComputeCRC is the checksum that the batch should carry.
func (b Batch) ComputeCRC() uint32 { return crc32.Checksum(b[atAttributes:], castagnoli) }

// CheckCRC says whether the batch carries the checksum of its content.
func (b Batch) CheckCRC() bool { return b.CRC() == b.ComputeCRC() }

// Attributes are the 16 attribute bits.
func (b Batch) Attributes() int16 { return int16(binary.BigEndian.Uint16(b[atAttributes:])) }

// Codec is how the records are compressed. It may be a number that no codec has.
func (b Batch) Codec() compress.Codec { return compress.Codec(b.Attributes() & codecMask) }

// IsLogAppendTime says that every record's timestamp is MaxTimestamp, the time at which a broker appended the batch.
func (b Batch) IsLogAppendTime() bool { return b.Attributes()&logAppendTimeBit != 0 }

// IsTransactional says that the batch belongs to a transaction.
func (b Batch) IsTransactional() bool { return b.Attributes()&transactionalBit != 0 }

// IsControl says that the batch holds a marker of the broker's and no data.
func (b Batch) IsControl() bool { return b.Attributes()&controlBit != 0 }

// HasDeleteHorizon says that BaseTimestamp is the time from which on compaction may drop the batch's tombstones (KIP-534).
func (b Batch) HasDeleteHorizon() bool { return b.Attributes()&deleteHorizonBit != 0 }

// BaseTimestamp is what the records' timestamp deltas count from, in milliseconds since 1970.
func (b Batch) BaseTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[atBaseTimestamp:])) }

// MaxTimestamp is the largest timestamp of a record, or the append time where IsLogAppendTime.
func (b Batch) MaxTimestamp() int64 { return int64(binary.BigEndian.Uint64(b[atMaxTimestamp:])) }

// ProducerID is the id of the idempotent producer, or -1.
func (b Batch) ProducerID() int64 { return int64(binary.BigEndian.Uint64(b[atProducerID:])) }

// ProducerEpoch is the epoch of the idempotent producer, or -1.
func (b Batch) ProducerEpoch() int16 { return int16(binary.BigEndian.Uint16(b[atProducerEpoch:])) }

// BaseSequence is the sequence number of the first record, or -1.
func (b Batch) BaseSequence() int32 { return int32(binary.BigEndian.Uint32(b[atBaseSequence:])) }

// LastSequence is the sequence number of the last record, or -1. After 2147483647 comes 0.
func (b Batch) LastSequence() int32 {
	base := b.BaseSequence()
	if base < 0 {
		return -1
	}
	return addSequence(base, b.LastOffsetDelta())
}

// addSequence is Kafka's incrementSequence (DefaultRecordBatch): sequences wrap from 2147483647 to 0.
func addSequence(base, by int32) int32 {
	return int32((int64(base) + int64(by)) & maxSequence)
}

// HasProducer says that the batch was written by an idempotent producer.
func (b Batch) HasProducer() bool { return b.ProducerID() > -1 }

// Count is the number of records that the batch says it has.
func (b Batch) Count() int32 { return int32(binary.BigEndian.Uint32(b[atCount:])) }

// Payload is the records as they are stored: compressed where Codec says so.
func (b Batch) Payload() []byte { return b[HeaderBytes:] }

// Stamp writes base offset and leader epoch in place. Both lie outside the CRC, so the batch stays valid.
func (b Batch) Stamp(base protocol.Offset, epoch protocol.Epoch) {
	binary.BigEndian.PutUint64(b[atBaseOffset:], uint64(base))
	binary.BigEndian.PutUint32(b[atLeaderEpoch:], uint32(epoch))
}

// setAttributes and setMaxTimestamp leave the CRC wrong until seal.
func (b Batch) setAttributes(a int16) { binary.BigEndian.PutUint16(b[atAttributes:], uint16(a)) }

func (b Batch) setMaxTimestamp(ms int64) { binary.BigEndian.PutUint64(b[atMaxTimestamp:], uint64(ms)) }

// seal writes the CRC of the content.
func (b Batch) seal() { binary.BigEndian.PutUint32(b[atCRC:], b.ComputeCRC()) }
