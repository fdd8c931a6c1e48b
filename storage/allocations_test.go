//go:build !race

package storage

import (
	"testing"

	"moldau.io/moldau/protocol"
)

// It is left out of builds with the race detector, which has pools drop what they are given at random.

func TestReadAllocatesNothing(t *testing.T) {
	l := benchLog(t, 1<<30)
	b := sized(t, 16<<10)
	for range 1000 {
		mustAppend(t, l, b)
	}
	end := l.Bounds().End
	var sink protocol.Section
	for name, from := range map[string]protocol.Offset{"tail": end - 3, "index": end / 2, "start": 0} {
		t.Run(name, func(t *testing.T) {
			allocs := testing.AllocsPerRun(1000, func() {
				s, err := l.Read(from, end, 1<<20, true)
				if err != nil || s.Len() == 0 {
					t.Fatal(err)
				}
				sink = s
				sink.Release()
			})
			if allocs > 0 {
				t.Fatalf("%v allocations a read", allocs)
			}
		})
	}
}
