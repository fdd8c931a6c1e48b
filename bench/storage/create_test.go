//go:build bench

package storage

import (
	"fmt"
	"testing"
	"time"

	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/vfs"
)

// measureCreate makes many logs, appends to each, and stops.
func measureCreate(t *testing.T) []row {
	var made, appended, stopped []float64
	for range 3 {
		s := openStore(t, vfs.OS(), tempDir(t))
		began := time.Now()
		for i := range *logs {
			create(t, s, i, storage.DefaultConfig())
		}
		made = append(made, time.Since(began).Seconds()*1000)
		began = time.Now()
		for _, l := range s.All() {
			fill(t, l, 1, 1<<10)
		}
		appended = append(appended, time.Since(began).Seconds()*1000)
		began = time.Now()
		closeStore(t, s)
		stopped = append(stopped, time.Since(began).Seconds()*1000)
	}
	line := func(what string, v []float64) row {
		return row{what: fmt.Sprintf(what, *logs), ours: fmt.Sprintf("%.0f ms", median(v)), aim: "< 1 s"}
	}
	return []row{
		line("make %d logs, one after the other", made),
		line("first append to each of %d logs", appended),
		line("stop with %d changed logs", stopped),
	}
}
