package batch

import (
	"encoding/binary"
	"io"

	"moldau.io/moldau/protocol"
)

// smallestLegacyLength is the least length that a set of any magic can declare: a magic-0 message without key and value.
const smallestLegacyLength = 14

// Next splits the first whole batch off b. The batch aliases b and its capacity ends with it.
//
// Errors: io.EOF where b is empty; io.ErrUnexpectedEOF where b ends before the batch does, which is normal at the end of a
// segment after a crash and at the end of a fetched range; protocol.CorruptMessage for a length that no batch can have and
// for a magic above 2 or below 0; protocol.InvalidRecord for the old formats of magic 0 and 1. Kafka's
// ByteBufferLogInputStream draws the same lines. Only the frame is checked: see CheckCRC and Validate for the rest.
func Next(b []byte) (first Batch, rest []byte, err error) {
	if len(b) == 0 {
		return nil, nil, io.EOF
	}
	if len(b) < lengthOverhead {
		return nil, b, io.ErrUnexpectedEOF
	}
	length := int32(binary.BigEndian.Uint32(b[atLength:]))
	if length < smallestLegacyLength {
		return nil, b, protocol.Errorf(protocol.CorruptMessage,
			"Record size %d is less than the minimum record overhead (%d)", length, smallestLegacyLength)
	}
	if len(b) <= atMagic {
		return nil, b, io.ErrUnexpectedEOF
	}
	magic := int8(b[atMagic])
	if magic < 0 || magic > magicV2 {
		return nil, b, protocol.Errorf(protocol.CorruptMessage, "Invalid magic found in record: %d", magic)
	}
	end := int64(length) + lengthOverhead
	if end > int64(len(b)) {
		return nil, b, io.ErrUnexpectedEOF
	}
	if magic != magicV2 {
		return nil, b, protocol.Errorf(protocol.InvalidRecord, "the record batch has magic %d; only magic 2 is stored", magic)
	}
	if end < HeaderBytes {
		return nil, b, protocol.Errorf(protocol.CorruptMessage,
			"Record batch is corrupt (the size %d is smaller than the minimum allowed overhead %d)", end, HeaderBytes)
	}
	return Batch(b[:end:end]), b[end:], nil
}
