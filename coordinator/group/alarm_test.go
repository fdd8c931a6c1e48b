package group

import (
	"math/rand/v2"
	"testing"
	"time"
)

// Alarms that are set, moved and switched off ring once, at the first tick at or after the time that they were last set
// to, in the order of their times.
func TestAlarmsRingWhenTheyAreDue(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	t0 := time.Unix(1_700_000_000, 0)
	now := t0
	var as alarms
	all := make([]*alarm, 3000)
	want := map[*alarm]time.Time{}
	for i := range all {
		all[i] = &alarm{}
	}
	for range 60_000 {
		a := all[rng.IntN(len(all))]
		switch rng.IntN(10) {
		case 0, 1:
			a.off()
			delete(want, a)
		case 2:
			now = now.Add(time.Duration(rng.IntN(20)) * time.Millisecond)
			last := time.Time{}
			for {
				rung, ok := as.due(now)
				if !ok {
					break
				}
				at, known := want[rung]
				if !known || at.After(now) || at.Before(last) {
					t.Fatalf("an alarm set to %v (%v) rang at %v", at, known, now)
				}
				last = at
				delete(want, rung)
			}
			for a, at := range want {
				if !at.After(now) {
					t.Fatalf("an alarm set to %v did not ring at %v (queued %v)", at, now, a.queued)
				}
			}
		default:
			at := now.Add(time.Duration(1+rng.IntN(5000)) * time.Millisecond)
			as.set(a, at)
			want[a] = at
		}
		if next, ok := as.next(); ok {
			for _, at := range want {
				if at.Before(next) {
					t.Fatalf("the next alarm is at %v, they say %v", at, next)
				}
				break // one a round will do
			}
		}
	}
}

// Members that come and go do not pile up in the heap.
func TestAlarmsForgetWhatIsOff(t *testing.T) {
	var as alarms
	now := time.Unix(1_700_000_000, 0)
	for range 100_000 {
		a := &alarm{}
		as.set(a, now.Add(30*time.Minute))
		a.off()
	}
	if len(as.h) > 2*alarmsMin {
		t.Errorf("%d entries of alarms that are off", len(as.h))
	}
}
