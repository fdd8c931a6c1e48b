package meta

import (
	"slices"
	"testing"
)

// changesOnly is what f makes of each change of a partition.
func changesOnly(recs []Record, f func(*PartitionChange) bool) []Record {
	var out []Record
	for _, r := range recs {
		if cs, ok := r.(PartitionChangesRecord); ok {
			cs.Changes = slices.DeleteFunc(slices.Clone(cs.Changes), func(c PartitionChange) bool { return !f(&c) })
			if len(cs.Changes) == 0 {
				continue
			}
			r = cs
		}
		out = append(out, r)
	}
	return out
}

// simFaults are faults that the simulation is there to find.
var simFaults = map[string]simFault{
	"every restart is taken for an orderly one": {wish: func(im *Image, cmd Command) Command {
		if r, ok := cmd.(RegisterBroker); ok && im.Broker(r.ID) != nil {
			r.CleanEpoch = im.Broker(r.ID).Epoch
			return r
		}
		return cmd
	}},
	"who restarts stays eligible": {records: func(cmd Command, recs []Record) []Record {
		if _, ok := cmd.(RegisterBroker); !ok {
			return recs
		}
		return changesOnly(recs, func(c *PartitionChange) bool { return c.Fields != FieldELR })
	}},
	"who restarts stays in sync": {records: func(cmd Command, recs []Record) []Record {
		if _, ok := cmd.(RegisterBroker); !ok {
			return recs
		}
		return changesOnly(recs, func(c *PartitionChange) bool { return false })
	}},
	"an earlier life of a follower counts": {seed: 494, wish: func(_ *Image, cmd Command) Command {
		if a, ok := cmd.(AlterPartition); ok {
			isr := slices.Clone(a.Partitions[0].ISR)
			for i := range isr {
				isr[i].Epoch = -1
			}
			a.Partitions = []ISRChange{a.Partitions[0]}
			a.Partitions[0].ISR = isr
			return a
		}
		return cmd
	}},
	"fewer that must be in sync leave others eligible": {records: func(cmd Command, recs []Record) []Record {
		if _, ok := cmd.(AlterConfigs); !ok {
			return recs
		}
		return changesOnly(recs, func(c *PartitionChange) bool { return false })
	}},
	"the dead go on leading": {records: func(cmd Command, recs []Record) []Record {
		if _, ok := cmd.(BrokerGone); !ok {
			return recs
		}
		return changesOnly(recs, func(c *PartitionChange) bool { return c.Fields&FieldLeader == 0 })
	}},
}

func TestSimulationFindsWhatIsPlanted(t *testing.T) {
	for what, f := range simFaults {
		found := uint64(0)
		var err error
		for seed := max(f.seed, 1); seed < f.seed+3000 && found == 0; seed++ {
			if w := simulate(seed, f); w.err != nil {
				found, err = seed, w.err
			}
		}
		if found == 0 {
			t.Errorf("%s, and no seed finds it", what)
			continue
		}
		t.Logf("%s: seed %d: %v", what, found, err)
	}
}
