package group

import (
	"testing"
	"time"

	"moldau.io/moldau/protocol"
)

// stable is what a client that asks for stable offsets is told of partition 0 of t: the offset, or a negative code.
func (b *bench) stable(id string, stable, all bool) int {
	b.ticket++
	eff := b.m.Handle(b.now, b.ticket, &FetchOffsets{
		Group: id, Stable: stable, All: all, Topics: []FetchTopic{{Topic: "t", Partitions: []int32{0}}},
	})
	topics := eff.Replies[0].Resp.(*FetchResult).Topics
	if len(topics) == 0 {
		return -1
	}
	p := topics[0].Partitions[0]
	if p.Code != protocol.None {
		return -int(p.Code)
	}
	return int(p.Offset)
}

func txnCommit(id string, at int) Record {
	return commitRecord(id, "t", 0, &Commit{Offset: protocol.Offset(at), LeaderEpoch: -1, Expires: -1})
}

// KIP-447: an offset that an open transaction commits to is unstable, and counts when the marker says so.
func TestC75_OffsetsOfOpenTransactionsAreUnstable(t *testing.T) {
	for _, committed := range []bool{true, false} {
		b := newBench(t)
		b.m.Apply(txnCommit("g", 1))
		b.m.ApplyInTransaction(0, txnCommit("g", 2))
		b.m.ApplyInTransaction(0, txnCommit("g", 3))
		for _, all := range []bool{true, false} {
			if got := b.stable("g", true, all); got != -int(protocol.UnstableOffsetCommit) {
				t.Errorf("stable, all=%v: %d", all, got)
			}
			if got := b.stable("g", false, all); got != 1 {
				t.Errorf("not stable, all=%v: %d", all, got)
			}
		}
		b.m.EndTransaction(7, true) // of somebody else
		b.m.EndTransaction(0, committed)
		want := map[bool]int{true: 3, false: 1}[committed]
		if got := b.stable("g", true, false); got != want {
			t.Errorf("after the marker: %d, want %d", got, want)
		}
		b.m.EndTransaction(0, true)
		if got := b.stable("g", true, false); got != want || len(b.m.pending.of)+len(b.m.pending.byProducer) > 0 {
			t.Errorf("after a second marker: %d, want %d; left %v", got, want, b.m.pending)
		}
	}
}

// The order of the log decides, not that of the markers.
func TestWhatStandsLaterInTheLogWins(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(m *Machine)
		want int
	}{
		{"a plain commit behind the transaction's", func(m *Machine) {
			m.ApplyInTransaction(1, txnCommit("g", 10))
			m.Apply(txnCommit("g", 20))
			m.EndTransaction(1, true)
		}, 20},
		{"a plain commit before it", func(m *Machine) {
			m.Apply(txnCommit("g", 20))
			m.ApplyInTransaction(1, txnCommit("g", 10))
			m.EndTransaction(1, true)
		}, 10},
		{"two transactions, the later one ends first", func(m *Machine) {
			m.ApplyInTransaction(1, txnCommit("g", 10))
			m.ApplyInTransaction(2, txnCommit("g", 20))
			m.EndTransaction(2, true)
			m.EndTransaction(1, true)
		}, 20},
		{"two transactions, the later one is taken back", func(m *Machine) {
			m.ApplyInTransaction(1, txnCommit("g", 10))
			m.ApplyInTransaction(2, txnCommit("g", 20))
			m.EndTransaction(2, false)
			m.EndTransaction(1, true)
		}, 10},
		{"a transaction that commits again behind another", func(m *Machine) {
			m.ApplyInTransaction(1, txnCommit("g", 10))
			m.ApplyInTransaction(2, txnCommit("g", 20))
			m.ApplyInTransaction(1, txnCommit("g", 30))
			m.EndTransaction(1, true)
			m.EndTransaction(2, true)
		}, 30},
		{"a tombstone takes what is pending along", func(m *Machine) {
			m.ApplyInTransaction(1, txnCommit("g", 10))
			m.Apply(commitRecord("g", "t", 0, nil))
			m.EndTransaction(1, true)
		}, -1},
		{"a tombstone inside a transaction does so at once", func(m *Machine) {
			m.Apply(txnCommit("g", 5))
			m.ApplyInTransaction(1, txnCommit("g", 10))
			m.ApplyInTransaction(1, commitRecord("g", "t", 0, nil))
			m.EndTransaction(1, true)
		}, -1},
	} {
		b := newBench(t)
		c.do(b.m)
		if got := b.stable("g", true, false); got != c.want {
			t.Errorf("%s: %d, want %d", c.name, got, c.want)
		}
		if len(b.m.pending.of)+len(b.m.pending.byProducer) > 0 {
			t.Errorf("%s: left %v", c.name, b.m.pending)
		}
	}
}

// Rule 98, 99: a group with an open transaction does not expire; deleting a group or an offset takes the pending one along.
func TestRule099_OpenTransactionsKeepTheirOffsets(t *testing.T) {
	b := newBench(t)
	b.m.Apply(txnCommit("g", 1))
	b.m.ApplyInTransaction(1, txnCommit("g", 2))
	b.m.ApplyInTransaction(1, txnCommit("only-pending", 2))
	b.advance(30 * 24 * time.Hour)
	if len(b.log) > 0 || len(b.m.groups) != 2 {
		t.Fatalf("expired: %+v", b.out)
	}
	b.m.EndTransaction(1, false)
	b.advance(time.Hour)
	if len(b.m.groups) != 0 {
		t.Errorf("left: %v", b.m.groups)
	}

	for name, req := range map[string]Request{
		"a group":  &Delete{Group: "g"},
		"a topic":  &ForgetTopics{Topics: []DeletedTopic{{Name: "t"}}},
		"a offset": &DeleteOffsets{Group: "g", Partitions: []DeletePartition{{Topic: "t"}}},
	} {
		for _, before := range []bool{true, false} {
			b := newBench(t)
			if before {
				b.m.Apply(txnCommit("g", 1))
			}
			b.m.ApplyInTransaction(1, txnCommit("g", 2))
			b.handle("-", req)
			if want := 1 + map[bool]int{true: 1}[name == "a group"]; len(b.log) != want {
				t.Errorf("%s, before %v: %d records, want %d", name, before, len(b.log), want)
			}
			b.m.EndTransaction(1, true)
			if got := b.stable("g", true, false); got != -1 {
				t.Errorf("%s is deleted, and the marker brings back %d", name, got)
			}
		}
	}
}

// A static member that comes back while the group rebalances waits as long as any member may, not as one that nobody knows.
func TestRule092_AReplacedMemberIsNoNewOne(t *testing.T) {
	b := newBench(t)
	join := func(who string) {
		b.handle(who, &Join{
			Group: "g", Instance: &who, Type: "consumer", Protocols: []Protocol{{Name: "range"}},
			Session: 6 * time.Second, Rebalance: 5 * time.Minute, MemberIDRequired: true,
		})
	}
	b.handle("slow", &Join{
		Group: "g", Type: "consumer", Protocols: []Protocol{{Name: "range"}}, Session: 30 * time.Minute, Rebalance: 5 * time.Minute,
	})
	b.advance(3 * time.Second) // slow is alone, and has to rejoin when the other comes
	join("i")
	join("i")
	b.advance(time.Minute)
	if g := b.m.groups["g"]; g.static["i"] == nil {
		t.Errorf("the member that waits was removed: %v", b.out)
	}
}
