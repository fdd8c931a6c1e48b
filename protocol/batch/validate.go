package batch

import (
	"errors"
	"io"
	"math"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/compress"
)

// KeepProducer is the Target that leaves a batch compressed as it was sent: compression.type=producer.
const KeepProducer compress.Codec = -1

// DecompressedBytesMax is the default of Rules.MaxDecompressed.
const DecompressedBytesMax = 256 << 20

// Rules are what a topic asks of a client's batch. Times are in milliseconds.
type Rules struct {
	// Partition is named in the texts.
	Partition protocol.TopicPartition
	// Now is the broker's time.
	Now time.Time
	// LogAppendTime is message.timestamp.type=LogAppendTime.
	LogAppendTime bool
	// TimestampBeforeMaxMs and TimestampAfterMaxMs are how far a create time may be from Now
	// (message.timestamp.before.max.ms, message.timestamp.after.max.ms). Kafka's defaults are 2^63-1 and one hour.
	TimestampBeforeMaxMs, TimestampAfterMaxMs int64
	// Compacted is a cleanup.policy that contains compact: every record needs a key.
	Compacted bool
	// MaxBytes bounds the batch as sent, and once more where it is rebuilt (max.message.bytes).
	MaxBytes int
	// MaxDecompressedRecord bounds one record of a compressed batch (max.decompressed.message.bytes). 0 is no bound.
	MaxDecompressedRecord int
	// MaxDecompressed bounds all records of a compressed batch together. 0 is DecompressedBytesMax. Kafka has no such
	// bound; a megabyte can hold records of 30 GB.
	MaxDecompressed int64
	// Target is what records are compressed with in the log, KeepProducer for as sent; the zero value is uncompressed.
	Target compress.Codec
	// Level is Kafka's level of Target; 0 is its default.
	Level int
}

// Verdict is what Validate found.
type Verdict struct {
	// Batch is what to append: the memory that was checked, unless Rebuilt.
	Batch Batch
	// Rebuilt says that Batch was made anew: recompressed, or with its records numbered again.
	Rebuilt bool
	// MaxTimestamp is Batch's, in milliseconds; -1 where no record has a timestamp.
	MaxTimestamp int64
	// OffsetOfMaxTimestamp is the offset delta of the first record that has MaxTimestamp; of the last record where the
	// broker sets the time, as in Kafka.
	OffsetOfMaxTimestamp int32
}

// One is the batch of a partition in a Produce request of the given version: exactly one, of magic 2 (Kafka's
// ProduceRequest.validateRecords). Bytes after it that are too few for another batch are ignored. It looks at nothing but
// the frame and the codec.
func One(records []byte, version int16) (Batch, error) {
	b, rest, err := Next(records)
	switch {
	case err == io.EOF, err == io.ErrUnexpectedEOF:
		return nil, reject(protocol.InvalidRecord,
			"Produce requests with version %d must have at least one record batch per partition", version)
	case protocol.CodeOf(err) == protocol.InvalidRecord:
		return nil, reject(protocol.InvalidRecord,
			"Produce requests with version %d are only allowed to contain record batches with magic version 2", version)
	case err != nil:
		return nil, &RejectError{Code: protocol.CodeOf(err), Message: err.Error()}
	}
	if version < 7 && b.Codec() == compress.Zstd {
		return nil, reject(protocol.UnsupportedCompressionType,
			"Produce requests with version %d are not allowed to use ZStandard compression", version)
	}
	if len(rest) == 0 {
		return b, nil
	}
	_, _, err = Next(rest)
	switch {
	case err == io.ErrUnexpectedEOF:
		return b, nil
	case protocol.CodeOf(err) == protocol.CorruptMessage:
		return nil, &RejectError{Code: protocol.CorruptMessage, Message: err.Error()}
	}
	return nil, reject(protocol.InvalidRecord,
		"Produce requests with version %d are only allowed to contain exactly one record batch per partition", version)
}

