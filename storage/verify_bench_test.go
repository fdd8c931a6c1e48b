package storage

import (
	"testing"

	"moldau.io/moldau/storage/segment"
)

// BenchmarkFirstRead is what bytes cost that nobody has read since the log was opened, in the page cache and on the disk; later
// reads cost nothing more.
func BenchmarkFirstRead(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"1KB", 1 << 10}, {"16KB", 16 << 10}, {"1MB", 1 << 20}} {
		l := benchLog(b, 1<<28)
		data := sized(b, size.bytes)
		for l.Size() < 64<<20 {
			mustAppend(b, l, data)
		}
		if err := l.Flush(); err != nil {
			b.Fatal(err)
		}
		run := func(name string, check func(*segment.Segment) error) {
			b.Run(size.name+"/"+name, func(b *testing.B) {
				b.SetBytes(l.Size())
				b.ReportAllocs()
				for b.Loop() {
					if err := check(l.active()); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
		run("cached", (*segment.Segment).CheckAll)
		run("scrub", func(s *segment.Segment) error { return s.Scrub(nil) })
	}
}
