package batch

import (
	"encoding/binary"
	"io"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/compress"
)

// rebuild makes the batch anew: compressed with target, records numbered from 0, timestamps counted from the first one.
// The records have been scanned, so they are whole and well formed; they are streamed from codec to codec.
func (s *scan) rebuild(target compress.Codec) (Verdict, error) {
	b, r := s.b, &s.rules
	d := compress.TakeDecoder()
	defer d.Release()
	if err := d.Reset(b.Codec(), b.Payload(), r.decompressedMax()); err != nil {
		return Verdict{}, r.broken(err)
	}
	w := takeWindow(d)
	defer w.release()
	level := r.Level
	if level == 0 {
		level = compress.DefaultLevel
	}
	enc := compress.TakeEncoder()
	defer enc.Release()
	if err := enc.Reset(make([]byte, HeaderBytes, len(b)), target, level); err != nil {
		return Verdict{}, r.broken(err)
	}
	base, err := s.renumber(w, enc)
	if err != nil {
		return Verdict{}, r.broken(err)
	}
	out, err := enc.Close()
	if err != nil {
		return Verdict{}, r.broken(err)
	}
	if len(out) > r.MaxBytes {
		return Verdict{}, reject(protocol.MessageTooLarge, "Message batch size is %d bytes in append to partition %s which "+
			"exceeds the maximum configured size of %d.", len(out), r.Partition, r.MaxBytes)
	}
	v := Verdict{Batch: out, Rebuilt: true, MaxTimestamp: s.maxTimestamp, OffsetOfMaxTimestamp: s.maxDelta}
	attributes := int16(target) | b.Attributes()&transactionalBit
	if r.LogAppendTime {
		attributes |= logAppendTimeBit
		v.MaxTimestamp, v.OffsetOfMaxTimestamp = s.now, b.LastOffsetDelta()
	}
	copy(out, b[:HeaderBytes])
	binary.BigEndian.PutUint32(out[atLength:], uint32(len(out)-lengthOverhead))
	binary.BigEndian.PutUint64(out[atBaseTimestamp:], uint64(base))
	v.Batch.setAttributes(attributes)
	v.Batch.setMaxTimestamp(v.MaxTimestamp)
	v.Batch.seal()
	return v, nil
}

// renumber copies the records with new deltas and gives the timestamp that they count from.
func (s *scan) renumber(w *window, out io.Writer) (base int64, err error) {
	var p parts
	var head [2*varintBytesMax + 1 + varlongBytesMax]byte
	for i := range int(s.b.Count()) {
		size, err := w.size()
		if err != nil {
			return 0, err
		}
		took, err := w.head(&p, size)
		if err != nil {
			return 0, err
		}
		ts := s.b.BaseTimestamp() + p.timestampDelta
		if s.b.IsLogAppendTime() {
			ts = s.b.MaxTimestamp()
		}
		if i == 0 {
			base = ts
		}
		rest := size - took
		h := appendVarint32(head[:0], int32(1+sizeVarint64(ts-base)+sizeVarint64(int64(i))+rest))
		h = append(h, 0)
		h = appendVarint64(h, ts-base)
		h = appendVarint32(h, int32(i))
		if _, err := out.Write(h); err != nil {
			return 0, err
		}
		if err := w.pass(rest, out); err != nil {
			return 0, err
		}
	}
	return base, nil
}