// Validate checks a client's batch as a leader must before it appends it (Kafka's UnifiedLog and LogValidator), in this
// order: base offset, size, checksum, codec, counts, control bit, sequence, then every record. Where the topic wants so it
// sets the log append time, corrects the largest timestamp, and rebuilds the batch; the first two change b in place and
// leave its checksum right. Offset and leader epoch are left to Stamp.
//
// The error is a *RejectError. An uncompressed batch costs no memory; a compressed one is streamed through a small window.
func (b Batch) Validate(r Rules) (Verdict, error) {
	if err := b.checkFrame(&r); err != nil {
		return Verdict{}, err
	}
	s := newScan(b, r)
	var err error
	if b.Codec() == compress.None {
		err = s.plain()
	} else {
		err = s.compressed()
	}
	if err != nil {
		return Verdict{}, err
	}
	target := r.Target
	if target == KeepProducer {
		target = b.Codec()
	}
	if target != b.Codec() || s.misnumbered {
		return s.rebuild(target)
	}
	if r.LogAppendTime {
		b.setTime(logAppendTimeBit, s.now)
		return Verdict{Batch: b, MaxTimestamp: s.now, OffsetOfMaxTimestamp: b.LastOffsetDelta()}, nil
	}
	b.setTime(0, s.maxTimestamp)
	return Verdict{Batch: b, MaxTimestamp: s.maxTimestamp, OffsetOfMaxTimestamp: s.maxDelta}, nil
}

// checkFrame is everything that can be said without looking at the records.
func (b Batch) checkFrame(r *Rules) error {
	switch {
	case b.BaseOffset() != 0:
		return reject(protocol.InvalidRecord,
			"The baseOffset of the record batch in the append to %s should be 0, but it is %d", r.Partition, b.BaseOffset())
	case len(b) > r.MaxBytes:
		return reject(protocol.MessageTooLarge, "The record batch size in the append to %s is %d bytes which exceeds the "+
			"maximum configured value of %d).", r.Partition, len(b), r.MaxBytes)
	case !b.CheckCRC():
		return reject(protocol.CorruptMessage,
			"Record is corrupt (stored crc = %d) in topic partition %s.", b.CRC(), r.Partition)
	case !b.Codec().Valid():
		return reject(protocol.UnknownServerError, "Unknown compression type id: %d", b.Codec())
	}
	last, count := b.LastOffsetDelta(), b.Count()
	switch {
	case last < 0:
		return reject(protocol.InvalidRecord, "Batch has an invalid offset range: [0, %d] in topic partition %s",
			last, r.Partition)
	case count <= 0:
		return reject(protocol.InvalidRecord, "Invalid reported count for record batch: %d in topic partition %s",
			count, r.Partition)
	case int64(last)+1 != int64(count):
		return reject(protocol.InvalidRecord, "Inconsistent batch offset range [0, %d] and count of records %d in topic "+
			"partition %s", last, count, r.Partition)
	case b.IsControl():
		return reject(protocol.InvalidRecord,
			"Clients are not allowed to write control records in topic partition %s", r.Partition)
	case b.HasProducer() && b.BaseSequence() < 0:
		return reject(protocol.InvalidRecord, "Invalid sequence number %d in record batch with producerId %d in topic "+
			"partition %s", b.BaseSequence(), b.ProducerID(), r.Partition)
	}
	return nil
}

// setTime sets kind of time and largest timestamp. A batch that has them already is not touched, which saves the checksum.
// Otherwise attribute bits without a meaning are dropped, as Kafka does (DefaultRecordBatch.setMaxTimestamp).
func (b Batch) setTime(kind int16, ms int64) {
	if b.Attributes()&logAppendTimeBit == kind && b.MaxTimestamp() == ms {
		return
	}
	const meant = codecMask | transactionalBit | controlBit | deleteHorizonBit
	b.setAttributes(b.Attributes()&meant | kind)
	b.setMaxTimestamp(ms)
	b.seal()
}

// broken is the rejection for what stopped a scan of the records.
func (r *Rules) broken(err error) error {
	var corrupt *compress.CorruptError
	switch {
	case errors.Is(err, compress.ErrLimit):
		return reject(protocol.MessageTooLarge,
			"The records of the batch in the append to %s decompress to more than %d bytes", r.Partition, r.decompressedMax())
	case errors.As(err, &corrupt):
		// Kafka's codecs throw what no error code is made for, so its clients are told of an unknown server error. The
		// batch is at fault and stays at fault, so nothing is gained by a code that clients try again on.
		return reject(protocol.UnknownServerError, "%v in topic partition %s", err, r.Partition)
	}
	return reject(protocol.InvalidRecord, "%v in topic partition %s", err, r.Partition)
}

func (r *Rules) decompressedMax() int64 {
	if r.MaxDecompressed > 0 {
		return r.MaxDecompressed
	}
	return DecompressedBytesMax
}

func (r *Rules) recordMax() int {
	if r.MaxDecompressedRecord > 0 {
		return r.MaxDecompressedRecord
	}
	return math.MaxInt32
}
