//go:build compat

package cluster

import (
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// replicas compares the folders of all brokers, byte for byte. A follower may be a moment behind.
func (s *stage) replicas() {
	s.t.Helper()
	args := []string{"log", "verify", "--replicas"}
	for _, b := range s.cluster.Brokers {
		args = append(args, b.DataDir)
	}
	var r harness.Result
	missing := until(20*time.Second, func() string {
		r = harness.MoldauTool(s.t, "", args...)
		if r.Code != 0 {
			return harness.Tail(r.Stdout, 40) + "\n" + r.Stderr
		}
		return ""
	})
	if missing != "" {
		s.t.Errorf("the replicas are not equal:\n%s", missing)
	}
	s.say("%s", harness.Tail(r.Stdout, 1))
}
