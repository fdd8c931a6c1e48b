package storage

import (
	"errors"
	"path"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// scrubbed is a disk with two logs of the flip tests, closed in order.
func scrubbed(t *testing.T) *vfs.Mem {
	t.Helper()
	disk := vfs.NewMem()
	s, err := openIdle(disk, []string{"/data"}, testOptions(flipConfig()))
	if err != nil {
		t.Fatal(err)
	}
	for _, topic := range []string{"t", "u"} {
		l, err := s.Create(protocol.TopicPartition{Topic: topic}, protocol.TopicID{1}, flipConfig())
		if err != nil {
			t.Fatal(err)
		}
		fillLog(t, l)
	}
	closeStore(t, s)
	return disk
}

// scrubNow asks for a scrub and waits for its end.
func scrubNow(t *testing.T, s *Store) ScrubState {
	t.Helper()
	began := s.Scrub()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		if st := s.ScrubState(); !st.Running && st.Began.Equal(began.Began) {
			return st
		}
	}
	t.Fatalf("the scrub does not end: %+v", s.ScrubState())
	return ScrubState{}
}

// TestI30_AScrubFindsWhatNobodyReads flips bytes of every kind of file of one log: of the log file the scrub takes the
// partition offline, an index it makes anew. The other partition is not touched.
func TestI30_AScrubFindsWhatNobodyReads(t *testing.T) {
	f := func(name string, at int64, damaged bool) {
		t.Helper()
		disk := scrubbed(t)
		want := openPicture(t, disk.KillClone())
		flip(t, disk, path.Join("/data/t-0", name), at, 0x10)
		s := openStore(t, disk, "/data", testOptions(flipConfig()))
		defer closeIgnoring(s)
		st := scrubNow(t, s)
		bad := s.Damaged()
		if damaged != (len(bad) == 1) || damaged == (st.Mended > 0 || strings.HasSuffix(name, segment.TxnSuffix)) || st.Unread > 0 {
			t.Fatalf("%s, byte %d: %+v, damaged %v", name, at, st, bad)
		}
		if damaged {
			err := bad[0].Err
			for _, says := range []string{name, "byte", "offset", "moldau log repair"} {
				if bad[0].Partition != tp0 || !strings.Contains(err.Error(), says) ||
					protocol.CodeOf(err) != protocol.KafkaStorageError {
					t.Errorf("%s: %v does not say %q", name, err, says)
				}
			}
		} else if got, err := takePicture(mustLog(t, s, tp0)); err != nil || got.compare(want) != nil {
			t.Errorf("%s: %v, %v", name, err, got.compare(want))
		}
		other := mustLog(t, s, protocol.TopicPartition{Topic: "u"})
		if got, err := takePicture(other); err != nil || got.compare(want) != nil {
			t.Errorf("the other partition: %v, %v", err, got.compare(want))
		}
		if damaged {
			return
		}
		again := scrubNow(t, s) // what was mended is right on the disk, too
		if again.Mended != 0 || again.Bytes != st.Bytes || again.Of != again.Bytes {
			t.Errorf("%s: once more: %+v", name, again)
		}
	}
	f("00000000000000000000.log", 300, true)
	f("00000000000000000013.log", 4, true)
	f("00000000000000000022.log", 200, true)
	f("00000000000000000000.index", 3, false)
	f("00000000000000000013.index", 7, false)
	f("00000000000000000000.timeindex", 20, false)
	f("00000000000000000000.timeindex", 4, false)
	f("00000000000000000013.txnindex", 12, false)
}

func closeIgnoring(s *Store) { _ = s.Close() }

func openPicture(t *testing.T, disk vfs.FS) picture {
	t.Helper()
	s, err := openIdle(disk, []string{"/data"}, testOptions(flipConfig()))
	if err != nil {
		t.Fatal(err)
	}
	defer s.unlock()
	p, err := takePicture(mustLog(t, s, tp0))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestTheScrubGoesOnWhereItWas ends a round after each segment: every closed segment is read once, and not again before
// its time.
func TestTheScrubGoesOnWhereItWas(t *testing.T) {
	disk := scrubbed(t)
	now := testNow
	var s *Store
	var opened int // log files, since the round went on
	reads := map[string]int{}
	round := func(segments int) error {
		t.Helper()
		during := false
		fs := vfs.WithFaults(disk, func(op vfs.Op) error {
			if !during || !strings.HasSuffix(op.Name, segment.LogSuffix) {
				return nil
			}
			switch op.Kind {
			case "ReadAt":
				reads[path.Base(path.Dir(op.Name))+"/"+path.Base(op.Name)]++
			case "Open":
				if opened++; opened > segments { // what a store does that is being closed
					tuning := s.Tuning()
					tuning.ScrubBytesPerSecond = 0
					s.Tune(tuning)
				}
			}
			return nil
		})
		o := testOptions(flipConfig())
		o.Now = func() time.Time { return now }
		var err error
		if s, err = openIdle(fs, []string{"/data"}, o); err != nil {
			t.Fatal(err)
		}
		defer closeStore(t, s)
		opened, during = 0, true
		defer func() { during = false }()
		return s.scrubDir(s.dirs[0])
	}
	parts := 1
	for ; parts < 10; parts++ {
		if err := round(1); err == nil {
			break
		} else if !errors.Is(err, errScrubEnds) {
			t.Fatal(err)
		}
	}
	if parts != 4 || len(reads) != 4 {
		t.Fatalf("%d parts, read %v", parts, reads)
	}
	for name, n := range reads {
		if n != 1 && !strings.Contains(name, "13.log") { // that one has aborted transactions, which are read again
			t.Errorf("%s was read %d times", name, n)
		}
	}
	clear(reads)
	if err := round(100); err != nil || len(reads) != 0 {
		t.Fatalf("again, too soon: %v, %v", err, reads)
	}
	now = now.Add(scrubInterval)
	if err := round(100); err != nil || len(reads) != 4 {
		t.Fatalf("again, when it is time: %v, %v", err, reads)
	}
}
