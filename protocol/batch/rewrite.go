package batch

import (
	"encoding/binary"

	"moldau.io/moldau/protocol/compress"
)

// NoHorizon stands for a batch without a delete horizon.
const NoHorizon = int64(-1)

// Rewrite says what becomes of a batch.
type Rewrite struct {
	// Codec is what the new batch is compressed with, and Level Kafka's level of it; 0 is the codec's default.
	Codec compress.Codec
	Level int
	// Horizon is the delete horizon, in milliseconds since 1970, or NoHorizon.
	Horizon int64
	// Keep says whether the i-th record stays. At least one must.
	Keep func(i int) bool
}

// Rewriter makes batches anew without some of their records. What a batch is known by stays: base and last offset,
// leader epoch, producer, kind of timestamp, transaction and control bits. It keeps its memory from batch to batch, and
// is used by one goroutine at a time. The zero Rewriter is ready.
type Rewriter struct {
	b        Builder
	producer Producer
	out      []byte
	enc      *compress.Encoder
	dec      *compress.Decoder
}

// Decoder is one that the Rewriter keeps, for reading records between two calls.
func (w *Rewriter) Decoder() *compress.Decoder {
	if w.dec == nil {
		w.dec = compress.NewDecoder()
	}
	return w.dec
}

// Rewrite is the new batch; it is valid until the next call. An error says that b cannot be read.
func (w *Rewriter) Rewrite(b Batch, r Rewrite) (Batch, error) {
	w.begin(b, r.Codec, r.Level)
	if r.Horizon != NoHorizon {
		w.b.baseTimestamp, w.b.based = r.Horizon, true
	}
	i := 0
	for rec, err := range b.Records(w.Decoder()) {
		if err != nil {
			return nil, err
		}
		if r.Keep(i) {
			w.b.add(rec.OffsetDelta, b.Timestamp(rec), rec)
		}
		i++
	}
	out := w.b.assemble()
	binary.BigEndian.PutUint32(out[atLastOffsetDelta:], uint32(b.LastOffsetDelta()))
	if r.Horizon != NoHorizon {
		out.setAttributes(out.Attributes() | deleteHorizonBit)
	}
	out.seal()
	w.out = out
	return out, nil
}

// Empty is b without any record. It is valid until the next call.
func (w *Rewriter) Empty(b Batch) Batch {
	w.begin(b, compress.None, 0)
	w.b.baseTimestamp, w.b.maxTimestamp = noTimestamp, b.MaxTimestamp()
	out := w.b.assemble()
	binary.BigEndian.PutUint32(out[atLastOffsetDelta:], uint32(b.LastOffsetDelta()))
	out.seal()
	w.out = out
	return out
}

func (w *Rewriter) begin(b Batch, c compress.Codec, level int) {
	w.producer = Producer{ID: b.ProducerID(), Epoch: b.ProducerEpoch(), Sequence: b.BaseSequence()}
	w.b.opts = BuilderOptions{
		Codec:         c,
		Level:         level,
		LogAppendTime: b.IsLogAppendTime(),
		AppendTime:    b.MaxTimestamp(),
		Base:          b.BaseOffset(),
		LeaderEpoch:   b.LeaderEpoch(),
		Producer:      &w.producer,
		Transactional: b.IsTransactional(),
		Control:       b.IsControl(),
	}
	if cap(w.out) < HeaderBytes {
		w.out = make([]byte, HeaderBytes, 4<<10)
	}
	if c != compress.None && w.enc == nil {
		w.enc = compress.NewEncoder()
	}
	w.b.enc, w.b.based = nil, false
	w.b.begin(w.out[:HeaderBytes], w.enc)
}
