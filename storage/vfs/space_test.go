package vfs

import (
	"bytes"
	"errors"
	"syscall"
	"testing"
	"time"
)

func TestAFullDiskTakesWhatFits(t *testing.T) {
	m := NewMem()
	now := time.UnixMilli(5000)
	m.SetClock(func() time.Time { return now })
	m.SetCapacity(100)
	f, err := m.Create("/a")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := f.WriteAt(bytes.Repeat([]byte{1}, 60), 0); n != 60 || err != nil {
		t.Fatal(n, err)
	}
	now = now.Add(time.Second)
	if n, err := f.WriteAt(bytes.Repeat([]byte{2}, 60), 50); n != 50 || !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(n, err)
	}
	if s, err := m.Space("/"); err != nil || s != (Space{Total: 100, Free: 0}) {
		t.Fatal(s, err)
	}
	if n, err := f.WriteAt([]byte{3}, 10); n != 1 || err != nil {
		t.Fatal("what is there can be written over:", n, err)
	}
	if err := f.Truncate(30); err != nil {
		t.Fatal(err)
	}
	if s, _ := m.Space("/"); s.Free != 70 {
		t.Fatal(s)
	}
	if e, err := m.Stat("/a"); err != nil || e.Size != 30 || !e.ModTime.Equal(now) {
		t.Fatal(e, err)
	}
	if _, err := m.Space("/none"); err == nil {
		t.Fatal("there is no such folder")
	}
	m.SetCapacity(0)
	if n, err := f.WriteAt(bytes.Repeat([]byte{2}, 600), 50); n != 600 || err != nil {
		t.Fatal(n, err)
	}
}

func TestTheRealDiskSaysItsSpace(t *testing.T) {
	dir := t.TempDir()
	s, err := OS().Space(dir)
	if err != nil || s.Total <= 0 || s.Free <= 0 || s.Free > s.Total {
		t.Fatal(s, err)
	}
	if _, err := OS().Space(dir + "/none"); err == nil {
		t.Fatal("there is no such folder")
	}
	before := time.Now().Add(-time.Minute)
	f, err := OS().Create(dir + "/a")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	entries, err := OS().List(dir)
	if err != nil || len(entries) != 1 || entries[0].ModTime.Before(before) {
		t.Fatal(entries, err)
	}
}
