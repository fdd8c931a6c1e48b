package replica

import (
	"testing"

	"moldau.io/moldau/protocol"
)

func ids(n ...protocol.BrokerID) []protocol.BrokerID { return n }

func TestALeaderAloneCommitsWhatItAppends(t *testing.T) {
	l := NewLeader(Assignment{Local: 1, Epoch: 3, Replicas: ids(1), ISR: ids(1)}, 10, 4)
	if l.HighWatermark() != 10 || l.Epoch() != 3 {
		t.Fatalf("a log of 10 records in sync with itself: high watermark %d, epoch %d", l.HighWatermark(), l.Epoch())
	}
	if e := l.Appended(12); !e.Advanced || e.HighWatermark != 12 {
		t.Errorf("appended to 12: %+v", e)
	}
	if e := l.Appended(12); e.Advanced {
		t.Errorf("nothing appended: %+v", e)
	}
}

func TestTheHighWatermarkIsNeverAboveTheLog(t *testing.T) {
	l := NewLeader(Assignment{Local: 1, Replicas: ids(1, 2), ISR: ids(1, 2)}, 5, 9)
	if l.HighWatermark() != 5 {
		t.Errorf("high watermark %d of a log that was cut to 5", l.HighWatermark())
	}
}

func TestTheHighWatermarkWaitsForEveryReplicaInSync(t *testing.T) {
	l := NewLeader(Assignment{Local: 1, Replicas: ids(1, 2), ISR: ids(1, 2)}, 5, 3)
	if e := l.Appended(8); e.Advanced || e.HighWatermark != 3 {
		t.Errorf("the follower is not known to have any of it: %+v", e)
	}
	if e := l.Assigned(Assignment{Local: 1, Replicas: ids(1, 2), ISR: ids(1)}); !e.Advanced || e.HighWatermark != 8 {
		t.Errorf("the leader is alone in sync: %+v", e)
	}
	if e := l.Assigned(Assignment{Local: 1, Replicas: ids(1, 2), ISR: ids(1, 2)}); e.HighWatermark != 8 {
		t.Errorf("the high watermark fell: %+v", e)
	}
}

func TestRule036_MinInsyncReplicasCountsAtMostTheReplicas(t *testing.T) {
	for _, c := range []struct {
		replicas, isr []protocol.BrokerID
		minimum       int
		want          bool
	}{
		{ids(1), ids(1), 1, true},
		{ids(1), ids(1), 2, true},
		{ids(1, 2, 3), ids(1), 2, false},
		{ids(1, 2, 3), ids(1, 3), 2, true},
		{ids(1, 2), ids(1), 3, false},
	} {
		l := NewLeader(Assignment{Local: 1, Replicas: c.replicas, ISR: c.isr}, 0, 0)
		if got := l.EnoughInSync(c.minimum); got != c.want {
			t.Errorf("%d of %d in sync, minimum %d: %v", len(c.isr), len(c.replicas), c.minimum, got)
		}
	}
}
