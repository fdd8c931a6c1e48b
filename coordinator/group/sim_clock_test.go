package group

import (
	"testing"
	"time"
	"unsafe"
)

// simTime is what time.Now gives where the wall clock and the monotonic clock show these nanoseconds. The package time has
// no way to make one, and with times that have no monotonic part a core that mixes the two clocks up could not be told
// from one that does not.
func simTime(wall, mono int64) time.Time {
	const (
		hasMonotonic = 1 << 63
		secondsShift = 30
		from1885     = 2682288000 // seconds from 1885, which these times count from, to 1970
	)
	var t time.Time
	raw := (*struct {
		wall uint64
		ext  int64
		loc  *time.Location
	})(unsafe.Pointer(&t))
	raw.wall = hasMonotonic | uint64(wall/int64(time.Second)+from1885)<<secondsShift | uint64(wall%int64(time.Second))
	raw.ext = mono
	return t
}

func TestSimTimeHasTwoClocks(t *testing.T) {
	a := simTime(1_700_000_000_123_456_789, 5_000_000_000)
	b := simTime(1_600_000_000_000_000_000, 8_000_000_000) // the wall clock was set back
	if a.UnixNano() != 1_700_000_000_123_456_789 || b.UnixNano() != 1_600_000_000_000_000_000 {
		t.Errorf("%d, %d", a.UnixNano(), b.UnixNano())
	}
	if b.Sub(a) != 3*time.Second || !b.After(a) || !a.Add(time.Second).Before(b) {
		t.Errorf("%v, %v", b.Sub(a), b.After(a))
	}
	if b.Round(0).Sub(a.Round(0)) > 0 {
		t.Error("without the monotonic part the wall clock counts")
	}
}
