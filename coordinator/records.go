package coordinator

import (
	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol/batch"
)

// writer makes batches of records.
type writer struct{ key, value []byte }

// batch is a batch of the first records, as many as bytesMax allows but at least one, and how many they are.
func (w *writer) batch(wallMillis int64, records []group.Record, bytesMax int) (batch.Batch, int) {
	b := batch.NewBuilder(batch.BuilderOptions{})
	n := 0
	for i := range records {
		hasValue := false
		w.key = appendKey(w.key[:0], &records[i])
		w.value, hasValue = appendValue(w.value[:0], &records[i])
		if n > 0 && b.Size()+len(w.key)+len(w.value) > bytesMax {
			break
		}
		if hasValue {
			b.Add(wallMillis, w.key, w.value)
		} else {
			b.Add(wallMillis, w.key, nil)
		}
		n++
	}
	return b.Build(), n
}
