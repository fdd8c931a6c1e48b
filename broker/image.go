package broker

import (
	"context"
	"sync"

	"moldau.io/moldau/cluster/meta"
)

// served is the newest image of the metadata whose partitions are open here. Handlers read this one and not the
// node's, so that nobody is told of a partition that cannot be used yet.
type served struct {
	mu    sync.Mutex
	image *meta.Image
	moved chan struct{} // closed and replaced when image is replaced
}

func newServed() *served { return &served{image: meta.Empty(), moved: make(chan struct{})} }

// publish says that the partitions of im are open. It is called in the order of the images, by one goroutine.
func (s *served) publish(im *meta.Image) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.image = im
	close(s.moved)
	s.moved = make(chan struct{})
}

func (s *served) now() (*meta.Image, <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.image, s.moved
}

// image is the newest image whose partitions are served here.
func (b *Broker) image() *meta.Image {
	im, _ := b.served.now()
	return im
}

// newest is the newest image that is known, though its partitions may not be open here yet.
func (b *Broker) newest() *meta.Image {
	im := b.image()
	if newer := b.node.Image(); newer.Offset() > im.Offset() {
		return newer
	}
	return im
}

// awaitImage returns when the image at offset, or a newer one, is served.
func (b *Broker) awaitImage(ctx context.Context, offset int64) error {
	for {
		im, moved := b.served.now()
		if im.Offset() >= offset {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
