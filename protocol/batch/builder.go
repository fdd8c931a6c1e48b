package batch

import (
	"encoding/binary"
	"fmt"
	"math"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/compress"
)

// Producer is the idempotent producer of a batch.
type Producer struct {
	ID       int64
	Epoch    int16
	Sequence int32 // of the first record
}

// BuilderOptions say what kind of batch to build. The zero value is an uncompressed batch of create times.
type BuilderOptions struct {
	Codec compress.Codec
	// Level is Kafka's level of the codec; 0 means its default.
	Level int
	// AppendTime is the timestamp of all records, in milliseconds, where LogAppendTime is set.
	LogAppendTime bool
	AppendTime    int64

	Base        protocol.Offset
	LeaderEpoch protocol.Epoch
	// Producer is nil for a batch without one.
	Producer      *Producer
	Transactional bool
	Control       bool
}

// Builder makes one batch. Records are compressed as they come, so that it holds one copy of what it was given. Its use is
// Add, Add, ..., Build; the zero Builder is not usable.
type Builder struct {
	opts BuilderOptions

	out     []byte // the header's room, then the records where they are not compressed
	enc     *compress.Encoder
	scratch []byte // records not yet passed to enc

	count         int32
	lastDelta     int32
	baseTimestamp int64
	based         bool // baseTimestamp was given, and is not the first record's
	maxTimestamp  int64
	maxDelta      int32 // offset delta of the first record that has maxTimestamp
	plainBytes    int
}

// scratchBytes is how many bytes of records are collected before they are passed to the encoder.
const scratchBytes = 16 << 10

// NewBuilder begins a batch.
func NewBuilder(o BuilderOptions) *Builder {
	b := &Builder{opts: o}
	b.begin(make([]byte, HeaderBytes, 512), nil)
	return b
}

// begin starts a batch in out, which has room for the header and nothing else.
func (b *Builder) begin(out []byte, enc *compress.Encoder) {
	b.out, b.count, b.lastDelta, b.maxTimestamp, b.maxDelta, b.plainBytes = out, 0, -1, noTimestamp, 0, 0
	b.scratch = b.scratch[:0]
	if b.opts.Codec == compress.None {
		return
	}
	if enc == nil {
		enc = compress.NewEncoder()
	}
	b.enc = enc
	level := b.opts.Level
	if level == 0 {
		level = compress.DefaultLevel
	}
	if err := enc.Reset(out, b.opts.Codec, level); err != nil {
		panic(fmt.Sprintf("batch: %v", err)) // the codec is the caller's constant
	}
}

// Add appends a record at the next offset. A nil key or value is null. Timestamps are milliseconds since 1970, -1 for none.
func (b *Builder) Add(timestamp int64, key, value []byte, headers ...Header) {
	dst := b.start(b.lastDelta+1, timestamp, key, value, sizeHeaders(headers))
	dst = appendVarint32(dst, int32(len(headers)))
	for _, h := range headers {
		dst = appendVarint32(dst, int32(len(h.Key)))
		dst = append(dst, h.Key...)
		dst = appendField(dst, h.Value)
	}
	b.finish(dst)
}

// add is Add for a record that was read, at offset delta.
func (b *Builder) add(delta int32, timestamp int64, r Record) {
	size := sizeVarint64(int64(r.Headers.Len())) + len(r.Headers.raw)
	dst := b.start(delta, timestamp, r.Key, r.Value, size)
	dst = appendVarint32(dst, int32(r.Headers.Len()))
	b.finish(append(dst, r.Headers.raw...))
}

