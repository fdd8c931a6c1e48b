package replica_test

import (
	"bytes"
	"fmt"
	"time"

	"moldau.io/moldau/internal/sim"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// producer is an idempotent producer of one partition that has one batch on its way at a time, and sends it until it is
// acknowledged.
type producer struct {
	w    *world
	t    *truth
	node int // in the network
	pid  int64
	seq  int32
	all  bool
	pace time.Duration

	raw   batch.Batch // on its way; nil for none
	count int32
	tries int
	conn  *sim.Conn
	sent  int
	last  protocol.Offset // of what was acknowledged before
}

// drive starts the clients of a partition.
func (t *truth) drive() {
	for i := range 2 {
		w := t.w
		w.pids++
		p := &producer{w: w, t: t, node: 100 + int(w.pids), pid: w.pids, all: i == 0, last: -1}
		p.pace = time.Duration(5+w.crng.IntN(200)) * time.Millisecond
		t.producers = append(t.producers, p)
		w.net.Up(p.node)
		p.next()
	}
	if t.w.o.on["delete records"] {
		t.w.Every(3*time.Second, "delete records", func() bool { t.deleteRecords(); return !t.gone && !t.w.quiet })
	}
}

func (p *producer) open() bool { return p.raw != nil }

func (p *producer) next() {
	w := p.w
	w.After(time.Duration(w.crng.Int64N(int64(2*p.pace))), "produce", func() {
		if p.t.gone || w.quiet {
			return
		}
		b := batch.NewBuilder(batch.BuilderOptions{Producer: &batch.Producer{ID: p.pid, Sequence: p.seq}})
		p.count = int32(1 + w.crng.IntN(3))
		for i := range p.count {
			b.Add(w.Now().UnixMilli(), nil, fmt.Appendf(nil, "%d-%d", p.pid, p.seq+i))
		}
		p.raw, p.tries = b.Build(), 0
		p.t.sent[p.raw.CRC()] = true
		p.send()
	})
}

// send sends the batch to whom some broker says is the leader.
func (p *producer) send() {
	w := p.w
	p.sent++
	number := p.sent
	later := func() {
		if p.sent != number {
			return
		}
		p.sent++
		w.After(time.Duration(20+w.crng.IntN(150))*time.Millisecond, "again", func() {
			if !p.t.gone && p.raw != nil {
				p.send()
			}
		})
	}
	told := w.nodes[w.crng.IntN(len(w.nodes))]
	topic := told.image().TopicByID(p.t.id)
	if !told.up() || topic == nil || topic.Partitions[p.t.tp.Partition].Leader < 0 {
		later()
		return
	}
	to := w.node(topic.Partitions[p.t.tp.Partition].Leader)
	if !p.conn.Open(0) || p.tries%3 == 2 {
		p.conn.Close(0)
		p.conn = w.net.Dial(p.node, to.i, func() { p.conn = nil; later() })
	} else if p.conn.To() != to.i {
		p.conn.Close(0)
		p.conn = w.net.Dial(p.node, to.i, func() { p.conn = nil; later() })
	}
	p.tries++
	conn, run, raw := p.conn, to.run, batch.Batch(bytes.Clone(p.raw))
	w.After(simRPC*3/2, "produce timeout", func() {
		if p.sent == number {
			conn.Close(0)
			later()
		}
	})
	conn.Send(0, "produce", func() {
		to.do(run, func() {
			reply := func(c protocol.Code, last protocol.Offset) {
				conn.Send(1, "produced", func() {
					if p.sent == number {
						p.answered(to, c, last, later)
					}
				})
			}
			sh := to.shell(p.t.id, p.t.tp.Partition)
			if sh == nil {
				reply(protocol.UnknownTopicID, -1)
				return
			}
			sh.produce(raw, p.all, reply)
		})
	})
}

// answered goes on with the next batch, or sends this one again.
func (p *producer) answered(by *node, c protocol.Code, last protocol.Offset, later func()) {
	switch {
	case c == protocol.None:
		base := last - protocol.Offset(p.count) + 1
		if p.all && !p.t.unsafe {
			if base <= p.last {
				p.t.fail("I-07", "producer %d: %d is acknowledged after %d", p.pid, base, p.last)
			}
			p.t.keepAcked(p.raw.CRC(), base, last)
		}
		p.last = last
		p.seq += p.count
		p.raw = nil
		p.sent++
		p.w.Mark("a batch is acknowledged")
		p.next()
	case c == protocol.OutOfOrderSequenceNumber:
		now := p.t.now()
		if sh := by.shell(p.t.id, p.t.tp.Partition); p.all && !p.t.unsafe && now != nil && sh != nil && sh.leader != nil &&
			sh.a.Epoch == now.LeaderEpoch {
			p.t.fail("I-08", "producer %d goes on with %d, and broker %d in epoch %d says %v", p.pid, p.seq, by.id, sh.a.Epoch, c)
			return
		}
		if !p.all || p.t.unsafe { // what it wrote before is lost: it begins anew
			p.w.pids++
			p.pid, p.seq, p.raw = p.w.pids, 0, nil
			p.sent++
			p.next()
			return
		}
		later()
	default:
		p.w.Mark("a batch is answered with " + codeName(c))
		later()
	}
}

// keepAcked notes what must never be lost.
func (t *truth) keepAcked(crc uint32, base, last protocol.Offset) {
	at, ok := t.at[crc]
	if !ok || at != base {
		t.fail("I-02", "%d to %d is acknowledged, and committed at %d (%v)", base, last, at, ok)
		return
	}
	for i := len(t.committed) - 1; i >= 0; i-- {
		if t.committed[i].base == base {
			t.acked = append(t.acked, t.committed[i])
			return
		}
	}
}

// deleteRecords raises the log's start at the leader.
func (t *truth) deleteRecords() {
	now := t.now()
	if now == nil || t.gone || now.Leader < 0 || t.w.crng.IntN(2) == 0 {
		return
	}
	sh := t.member(now.Leader)
	if sh == nil || sh.leader == nil || sh.leader.HighWatermark() <= sh.log.start() {
		return
	}
	to := sh.log.start() + protocol.Offset(t.w.crng.Int64N(int64(sh.leader.HighWatermark()-sh.log.start())+1))
	if err := sh.log.advance(to); err != nil {
		t.w.Fail("%v: %v", t.tp, err)
	}
	sh.touched()
}
