package storage

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// TestI32_NothingIsAcknowledgedByWhatFailed lets file operations fail at random, syncs among them, after which a disk in
// memory has forgotten what it should have kept. What logs said to be durable is there when the power goes then, whichever
// logs are offline.
func TestI32_NothingIsAcknowledgedByWhatFailed(t *testing.T) {
	offline, acked := 0, 0
	for seed := range uint64(150) {
		ok := t.Run(fmt.Sprintf("seed%d", seed), func(t *testing.T) {
			d := newDurables(t, seed)
			rng := rand.New(rand.NewPCG(seed, 12))
			rate, armed := 10+rng.IntN(150), false
			syncsOnly := seed%2 == 0
			d.mem = vfs.NewMem()
			fs := vfs.WithFaults(d.mem, func(op vfs.Op) error {
				if armed && (!syncsOnly || op.Kind == "Sync") && rng.IntN(rate) == 0 {
					return errDisk
				}
				return nil
			})
			s, err := openIdle(fs, []string{"/data"}, d.options())
			if err != nil {
				t.Fatal(err)
			}
			d.s = s
			for _, m := range d.logs {
				m.batches, m.acked, m.epoch = nil, 0, 0
				d.create(m)
			}
			armed = true
			for range 120 {
				d.faultyStep(rng)
			}
			armed = false
			for _, m := range d.logs {
				if d.log(m).Failure() != nil {
					offline++
				}
				acked += int(m.acked)
			}
			disk := d.mem.CrashClone(rng, rng.IntN(2)*50)
			d.s.unlock()
			again, err := openIdle(disk, []string{"/data"}, d.options())
			if err != nil {
				t.Fatalf("%v\n%v", err, disk)
			}
			d.checkAll("after the power went", again, d.copies(), false)
		})
		if !ok {
			return
		}
	}
	t.Logf("%d logs went offline, %d records were acknowledged", offline, acked)
	if offline < 50 || acked < 500 {
		t.Errorf("%d logs went offline, %d records were acknowledged: the faults do not reach", offline, acked)
	}
}

// faultyStep does something that may fail. What an append refuses is taken out of the model again; where it fails with the
// log going offline it may be there.
func (d *durables) faultyStep(rng *rand.Rand) {
	m := d.logs[rng.IntN(len(d.logs))]
	l := d.log(m)
	switch p := rng.IntN(100); {
	case p < 55:
		if l.Failure() != nil {
			return
		}
		before := m.batches
		b := d.batch(m)
		if _, err := l.Submit(testNow, m.epoch, []batch.Batch{b}...); err != nil && l.Failure() == nil {
			m.batches = before
		}
	case p < 85:
		d.s.commit()
	case p < 90:
		_ = l.Flush()
	case p < 95:
		d.s.dirs[0].journal.Reclaim()
	default:
		_ = d.s.Checkpoint(nil)
	}
	for _, m := range d.logs {
		m.acked = max(m.acked, min(d.log(m).Durable(), protocol.Offset(m.end())))
	}
}
