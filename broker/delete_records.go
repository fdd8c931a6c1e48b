package broker

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

// DeleteRecords, versions 0 to 2: moves the start of logs forward. Offset -1 means the high watermark (rule 78). It is
// answered when every replica that is alive has followed, or the client's time is up.

// recordDeletion is one request that waits for its replicas.
type recordDeletion struct {
	b     *Broker
	r     *request
	resp  *kmsg.DeleteRecordsResponse
	parts []deletedPart

	deadline time.Time
	timer    *time.Timer
	wait     wait
}

// deletedPart is one partition of it.
type deletedPart struct {
	p       *Partition
	to      protocol.Offset
	epoch   protocol.Epoch
	topic   int // where the answer is
	index   int
	settled bool
}

func handleDeleteRecords(b *Broker, r *request) {
	req := r.msg.(*kmsg.DeleteRecordsRequest)
	d := &recordDeletion{b: b, r: r, resp: req.ResponseKind().(*kmsg.DeleteRecordsResponse)}
	moved := false
	for i, t := range req.Topics {
		rt := kmsg.NewDeleteRecordsResponseTopic()
		rt.Topic = t.Topic
		for j, p := range t.Partitions {
			rp := kmsg.NewDeleteRecordsResponseTopicPartition()
			rp.Partition = p.Partition
			part, err := b.deleteRecords(protocol.TopicPartition{Topic: t.Topic, Partition: p.Partition},
				protocol.Offset(p.Offset))
			rp.LowWatermark, rp.ErrorCode = -1, int16(b.readCode(err, t.Topic, p.Partition))
			if err == nil {
				part.topic, part.index = i, j
				d.parts = append(d.parts, part)
			}
			moved = moved || err == nil
			rt.Partitions = append(rt.Partitions, rp)
		}
		d.resp.Topics = append(d.resp.Topics, rt)
	}
	if moved {
		// Where logs begin is written now and then, as in Kafka; but who deletes records wants them gone, also after a crash.
		if err := b.store.Checkpoint(nil); err != nil {
			b.firsts.warn(b.log, "checkpoint", "cannot write where logs begin", "err", err)
		}
	}
	if d.settled() {
		r.Reply(d.resp)
		return
	}
	d.park(time.Duration(max(0, req.TimeoutMillis)) * time.Millisecond)
}

// deleteRecords moves a partition's start to offset. The code of an error is the client's.
func (b *Broker) deleteRecords(tp protocol.TopicPartition, offset protocol.Offset) (deletedPart, error) {
	if t := b.partitions.topic(tp.Topic); t != nil && t.internal {
		return deletedPart{}, protocol.InvalidTopicException
	}
	p, err := b.partitions.leader(tp)
	if err != nil {
		return deletedPart{}, err
	}
	epoch := protocol.Epoch(p.epoch.Load())
	if rules := p.rules.Load(); rules.batch.Compacted && !rules.deletes { // also where nothing is ever deleted by itself
		return deletedPart{}, protocol.PolicyViolation
	}
	hw := p.highWatermark()
	if offset == -1 {
		offset = hw
	}
	if offset < 0 || offset > hw {
		return deletedPart{}, protocol.OffsetOutOfRange
	}
	if err := p.advance(epoch, offset); err != nil {
		return deletedPart{}, err
	}
	return deletedPart{p: p, to: offset, epoch: epoch}, nil
}

// advance raises the log's start, as the leader in that epoch.
func (p *Partition) advance(epoch protocol.Epoch, start protocol.Offset) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if protocol.Epoch(p.epoch.Load()) != epoch || epoch == notLeader {
		return p.notLeading()
	}
	if start <= p.log.Bounds().Start {
		return nil
	}
	if err := p.log.Advance(start); err != nil {
		return err
	}
	p.tellFollowers(true)
	return nil
}

// lowWatermark is the offset below which no replica that is alive has records, while this broker leads in that epoch.
func (p *Partition) lowWatermark(epoch protocol.Epoch) (protocol.Offset, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mu.leader == nil || p.mu.leader.Epoch() != epoch {
		return -1, p.notLeading()
	}
	return p.mu.leader.LowWatermark(p.log.Bounds().Start), nil
}

// settled says whether every partition has an answer.
func (d *recordDeletion) settled() bool {
	all := true
	for i := range d.parts {
		part := &d.parts[i]
		if part.settled {
			continue
		}
		low, err := part.p.lowWatermark(part.epoch)
		rp := &d.resp.Topics[part.topic].Partitions[part.index]
		rp.LowWatermark, rp.ErrorCode = int64(low), int16(protocol.CodeOf(err))
		part.settled = err != nil || low >= part.to
		all = all && part.settled
	}
	return all
}

// park waits for the replicas.
func (d *recordDeletion) park(timeout time.Duration) {
	d.deadline = d.r.received.Add(timeout)
	d.wait.r.Store(d.r)
	for i := range d.parts {
		if part := &d.parts[i]; !part.settled {
			d.wait.watched = append(d.wait.watched, watch{w: &d.wait, p: part.p, at: -1})
		}
	}
	for i := range d.wait.watched {
		d.wait.watched[i].p.watch(&d.wait.watched[i])
	}
	d.timer = time.AfterFunc(time.Until(d.deadline), d.r.wake)
	d.r.Park(d)
}

// resume implements parked.
func (d *recordDeletion) resume(now time.Time, last bool) *protocol.Response {
	if !d.settled() {
		if now.Before(d.deadline) && !last {
			return nil
		}
		for i := range d.parts {
			if part := &d.parts[i]; !part.settled {
				d.resp.Topics[part.topic].Partitions[part.index].ErrorCode = int16(protocol.RequestTimedOut)
			}
		}
	}
	d.drop()
	d.resp.SetVersion(d.r.version())
	d.r.stats.noteErrors(d.r, d.resp)
	return protocol.EncodeResponse(d.r.header, d.resp)
}

// drop implements parked.
func (d *recordDeletion) drop() {
	d.timer.Stop()
	d.wait.unwatch()
}
