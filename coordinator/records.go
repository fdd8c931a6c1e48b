package coordinator

import (
	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

// writer makes batches of records.
type writer struct {
	codec      compress.Codec
	key, value []byte
}

// batch is a batch of all records.
func (w *writer) batch(wallMillis int64, records []group.Record) batch.Batch {
	b := batch.NewBuilder(batch.BuilderOptions{Codec: w.codec})
	for i := range records {
		if w.encode(&records[i]) {
			b.Add(wallMillis, w.key, w.value)
		} else {
			b.Add(wallMillis, w.key, nil)
		}
	}
	if cap(w.value) > keptValueBytes {
		w.value = nil
	}
	return b.Build()
}

// keptValueBytes is how large a value the writer keeps room for.
const keptValueBytes = 64 << 10

// encode fills key and value. It is false for a tombstone.
func (w *writer) encode(r *group.Record) (hasValue bool) {
	w.key = appendKey(w.key[:0], r)
	w.value, hasValue = appendValue(w.value[:0], r)
	return hasValue
}

// fitting says how many of the records from start on go into the next batch: up to the last cut that keeps it below
// bytesMax, before compression, but at least up to the first cut. Where there is no cut, all go.
func (w *writer) fitting(eff *group.Effects, start, bytesMax int) (end int) {
	size, at := 0, start
	for _, cut := range append(eff.Cuts[:len(eff.Cuts):len(eff.Cuts)], len(eff.Records)) {
		if cut <= start {
			continue
		}
		for ; at < cut; at++ {
			if len(eff.Cuts) > 0 {
				w.encode(&eff.Records[at])
				size += len(w.key) + len(w.value) + recordBytes
			}
		}
		if end > start && size > bytesMax {
			return end
		}
		end = cut
	}
	return end
}

// recordBytes is what a record takes beside its key and value, at most.
const recordBytes = 32

// roughSize is about the bytes that a commit takes in a batch, and not less.
func roughSize(r *group.CommitOffsets) (n int) {
	for i := range r.Partitions {
		n += len(r.Group) + len(r.Partitions[i].Topic) + len(r.Partitions[i].Metadata) + 3*recordBytes
	}
	return n
}
