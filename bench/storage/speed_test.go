//go:build bench

package storage

import (
	"fmt"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// speed is how fast a piece of work was. The clock's rate is what is asked for; the processor's says the same on a machine
// that does other things meanwhile.
type speed struct {
	clock float64 // MB/s
	cpu   float64 // MB per second of processor time, of this process and of the kernel on its behalf
}

type speeds []speed

// measure is the speed of work that moves so many bytes.
func measure(t testing.TB, bytes int, work func() error) speed {
	t.Helper()
	used, began := processTime(t), time.Now()
	if err := work(); err != nil {
		t.Fatal(err)
	}
	mb := float64(bytes) / 1e6
	return speed{clock: mb / time.Since(began).Seconds(), cpu: mb / (processTime(t) - used).Seconds()}
}

func processTime(t testing.TB) time.Duration {
	t.Helper()
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// better is the best of two ways, by each measure.
func better(a, b speed) speed { return speed{clock: max(a.clock, b.clock), cpu: max(a.cpu, b.cpu)} }

// compare is the row of two speeds. Each round has a ratio of its own; the medians are shown.
func compare(what string, bare, ours speeds, aim string) row {
	var b, o, clock, cpu []float64
	for i := range bare {
		b, o = append(b, bare[i].clock), append(o, ours[i].clock)
		clock, cpu = append(clock, ours[i].clock/bare[i].clock), append(cpu, ours[i].cpu/bare[i].cpu)
	}
	return row{
		what:  what,
		bare:  fmt.Sprintf("%.0f MB/s", median(b)),
		ours:  fmt.Sprintf("%.0f MB/s", median(o)),
		ratio: fmt.Sprintf("%.2f (processor time %.2f)", median(clock), median(cpu)),
		aim:   aim,
	}
}
