//go:build compat

package cluster

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"moldau.io/moldau/compat-tests/harness"
)

// olderBuild is a commit of an earlier release's, whose brokers must work in a cluster with those of this tree.
const olderBuild = "8d0e3ae"

// older builds the program from olderBuild; "" where the repository's copy does not have it.
func older(t *testing.T) string {
	t.Helper()
	tree, bin := t.TempDir(), filepath.Join(t.TempDir(), "moldau")
	archive := filepath.Join(t.TempDir(), "tree.tar")
	git := exec.Command("git", "archive", "-o", archive, olderBuild)
	git.Dir = harness.Root()
	if out, err := git.CombinedOutput(); err != nil {
		t.Logf("the commit %s is not in this copy of the repository: %v: %s", olderBuild, err, out)
		return ""
	}
	harness.Run(t, patience, "", "tar", "-xf", archive, "-C", tree).Want(t)
	build := []string{"go", "build", "-trimpath", "-o", bin, "./cmd/moldau"}
	harness.RunIn(t, tree, []string{"CGO_ENABLED=0"}, 4*patience, "", build...).Want(t)
	if err := os.RemoveAll(tree); err != nil {
		t.Fatal(err)
	}
	return bin
}

// TestRollingUpgrade replaces the brokers of an earlier build one after the other, while everybody works, and then one of them
// with the earlier build again.
func TestRollingUpgrade(t *testing.T) {
	t.Parallel()
	if harness.UnderTest() != harness.Moldau {
		t.Log("there are earlier builds of moldau only")
		return
	}
	old := older(t)
	if old == "" {
		return
	}
	s := newStage(t, startJava(t), harness.ClusterConfig{Binary: old})
	s.load("t", 6)
	for i, b := range append(s.cluster.Brokers, s.cluster.Brokers[0]) {
		binary := harness.MoldauBinary(t)
		if i == 3 {
			binary = old
		}
		s.say("SIGTERM to %s, and start of %s", b.Addr, binary)
		b.Stop(t)
		b.Upgrade(binary)
		b.Run(t)
		s.whole(3)
		s.flowing()
	}
	s.calm()
	s.finish()
}
