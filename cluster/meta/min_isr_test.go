package meta

import (
	"testing"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

func (w *crew) setBroker(name, key string, op Op, value string) error {
	w.Helper()
	r := Resource{Type: config.BrokerResource, Name: name}
	got := w.act(AlterConfigs{Resources: []AlterResource{{Resource: r, Ops: []ConfigOp{{Key: key, Op: op, Value: &value}}}}})
	return got.(AlterConfigsReply).Resources[0].Outcome.Err()
}

func TestMinISRIsTheClustersWithELR(t *testing.T) {
	w := withELR(t, 2)
	if got := w.c.image.Configs(config.BrokerResource, "")[minISRKey]; got != "1" {
		t.Errorf("a cluster with the feature begins with %q", got)
	}
	code := func(err error) protocol.Code { return protocol.CodeOf(err) }
	if got := code(w.setBroker("1", minISRKey, Set, "2")); got != protocol.InvalidConfig {
		t.Errorf("for one broker: %v", got)
	}
	if got := code(w.setBroker("", minISRKey, Delete, "")); got != protocol.InvalidConfig {
		t.Errorf("taken away: %v", got)
	}
	if err := w.setBroker("", minISRKey, Set, "2"); err != nil {
		t.Errorf("for all: %v", err)
	}
	w = newCrew(t, 2)
	if err := w.setBroker("1", minISRKey, Set, "2"); err != nil {
		t.Error(err)
	}
	up := UpdateFeatures{
		Updates:   []FeatureUpdate{{Name: eligibleLeaderReplicas, Level: 1, Kind: Upgrade}},
		Supported: []FeatureRange{{Name: eligibleLeaderReplicas, Max: 1}},
	}
	if got := w.act(up).(UpdateFeaturesReply); got.Outcome.Err() != nil {
		t.Error(got.Outcome.Err())
	}
	if w.c.image.Configs(config.BrokerResource, "1") != nil || w.c.image.Configs(config.BrokerResource, "")[minISRKey] != "1" {
		t.Error("a value for one broker outlives the feature's upgrade")
	}
}

// TestFewerThatMustBeInSyncMakeNobodyEligible: from that moment on the leader commits what the others have not.
func TestFewerThatMustBeInSyncMakeNobodyEligible(t *testing.T) {
	w := withELR(t, 3)
	w.topic("a", ids{1, 2, 3})
	w.topic("b", ids{1, 2, 3})
	w.set("a", minISRKey, "3")
	w.set("b", minISRKey, "2")
	w.die(3)
	w.die(2)
	w.is("a", "1/0/2 isr[1] elr[2 3]")
	w.set("a", minISRKey, "2")
	w.is("a", "1/0/2 isr[1] elr[2 3]") // still nothing can be committed
	w.set("a", minISRKey, "1")
	w.is("a", "1/0/3 isr[1]")
	w.is("b", "1/0/2 isr[1] elr[2]")
	if err := w.setBroker("", minISRKey, Set, "2"); err != nil {
		t.Error(err)
	}
	w.act(AlterConfigs{Resources: []AlterResource{{Resource: topicResource("b"), Ops: []ConfigOp{{Key: minISRKey, Op: Delete}}}}})
	w.is("b", "1/0/2 isr[1] elr[2]")
	if err := w.setBroker("", minISRKey, Set, "1"); err != nil {
		t.Error(err)
	}
	w.is("b", "1/0/3 isr[1]")
}

// TestWhoCommitsAloneLeavesNobodyEligible: two died together, one is back and goes on alone.
func TestWhoCommitsAloneLeavesNobodyEligible(t *testing.T) {
	w := withELR(t, 4)
	w.topic("a", ids{1, 2})
	w.now = w.c.Deadline()
	w.beat(3, 4)
	w.apply(w.c.Tick(w.now))
	w.is("a", "-1/1/1 isr[] elr[1 2] last[1]")
	w.beat(2)
	w.is("a", "2/2/2 isr[2]")
	w.die(2)
	w.is("a", "-1/3/3 isr[] elr[2] last[2]")
	w.beat(1)
	w.is("a", "-1/3/3 isr[] elr[2] last[2]")
}
