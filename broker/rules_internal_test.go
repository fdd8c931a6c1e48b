package broker

import (
	"math"
	"testing"
	"time"
)

func TestDurationsBeyondAnyClockAreNever(t *testing.T) {
	for _, c := range []struct {
		millis int64
		want   time.Duration
	}{
		{0, 0}, {1, time.Millisecond}, {-1, -time.Millisecond}, {604_800_000, 7 * 24 * time.Hour},
		{math.MaxInt64, math.MaxInt64}, {math.MaxInt64 / 1_000_000, (math.MaxInt64 / 1_000_000) * time.Millisecond},
		{math.MaxInt64/1_000_000 + 1, math.MaxInt64}, {math.MinInt64, math.MinInt64},
	} {
		if got := duration(c.millis); got != c.want {
			t.Errorf("%d ms are %d ns, want %d", c.millis, got, c.want)
		}
	}
}
