package broker

import (
	"context"
	"time"

	"moldau.io/moldau/protocol"
)

// keepHouse does what has to be done now and then for all partitions: one goroutine, however many there are. The
// store has its own for files.
func (b *Broker) keepHouse(ctx context.Context) {
	t := time.NewTicker(b.static.Millis("replica.high.watermark.checkpoint.interval.ms"))
	defer t.Stop()
	for {
		select {
		case <-t.C:
			if err := b.store.Checkpoint(b.partitions.highWatermarks()); err != nil {
				b.firsts.warn(b.log, "checkpoint", "cannot write checkpoints", "err", err)
			}
			for _, p := range b.partitions.all() {
				p.tellStart()
			}
		case <-ctx.Done():
			return
		}
	}
}

// tellStart lets those who follow this broker know that the log begins elsewhere: what is old is deleted while nothing else
// happens.
func (p *Partition) tellStart() {
	start := int64(p.log.Bounds().Start)
	if !p.leads() || p.toldStart.Swap(start) == start {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tellFollowers(true)
}

// highWatermarks is that of every partition hosted here.
func (ps *partitions) highWatermarks() map[protocol.TopicPartition]protocol.Offset {
	all := ps.all()
	out := make(map[protocol.TopicPartition]protocol.Offset, len(all))
	for _, p := range all {
		out[p.id] = p.highWatermark()
	}
	return out
}

// retireAll ends all partitions: the broker stops.
func (ps *partitions) retireAll() {
	for _, p := range ps.all() {
		p.retire()
	}
}
