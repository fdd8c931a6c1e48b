package replica_test

import (
	"testing"
	"time"

	"moldau.io/moldau/internal/sim"
)

// The simulation of a cluster: real controllers, real replica cores and models of everything between them. See world.

var flags = sim.NewFlags(4000, 60*time.Second)

// simMarks are what the seeds of a plain run must come to, or they do not test what they are for.
var simMarks = []string{
	"a batch comes again",
	"a broker ends in order",
	"a broker is fenced",
	"a follower begins anew",
	"a follower truncates",
	"a kill",
	"a move ends",
	"a partition has no leader",
	"a power cut",
	"a replica is eligible",
	"an eligible replica is elected",
	"an entry outlived its leader",
	"an in-sync set grows",
	"an in-sync set is answered with INELIGIBLE_REPLICA",
	"an in-sync set is answered with INVALID_UPDATE_VERSION",
	"an in-sync set shrinks",
	"an unclean election",
	"an unclean leader lacks something",
}

func TestSimulation(t *testing.T) { flags.Run(t, play("", nil), simMarks...) }

// simFaults are faults that are planted, each of which some seed must find. Histories change with the code, and with them the
// seeds; those here were the first that failed when this was written.
var simFaults = []struct {
	name  string
	first uint64
	tune  func(*simOptions)
}{
	{"the high watermark goes before the in-sync set is committed", 1, nil},
	{"who has not reached the high watermark joins", 1, nil},
	{"an old broker epoch is taken", 148, restarts},
	{"a follower truncates to its high watermark", 1, nil},
	{"somebody outside of the in-sync set is elected", 7, nil},
	{"an unclean restart stays in sync", 10, nil},
	{"a process leads before it is registered", 1, nil},
	{"old controllers answer", 291, moves},
}

// restarts has brokers leave the in-sync set by being slow, and lose their power when they are about to be back.
func restarts(o *simOptions) {
	o.fsync, o.real, o.elr, o.lag, o.gap = false, false, true, time.Second, 300*time.Millisecond
	for _, k := range simKinds {
		o.on[k] = k == "power cut" || k == "freeze" || k == "slow" || k == "cut"
	}
	for i := range o.topics {
		o.topics[i].factor, o.topics[i].minISR, o.topics[i].unclean = 3, 2, false
	}
}

// moves has controllers come and go, without those who are none any more knowing it.
func moves(o *simOptions) {
	o.fsync, o.real, o.elr, o.lag, o.gap = false, false, true, time.Second, 200*time.Millisecond
	for _, k := range simKinds {
		o.on[k] = k == "move the controller" || k == "old controllers" || k == "freeze" || k == "one-way cut" || k == "cut"
	}
	for i := range o.topics {
		o.topics[i].factor, o.topics[i].minISR, o.topics[i].unclean = 3, 1, false
	}
}

// TestPlantedFaultsAreFound: a simulation that finds nothing wrong with them would find nothing at all.
func TestPlantedFaultsAreFound(t *testing.T) {
	for _, f := range simFaults {
		t.Run(f.name, func(t *testing.T) {
			seed, err := f.first, sim.Play(f.first, play(f.name, f.tune))
			found := err != nil
			if !found {
				seed, err, found = sim.Find(1500, play(f.name, f.tune))
			}
			if !found {
				t.Error("not found")
				return
			}
			t.Logf("seed %d: %v", seed, err)
			if err := sim.Play(seed, play("", f.tune)); err != nil {
				t.Errorf("it fails also without the fault: %v", err)
			}
		})
	}
}
