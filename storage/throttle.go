package storage

import (
	"math"
	"sync"
	"time"
)

// throttle bounds how many bytes a second some goroutines read and write together. The zero throttle bounds nothing.
type throttle struct {
	mu   sync.Mutex
	rate float64   // bytes a second; 0 for any
	free time.Time // when what was taken so far has been paid for
}

// throttleBurst is how much may be taken at once after a pause, in time.
const throttleBurst = 100 * time.Millisecond

func (t *throttle) set(bytesPerSecond float64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rate = bytesPerSecond
	if bytesPerSecond >= math.MaxInt64 {
		t.rate = 0
	}
}

// take says how long who wants bytes has to wait.
func (t *throttle) take(now time.Time, bytes int) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.rate <= 0 {
		return 0
	}
	if earliest := now.Add(-throttleBurst); t.free.Before(earliest) {
		t.free = earliest
	}
	t.free = t.free.Add(time.Duration(float64(bytes) / t.rate * float64(time.Second)))
	return t.free.Sub(now)
}

// wait waits for bytes, or until stop is closed.
func (t *throttle) wait(bytes int, stop <-chan struct{}) {
	d := t.take(time.Now(), bytes)
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-stop:
	}
}
