//go:build bench

package storage

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/vfs"
)

const (
	crashLogs  = 10
	crashBatch = 256 << 10
)

// measureCrash has a process write a large folder with Kafka's settings, kills it, and opens what it left.
func measureCrash(t *testing.T) []row {
	if *crashGB == 0 {
		return nil
	}
	dir := tempDir(t)
	writer := exec.Command(os.Args[0])
	writer.Env = append(os.Environ(), childVariable+"=write", folderVariable+"="+dir,
		bytesVariable+"="+strconv.Itoa(*crashGB*1e9))
	writer.Stderr = os.Stderr
	if err := writer.Run(); err == nil {
		t.Fatal("the writer was not killed")
	}
	var total int64
	err := filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() {
			info, err := e.Info()
			if err != nil {
				return err
			}
			total += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	f := runChild(t, "crash", dir)
	return []row{{
		what: fmt.Sprintf("open a folder of %.1f GB after a kill, default settings, %d logs", float64(total)/1e9, f.Logs),
		bare: fmt.Sprintf("%.0f MB not flushed", float64(f.Behind)/1e6),
		ours: fmt.Sprintf("%.0f ms, %.0f MB read", f.Millis, float64(f.Read)/1e6),
		aim:  "bounded by what was not flushed",
	}}
}

const bytesVariable = "MOLDAU_BENCH_BYTES"

// writeInChild appends so many bytes to a few logs in turn, and kills itself.
func writeInChild() error {
	total, err := strconv.ParseInt(os.Getenv(bytesVariable), 10, 64)
	if err != nil {
		return err
	}
	s, err := storage.OpenStore(vfs.OS(), []string{os.Getenv(folderVariable)}, options())
	if err != nil {
		return err
	}
	var logs [crashLogs]*storage.Log
	for i := range logs {
		if logs[i], err = s.Create(partition(i), topicID, storage.DefaultConfig()); err != nil {
			return err
		}
	}
	var sequence int32
	for written := int64(0); written < total; {
		b := sized(crashBatch, sequence)
		sequence = b.LastSequence() + 1
		for _, l := range logs {
			if _, err := l.Append(time.Now(), 0, batch.Batch(b)); err != nil {
				return err
			}
			written += int64(len(b))
		}
	}
	self, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = self.Kill()
	}
	if err == nil {
		select {} // until the signal is there
	}
	return err
}

// crashInChild opens the folder and prints what that took. What lies behind the recovery points is known afterwards: they
// stay where they were until the next flush.
func crashInChild() error {
	began := time.Now()
	s, err := storage.OpenStore(vfs.OS(), []string{os.Getenv(folderVariable)}, options())
	if err != nil {
		return err
	}
	f := found{Millis: float64(time.Since(began).Microseconds()) / 1000, Logs: len(s.All())}
	read, err := procRow("io", "rchar")
	f.Read = read
	for _, l := range s.All() {
		b := l.Bounds()
		f.Behind += int64(float64(l.Size()) * float64(b.End-b.Synced) / float64(b.End))
	}
	return errors.Join(err, json.NewEncoder(os.Stdout).Encode(f), s.Close())
}
