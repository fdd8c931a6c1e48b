package meta

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"moldau.io/moldau/protocol"
)

// brokersIn is an image with brokers, numbered from 1, in these racks.
func brokersIn(tb interface{ Fatal(...any) }, change func(*Broker), racks ...string) *Image {
	var recs []Record
	for i, r := range racks {
		b := Broker{ID: protocol.BrokerID(i + 1), Epoch: int64(i + 1), Rack: r}
		if change != nil {
			change(&b)
		}
		recs = append(recs, BrokerRecord{Broker: b})
	}
	im, err := Empty().With(1, recs...)
	if err != nil {
		tb.Fatal(err)
	}
	return im
}

func placed(tb interface{ Fatal(...any) }, im *Image, seed uint64, count, factor int) []Partition {
	c := NewController(ControllerConfig{Random: rand.New(rand.NewPCG(seed, 1))}, im)
	ps, err := c.place(count, factor)
	if err != nil {
		tb.Fatal(err)
	}
	return ps
}

func TestReplicasAreSpreadEvenly(t *testing.T) {
	for seed := range uint64(20) {
		leads, follows, after := map[protocol.BrokerID]int{}, map[protocol.BrokerID]int{}, map[string]int{}
		for _, p := range placed(t, brokersIn(t, nil, "", "", "", "", ""), seed, 500, 3) {
			leads[p.Leader]++
			for _, id := range p.Replicas[1:] {
				follows[id]++
			}
			after[fmt.Sprint(p.Replicas[:2])]++
		}
		for id := protocol.BrokerID(1); id <= 5; id++ {
			if leads[id] != 100 || follows[id] != 200 {
				t.Errorf("seed %d: broker %d leads %d and follows %d of 500", seed, id, leads[id], follows[id])
			}
		}
		if len(after) != 20 {
			t.Errorf("seed %d: only %d of 20 pairs of a leader and its first follower", seed, len(after))
		}
	}
}

// TestNoRackHasTwoReplicasBeforeEachHasOne, whatever the racks, and nobody leads who is not alive.
func TestNoRackHasTwoReplicasBeforeEachHasOne(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		racks := rapid.SliceOfN(rapid.SampledFrom([]string{"", "a", "b", "c"}), 1, 9).Draw(rt, "racks")
		gone := rapid.SliceOfN(rapid.IntRange(0, 6), len(racks), len(racks)).Draw(rt, "gone")
		var usable, alive ids
		size := map[string]int{}
		im := brokersIn(rt, func(b *Broker) {
			b.Fenced, b.Draining, b.Stopping = gone[b.ID-1] == 1, gone[b.ID-1] == 2, gone[b.ID-1] == 3
			if !b.Draining && !b.Stopping {
				usable = append(usable, b.ID)
				size[b.Rack]++
				if !b.Fenced {
					alive = append(alive, b.ID)
				}
			}
		}, racks...)
		if len(alive) == 0 {
			return
		}
		factor := rapid.IntRange(1, len(usable)).Draw(rt, "factor")
		led := map[protocol.BrokerID]int{}
		ps := placed(rt, im, rapid.Uint64().Draw(rt, "seed"), 4*len(alive), factor)
		for _, p := range ps {
			led[p.Leader]++
			if !slices.Contains(alive, p.Leader) || p.Leader != p.Replicas[0] {
				rt.Fatalf("%+v is led by one that is not alive, or not by its first", p)
			}
			in := map[string]int{}
			for i, id := range p.Replicas {
				if !slices.Contains(usable, id) || slices.Contains(p.Replicas[:i], id) {
					rt.Fatalf("replicas %v of brokers %v", p.Replicas, usable)
				}
				in[im.Broker(id).Rack]++
				if slices.Contains(p.ISR, id) != slices.Contains(alive, id) {
					rt.Fatalf("in sync are %v, alive are %v", p.ISR, alive)
				}
			}
			for r, n := range in {
				for other, of := range size {
					if n > in[other]+1 && in[other] < of {
						rt.Fatalf("rack %q has %d of replicas %v, rack %q has %d", r, n, p.Replicas, other, in[other])
					}
				}
			}
		}
		if slices.Max(racks) == slices.Min(racks) { // no racks: all lead the same
			for _, id := range alive {
				if led[id] != 4 {
					rt.Fatalf("led %v", led)
				}
			}
		}
	})
}

func TestFencedBrokersFollowOnlyWhereTheyMust(t *testing.T) {
	im := brokersIn(t, func(b *Broker) { b.Fenced = b.ID > 3 }, "", "", "", "", "")
	for _, p := range placed(t, im, 1, 30, 3) {
		if slices.Max(p.Replicas) > 3 {
			t.Errorf("%+v has a fenced replica, and three are alive", p)
		}
	}
	for _, p := range placed(t, im, 1, 30, 4) {
		if len(p.ISR) != 3 || p.Replicas[3] < 4 {
			t.Errorf("%+v", p)
		}
	}
}

func TestRule109_ReplicationFactorsThatCannotBe(t *testing.T) {
	for what, c := range map[string]struct {
		change func(*Broker)
		factor int16
		code   protocol.Code
	}{
		"three of three":       {nil, 3, protocol.None},
		"four of three":        {nil, 4, protocol.InvalidReplicationFactor},
		"one fenced":           {func(b *Broker) { b.Fenced = b.ID == 1 }, 3, protocol.None},
		"all fenced":           {func(b *Broker) { b.Fenced = true }, 1, protocol.InvalidReplicationFactor},
		"one is being emptied": {func(b *Broker) { b.Draining = b.ID == 1 }, 3, protocol.InvalidReplicationFactor},
		"two, one is emptied":  {func(b *Broker) { b.Draining = b.ID == 1 }, 2, protocol.None},
	} {
		c1 := NewController(ControllerConfig{Random: rand.New(rand.NewPCG(1, 1))}, brokersIn(t, c.change, "", "", ""))
		p := &plant{T: t, c: c1}
		p.want(what, p.create(NewTopic{Name: "a", Partitions: 2, ReplicationFactor: c.factor}).Outcome.Err(), c.code)
	}
	c1 := NewController(ControllerConfig{Random: rand.New(rand.NewPCG(1, 1))}, brokersIn(t, func(b *Broker) { b.Fenced = b.ID < 3 }, "", "", ""))
	p := &plant{T: t, c: c1}
	by := func(replicas ...ids) error {
		return p.create(NewTopic{Name: fmt.Sprint("m", len(p.recs)), Partitions: -1, ReplicationFactor: -1, Assignments: assign(replicas...)}).Outcome.Err()
	}
	p.want("one of the assigned is alive", by(ids{1, 3}), protocol.None)
	p.want("none of the assigned is alive", by(ids{1, 2}), protocol.InvalidReplicaAssignment)
}
