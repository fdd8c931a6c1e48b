package broker

import (
	"time"

	"moldau.io/moldau/protocol"
)

// With moldau.durability=fsync a leader counts its own log only as far as it is on stable storage: the high watermark, and
// with it what consumers see and what acks=all is answered for, does not pass that. Appends are queued in the store, which
// tells when they are durable, so that later ones need not wait for earlier ones.

// appended is an append that is not committed yet.
type appended struct {
	end   protocol.Offset
	bytes int64
}

// uncommittedMax is how many appends are told apart while they wait to be committed.
const uncommittedMax = 4096

// note keeps how large an append is until it is committed: who waits for a number of bytes is told then. The lock is held.
func (p *Partition) note(end protocol.Offset, bytes int64) {
	if n := len(p.mu.uncommitted); n >= uncommittedMax {
		p.mu.uncommitted[n-1].bytes += bytes // counted too early, which only makes somebody look in vain
		return
	}
	p.mu.uncommitted = append(p.mu.uncommitted, appended{end, bytes})
}

// commit forgets the appends below the high watermark, and returns how many bytes they are. The lock is held.
func (p *Partition) commit(highWatermark protocol.Offset) int64 {
	bytes, n := int64(0), 0
	for n < len(p.mu.uncommitted) && p.mu.uncommitted[n].end <= highWatermark {
		bytes += p.mu.uncommitted[n].bytes
		n++
	}
	p.mu.uncommitted = append(p.mu.uncommitted[:0], p.mu.uncommitted[n:]...)
	return bytes
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
func (p *Partition) count(now time.Time) {
	leader := p.mu.leader
	if leader == nil {
		return
	}
	end := p.ownEnd()
	moved := end > p.mu.counted
	p.mu.counted = end
	e := leader.Appended(now, end)
	p.effects(e)
	if moved && !e.Advanced {
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
	p.count(time.Now())
}

// acknowledged says whether records below end may be acknowledged, for all=false without regard to other replicas. The error
// says why they never will be.
func (p *Partition) acknowledged(end protocol.Offset, epoch protocol.Epoch, all bool) (bool, error) {
	if all {
		if ok, err := p.committed(end, epoch); !ok || err != nil {
			return false, p.orFailure(err)
		}
		if p.short.Load() {
			return false, protocol.NotEnoughReplicasAfterAppend // there were enough when it was appended (C50)
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
