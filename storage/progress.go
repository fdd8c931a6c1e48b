package storage

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
)

// progressInterval is how often opening says how far it is.
const progressInterval = 5 * time.Second

// progress says how far the opening of logs is. After an orderly end nothing has to be read, and it is over before there
// is something to say.
type progress struct {
	logger *slog.Logger
	logs   int   // to be opened
	bytes  int64 // to be read again

	opened atomic.Int64
	read   atomic.Int64

	stop chan struct{}
	wg   sync.WaitGroup
}

func (p *progress) start() {
	p.stop = make(chan struct{})
	began := time.Now()
	p.wg.Go(func() {
		ticker := time.NewTicker(progressInterval)
		defer ticker.Stop()
		for {
			select {
			case <-p.stop:
				return
			case now := <-ticker.C:
				p.logger.Info("opening logs", p.attrs(now.Sub(began))...)
			}
		}
	})
}

func (p *progress) end() {
	close(p.stop)
	p.wg.Wait()
}

// attrs is how far it is, and how long it takes still if it goes on as before.
func (p *progress) attrs(took time.Duration) []any {
	opened, read := p.opened.Load(), min(p.read.Load(), p.bytes)
	attrs := []any{"done", opened, "of", p.logs}
	share := float64(opened) / float64(max(p.logs, 1))
	if p.bytes > 0 {
		attrs = append(attrs, "readMiB", read>>20, "ofMiB", p.bytes>>20)
		share = float64(read) / float64(p.bytes)
	}
	if share > 0 {
		attrs = append(attrs, "secondsLeft", int64(took.Seconds()*(1-share)/share))
	}
	return attrs
}

// measure finds how many bytes of each log are to be read again, and puts those with the most first: one large log that
// is begun last would be read by one thread while the others have nothing to do.
func (s *Store) measure(todo []found) (bytes int64) {
	for i := range todo {
		if f := &todo[i]; !f.d.clean {
			f.bytes = s.toRead(f)
			bytes += f.bytes
		}
	}
	slices.SortStableFunc(todo, func(a, b found) int { return cmp.Compare(b.bytes, a.bytes) })
	return bytes
}

// toRead is how many bytes of a log lie in segments that end behind its recovery point.
func (s *Store) toRead(f *found) (bytes int64) {
	entries, err := s.fs.List(f.path)
	if err != nil {
		return 0 // opening it says so
	}
	recovery := f.d.written[recoveryPointFile][f.tp]
	var sizes []int64
	var bases []protocol.Offset
	for _, e := range entries { // sorted by name, and so by offset
		if base, suffix, ok := segment.ParseName(e.Name); ok && !e.Dir && suffix == segment.LogSuffix {
			bases, sizes = append(bases, base), append(sizes, e.Size)
		}
	}
	for i, size := range sizes {
		if i+1 == len(bases) || bases[i+1] > recovery {
			bytes += size
		}
	}
	return bytes
}

// strays says that a checkpoint names partitions that have no folder in d: they were deleted, or the file is damaged.
func strays(o offsets, todo []found, d *dataDir) bool {
	n := 0
	for _, f := range todo {
		if _, ok := o[f.tp]; ok && f.d == d {
			n++
		}
	}
	return n < len(o)
}
