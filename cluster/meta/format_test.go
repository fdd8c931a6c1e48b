package meta

import (
	"testing"

	"moldau.io/moldau/protocol"
)

// build registers a broker of a build that reads records up to a level; 0 is one that does not say.
func (w *crew) build(id protocol.BrokerID, level int16) error {
	w.Helper()
	w.life++
	cmd := RegisterBroker{ID: id, Incarnation: protocol.TopicID{15: w.life}, CleanEpoch: -1, Quorum: uint64(1000 + id)}
	if level > 0 {
		cmd.Features = []FeatureRange{{Name: recordFormat, Min: 1, Max: level}}
	}
	r, err := w.ask(cmd)
	if err == nil {
		w.epoch[id] = r.(RegisterBrokerReply).Epoch
		w.beat(id)
	}
	w.settle()
	return err
}

func (w *crew) wantFormat(when string, level int16) {
	w.Helper()
	if got := w.c.image.format(); got != level {
		w.Errorf("%s: records of level %d, not %d", when, got, level)
	}
}

// TestRecordsAreWrittenAsAllBrokersReadThem: builds are changed broker by broker, and the last one raises the level.
func TestRecordsAreWrittenAsAllBrokersReadThem(t *testing.T) {
	w := newCrew(t, 0)
	for id := range protocol.BrokerID(3) {
		if err := w.build(id+1, 0); err != nil {
			t.Fatal(err)
		}
	}
	w.wantFormat("three old builds", 1)
	for id := range protocol.BrokerID(2) {
		w.gone(id + 1)
		if err := w.build(id+1, 3); err != nil {
			t.Fatal(err)
		}
	}
	w.wantFormat("one old build is left", 1)
	w.gone(1)
	if err := w.build(1, 2); err != nil { // back by one build: nothing is lost yet
		t.Fatal(err)
	}
	w.gone(3)
	w.wantFormat("the old build is down, and may come back", 1)
	if err := w.build(3, 3); err != nil {
		t.Fatal(err)
	}
	w.wantFormat("all are new", 2)
	w.gone(3)
	if err := w.build(3, 1); protocol.CodeOf(err) != protocol.UnsupportedVersion {
		t.Errorf("a build that cannot read the records any more: %v", err)
	}
	if err := w.build(3, 2); err != nil {
		t.Errorf("a build that reads them just so: %v", err)
	}
	w.gone(1)
	w.gone(2)
	w.gone(3)
	for id := range protocol.BrokerID(3) {
		if err := w.build(id+1, 3); err != nil {
			t.Fatal(err)
		}
	}
	w.wantFormat("all are newer still", 3)
}

// gone has a broker's process be known to have ended.
func (w *crew) gone(id protocol.BrokerID) {
	w.Helper()
	w.act(BrokerGone{ID: id, Epoch: w.epoch[id]})
	w.settle()
}
