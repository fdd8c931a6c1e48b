package storage

import (
	"path"
	"testing"

	"moldau.io/moldau/storage/vfs"
)

// TestTheMarkOfAnOrderlyEndSaysUnderWhichRegistration: a controller takes a broker for one that has lost nothing only if it ended in
// order under the registration that the controller knows, and copies of folders are older.
func TestTheMarkOfAnOrderlyEndSaysUnderWhichRegistration(t *testing.T) {
	m := vfs.NewMem()
	is := func(what string, s *Store, clean bool, epoch int64) {
		t.Helper()
		for _, d := range s.Dirs() {
			if d.Clean != clean || d.CleanEpoch != epoch {
				t.Errorf("%s: %v under %d, want %v under %d", what, d.Clean, d.CleanEpoch, clean, epoch)
			}
		}
	}
	s := openStore(t, m, "/data", options())
	is("a new folder", s, false, -1)
	closeStore(t, s)
	s = openStore(t, m, "/data", options())
	is("never registered", s, true, -1)
	s.SetBrokerEpoch(7)
	closeStore(t, s)
	s = openStore(t, m, "/data", options())
	is("registered", s, true, 7)
	closeStore(t, s)
	s = openStore(t, m, "/data", options())
	is("not registered this time", s, true, 7)
	s.SetBrokerEpoch(8)
	s.abandon()
	s = openStore(t, m, "/data", options())
	is("killed", s, false, -1)
	closeStore(t, s)
	for text, epoch := range map[string]int64{"": -1, "{": -1, `{"version":0}`: -1, `{"version":0,"brokerEpoch":12}`: 12} {
		if err := vfs.WriteFile(m, path.Join("/data", cleanFile), []byte(text)); err != nil {
			t.Fatal(err)
		}
		s = openStore(t, m, "/data", options())
		is(text, s, true, epoch)
		closeStore(t, s)
	}
}
