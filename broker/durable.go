package broker

import (
	"time"

	"moldau.io/moldau/protocol"
)

// With moldau.durability=fsync a leader counts its own log only as far as it is on stable storage: the high watermark, and
// with it what consumers see and what acks=all is answered for, does not pass that. Appends are queued in the store, which
// tells when they are durable, so that later ones need not wait for earlier ones.

// appended is an append that does not count yet.
type appended struct {
	end   protocol.Offset
	bytes int64
}

// ownEnd is how far the leader's own log counts. It does not fall within an epoch, also when the configuration changes;
// what was committed before counts. The lock is held.
func (p *Partition) ownEnd() protocol.Offset {
	end := p.log.Bounds().End
	if p.log.AcksDurable() {
		end = min(end, max(p.log.Durable(), p.highWatermark(), p.mu.counted))
	}
	return end
}

// count takes into account that the leader's own log has grown, or become durable. The lock is held.
func (p *Partition) count() {
	leader := p.mu.leader
	if leader == nil {
		return
	}
	end, bytes, n := p.ownEnd(), int64(0), 0
	for n < len(p.mu.uncounted) && p.mu.uncounted[n].end <= end {
		bytes += p.mu.uncounted[n].bytes
		n++
	}
	p.mu.uncounted = append(p.mu.uncounted[:0], p.mu.uncounted[n:]...)
	moved := end > p.mu.counted
	p.mu.counted = end
	if e := leader.Appended(time.Now(), end); e.Advanced {
		p.publish(e, bytes)
	} else if moved {
		p.mu.waits.moved(0) // acks=1 waits for this broker only
	}
}

// durable is called by the store when the log has become durable further, or has gone offline.
func (p *Partition) durable() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log.Failure() != nil {
		p.mu.waits.all()
		return
	}
	p.count()
}

// acknowledged says whether records below end may be acknowledged, for all=false without regard to other replicas. The error
// says why they never will be.
func (p *Partition) acknowledged(end protocol.Offset, epoch protocol.Epoch, all bool) (bool, error) {
	if all {
		if ok, err := p.committed(end, epoch); !ok || err != nil {
			return false, p.orFailure(err)
		}
	}
	if !p.log.AcksDurable() || p.log.Durable() >= end {
		return true, nil
	}
	if protocol.Epoch(p.epoch.Load()) != epoch {
		return false, p.notLeading() // it may be cut off before it is durable
	}
	return false, p.orFailure(nil)
}

// orFailure is err, or why the log is offline: what is not durable then will not be.
func (p *Partition) orFailure(err error) error {
	if err == nil && p.log.AcksDurable() {
		err = p.log.Failure()
	}
	return err
}
