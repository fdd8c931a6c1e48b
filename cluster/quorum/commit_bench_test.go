package quorum

import (
	"bytes"
	"fmt"
	"log/slog"
	"path"
	"sync"
	"testing"

	"moldau.io/moldau/storage/vfs"
)

// BenchmarkCommit commits entries of 200 bytes on real disks: so many of them share a sync, on one voter or on three. "Together"
// sends the leader's entries before its own disk has them.
func BenchmarkCommit(b *testing.B) {
	for _, voters := range []int{1, 3} {
		for _, together := range []bool{false, true}[:1+voters/2] {
			for _, batch := range []int{1, 256} {
				b.Run(fmt.Sprintf("voters=%d/together=%v/batch=%d", voters, together, batch), func(b *testing.B) {
					benchmarkCommit(b, voters, batch, together)
				})
			}
		}
	}
}

func benchmarkCommit(b *testing.B, voters, batch int, together bool) {
	dir := b.TempDir()
	g := &group{t: &testing.T{}, cut: map[uint64]bool{}}
	for i := range voters {
		log, found, err := Open(Config{
			FS: vfs.OS(), Dir: path.Join(dir, fmt.Sprint(i)), Raft: uint64(i)<<40 + 7, Join: i > 0,
			Logger: slog.New(slog.DiscardHandler),
		})
		if err != nil {
			b.Fatal(err)
		}
		defer log.Close()
		g.members = append(g.members, &member{id: found.ID, log: log})
	}
	g.run(1)
	for _, m := range g.members[1:] {
		g.change(MemberChange{Promote: []uint64{m.id}})
	}
	lead := g.leader()
	data := bytes.Repeat([]byte("x"), 200)
	entries := 0
	for b.Loop() {
		var index int64
		for range batch {
			var err error
			if index, _, err = lead.log.Append(data); err != nil {
				b.Fatal(err)
			}
			entries++
		}
		if err := g.commit(lead, index, together); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(entries)/b.Elapsed().Seconds(), "entries/s")
}

// commit passes messages until the leader has index, each member working on its own.
func (g *group) commit(lead *member, index int64, together bool) error {
	var early []Message
	if together {
		early = lead.log.Early()
	}
	var wg sync.WaitGroup
	var failed error
	var out []Message
	wg.Go(func() { out, failed = lead.drain() })
	if !together {
		wg.Wait()
		early, out = out, nil
	}
	back := g.follow(lead, early)
	wg.Wait()
	if failed != nil {
		return failed
	}
	for _, m := range back {
		if err := lead.log.Step(m.Data); err != nil {
			return err
		}
	}
	for lead.ready.Applied < index {
		more, err := lead.drain()
		if err != nil {
			return err
		}
		more, out = append(out, more...), nil
		for _, m := range g.follow(lead, more) {
			if err := lead.log.Step(m.Data); err != nil {
				return err
			}
		}
	}
	return nil
}

// drain is Process without keeping what was committed.
func (m *member) drain() ([]Message, error) {
	rd, err := m.log.Process()
	m.ready = rd
	return rd.Messages, err
}

// follow gives messages to the followers, each on its own, and returns their answers.
func (g *group) follow(lead *member, queue []Message) []Message {
	answers := make([][]Message, len(g.members))
	var wg sync.WaitGroup
	for i, m := range g.members {
		if m == lead {
			continue
		}
		wg.Go(func() {
			for _, msg := range queue {
				if msg.To == m.id {
					_ = m.log.Step(msg.Data) // the leader would wait for ever, and the benchmark fail
				}
			}
			answers[i], _ = m.drain()
		})
	}
	wg.Wait()
	var all []Message
	for _, a := range answers {
		all = append(all, a...)
	}
	return all
}