// start appends a record up to its headers, which take headersBytes.
func (b *Builder) start(delta int32, timestamp int64, key, value []byte, headersBytes int) []byte {
	if b.count == 0 && !b.based {
		b.baseTimestamp = timestamp
	}
	if timestamp > b.maxTimestamp {
		b.maxTimestamp, b.maxDelta = timestamp, delta
	}
	b.count++
	b.lastDelta = delta
	dst := b.out
	if b.enc != nil {
		dst = b.scratch
	}
	tsDelta := timestamp - b.baseTimestamp
	size := 1 + sizeVarint64(tsDelta) + sizeVarint64(int64(delta)) + sizeField(key) + sizeField(value) + headersBytes
	dst = appendVarint32(dst, int32(size))
	dst = append(dst, 0)
	dst = appendVarint64(dst, tsDelta)
	dst = appendVarint32(dst, delta)
	dst = appendField(dst, key)
	return appendField(dst, value)
}

// finish takes the record that start began.
func (b *Builder) finish(dst []byte) {
	if b.enc == nil {
		b.out = dst
		return
	}
	b.scratch = dst
	if len(b.scratch) >= scratchBytes {
		b.pass()
	}
}

func (b *Builder) pass() {
	b.plainBytes += len(b.scratch)
	if _, err := b.enc.Write(b.scratch); err != nil {
		panic(fmt.Sprintf("batch: %v", err)) // the encoders write to memory, where nothing fails
	}
	b.scratch = b.scratch[:0]
}

// Len is the number of records so far.
func (b *Builder) Len() int { return int(b.count) }

// Size is the bytes of the batch so far, before compression.
func (b *Builder) Size() int {
	if b.enc == nil {
		return len(b.out)
	}
	return HeaderBytes + b.plainBytes + len(b.scratch)
}

// Build is the batch. The Builder is used up.
func (b *Builder) Build() Batch {
	h := b.assemble()
	h.seal()
	return h
}

// assemble is Build without the checksum.
func (b *Builder) assemble() Batch {
	if b.enc != nil {
		b.pass()
		out, err := b.enc.Close()
		if err != nil {
			panic(fmt.Sprintf("batch: %v", err))
		}
		b.out = out
	}
	if len(b.out) > math.MaxInt32 {
		panic("batch: more than 2 GiB in one batch")
	}
	h := Batch(b.out)
	clear(h[:HeaderBytes])
	binary.BigEndian.PutUint32(h[atLength:], uint32(len(h)-lengthOverhead))
	h[atMagic] = magicV2
	h.Stamp(b.opts.Base, b.opts.LeaderEpoch)
	h.setAttributes(b.attributes())
	binary.BigEndian.PutUint32(h[atLastOffsetDelta:], uint32(max(b.lastDelta, 0)))
	maxTimestamp := b.maxTimestamp
	if b.opts.LogAppendTime {
		maxTimestamp = b.opts.AppendTime
	}
	binary.BigEndian.PutUint64(h[atBaseTimestamp:], uint64(b.baseTimestamp))
	h.setMaxTimestamp(maxTimestamp)
	p := Producer{-1, -1, -1}
	if b.opts.Producer != nil {
		p = *b.opts.Producer
	}
	binary.BigEndian.PutUint64(h[atProducerID:], uint64(p.ID))
	binary.BigEndian.PutUint16(h[atProducerEpoch:], uint16(p.Epoch))
	binary.BigEndian.PutUint32(h[atBaseSequence:], uint32(p.Sequence))
	binary.BigEndian.PutUint32(h[atCount:], uint32(b.count))
	return h
}

func (b *Builder) attributes() int16 {
	a := int16(b.opts.Codec)
	if b.opts.LogAppendTime {
		a |= logAppendTimeBit
	}
	if b.opts.Transactional {
		a |= transactionalBit
	}
	if b.opts.Control {
		a |= controlBit
	}
	return a
}

func appendField(dst, f []byte) []byte {
	if f == nil {
		return append(dst, 1) // -1
	}
	return append(appendVarint32(dst, int32(len(f))), f...)
}

func sizeField(f []byte) int {
	if f == nil {
		return 1
	}
	return sizeVarint64(int64(len(f))) + len(f)
}

func sizeHeaders(hs []Header) int {
	n := sizeVarint64(int64(len(hs)))
	for _, h := range hs {
		n += sizeVarint64(int64(len(h.Key))) + len(h.Key) + sizeField(h.Value)
	}
	return n
}
