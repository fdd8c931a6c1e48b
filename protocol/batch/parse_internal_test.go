package batch

import "testing"

// FuzzParse holds the two parsers of a record against each other.
func FuzzParse(f *testing.F) {
	b := NewBuilder(BuilderOptions{})
	b.Add(1, []byte("key"), []byte("a value of a few bytes"))
	b.Add(-300, nil, make([]byte, 300))
	b.Add(1<<40, []byte{}, nil, Header{Key: "h"})
	records := b.Build().Payload()
	for at := range records {
		f.Add(records, at)
	}
	f.Fuzz(func(t *testing.T, b []byte, at int) {
		if at < 0 || at > len(b) {
			return
		}
		var short, long parts
		if !short.parseShort(b, at) {
			return
		}
		if err := long.parse(b, at); err != nil {
			t.Fatal(err)
		}
		if short.keyLen < 0 { // where nothing is does not matter
			short.keyAt, long.keyAt = 0, 0
		}
		if short.valLen < 0 {
			short.valAt, long.valAt = 0, 0
		}
		short.headersAt, long.headersAt = 0, 0
		if short != long {
			t.Fatalf("%+v\n%+v", short, long)
		}
	})
}
