package storage

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// TestI31_UnderConcurrency has writers that wait for the disk, while logs are flushed, moved between two data folders,
// switched between the configurations, truncated, and the journal's few files used again and again. Then the power goes:
// everything that was acknowledged is there.
func TestI31_UnderConcurrency(t *testing.T) {
	mem := vfs.NewMem()
	o := options()
	o.Journal = JournalOptions{FileBytes: 16 * 4096, DirectBytes: 4000, Files: 3}
	dirs := []string{"/a", "/b"}
	s, err := OpenStore(mem, dirs, o)
	if err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Fsync, cfg.SegmentBytes, cfg.DeleteDelay = true, 20_000, 0
	const kept, cut = 3, 1 // logs; the last one is truncated, so that nothing can be said of it but that it works
	var logs []*Log
	for i := range int32(kept + cut) {
		l, err := s.Create(protocol.TopicPartition{Topic: "t", Partition: i}, protocol.TopicID{byte(i + 1)}, cfg)
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, l)
	}
	var stop atomic.Bool
	var acked [kept + cut]atomic.Int64
	var told atomic.Int64
	var writers, others sync.WaitGroup
	for i, l := range logs {
		l.OnDurable(func() { told.Add(1) })
		for w := range 3 {
			writers.Go(func() {
				for n := 0; !stop.Load(); n++ {
					b := records(t, 1000, fmt.Sprintf("log %d writer %d number %d", i, w, n), string(make([]byte, n%1500)))
					a, err := l.Append(testNow, 0, b)
					if i == kept && protocol.CodeOf(err) == protocol.NotLeaderOrFollower {
						continue // cut off meanwhile
					}
					if err != nil {
						t.Errorf("log %d: %v", i, err)
						return
					}
					for at := acked[i].Load(); at <= int64(a.Last) && !acked[i].CompareAndSwap(at, int64(a.Last)+1); {
						at = acked[i].Load()
					}
				}
			})
		}
	}
	each := func(do func(rng *rand.Rand, l *Log)) {
		others.Go(func() {
			rng := rand.New(rand.NewPCG(1, 2))
			for !stop.Load() {
				do(rng, logs[rng.IntN(kept)])
			}
		})
	}
	each(func(_ *rand.Rand, l *Log) {
		if err := l.Flush(); err != nil {
			t.Error(err)
		}
	})
	each(func(rng *rand.Rand, l *Log) {
		_ = s.Move(l.tp, dirs[rng.IntN(2)]) // one may be on its way
		l.Secure()
	})
	each(func(rng *rand.Rand, l *Log) {
		c := cfg
		c.Fsync = rng.IntN(4) > 0
		if err := logs[kept].Reconfigure(c); err != nil {
			t.Error(err)
		}
	})
	each(func(*rand.Rand, *Log) {
		l := logs[kept]
		if err := l.Truncate(l.Bounds().End / 2); err != nil {
			t.Error(err)
		}
	})
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end) && !t.Failed(); time.Sleep(time.Millisecond) {
		if c, _ := s.JournalCounts(); c.Syncs > 300 && acked[0].Load() > 500 && acked[1].Load() > 500 && acked[2].Load() > 500 {
			break
		}
	}
	want := [kept]int64{acked[0].Load(), acked[1].Load(), acked[2].Load()}
	disk := mem.CrashClone(rand.New(rand.NewPCG(3, 4)), 0)
	stop.Store(true)
	writers.Wait()
	others.Wait()
	closeStore(t, s)
	again, err := openIdle(disk, dirs, o)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, again)
	for i := range want {
		l := mustLog(t, again, logs[i].tp)
		if b := l.Bounds(); int64(b.End) < want[i] {
			t.Errorf("log %d ends at %d, %d was acknowledged", i, b.End, want[i])
		}
		checkIndexes(t, l)
	}
	c, _ := s.JournalCounts()
	_, replayed := again.JournalCounts()
	t.Logf("acknowledged %v, %+v; %d batches replayed, %d calls of listeners", want, c, replayed, told.Load())
	if c.Syncs == 0 || told.Load() == 0 {
		t.Errorf("%d syncs, %d calls of listeners", c.Syncs, told.Load())
	}
}
