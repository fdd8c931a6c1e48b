package group

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// happened keeps the events of a call, as a shell does: those that are so only when the records are written by the name of
// stored.
func (b *bench) happened(eff Effects, stored bool) {
	name := func(w Who) string {
		if w.ClientID != "" {
			return w.ClientID
		}
		return b.name(w.Member)
	}
	for _, e := range eff.Events {
		if e.Stored != stored {
			continue
		}
		s := fmt.Sprintf("%s %s generation=%d members=%d", e.Group, e.Kind, e.Generation, e.Members)
		if e.Who.Member != "" {
			s += " member=" + name(e.Who)
		}
		if e.Cause != "" {
			s += " cause=" + string(e.Cause)
		}
		if e.Reason != "" {
			reason := e.Reason
			if e.Who.Member != "" {
				reason = strings.ReplaceAll(reason, e.Who.Member, name(e.Who))
			}
			for who, id := range b.ids {
				reason = strings.ReplaceAll(reason, id, who)
			}
			s += ": " + reason
		}
		b.events = append(b.events, s)
	}
}

func TestTheReasonsOfRebalancesAreTold(t *testing.T) {
	run(t, "events")
	run(t, "events_consumer")
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0 ms", 1500 * time.Millisecond: "1.5 s", 6 * time.Second: "6 s", 300 * time.Millisecond: "300 ms", 45*time.Second + 400*time.Millisecond: "45 s", time.Minute: "1 min",
		65 * time.Second: "1 min 5 s", 59*time.Second + 700*time.Millisecond: "60 s", 90 * time.Minute: "90 min",
	} {
		if got := span(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}

// TestAReasonIsBounded: ids and what clients say may be long.
func TestAReasonIsBounded(t *testing.T) {
	b := newBench(t)
	long := strings.Repeat("x", 30_000)
	b.handle("a", &Join{
		Group: "g", Type: "consumer", Protocols: []Protocol{{Name: "range"}}, Session: 10 * time.Second, Rebalance: time.Minute,
		ClientID: long, ClientHost: "/h", Reason: long,
	})
	if len(b.events) != 2 {
		t.Fatal(b.events)
	}
	for _, e := range b.m.eff.Events {
		if len(e.Reason) > reasonBytesMax {
			t.Errorf("%v: %d bytes of reason", e.Kind, len(e.Reason))
		}
	}
}
