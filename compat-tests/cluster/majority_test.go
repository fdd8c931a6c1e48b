//go:build compat

package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.io/moldau/compat-tests/harness"
)

// TestAMajorityGoneForEver: two of three brokers are gone with their disks. The third acknowledges nothing, ends when it is told
// to, and goes on alone after `moldau cluster recover`; two empty brokers join it, and all that was acknowledged is there.
func TestAMajorityGoneForEver(t *testing.T) {
	t.Parallel()
	if harness.UnderTest() != harness.Moldau {
		t.Log("this is about a command of moldau")
		return
	}
	s := newStage(t, nil, harness.ClusterConfig{})
	s.topic("t", 6)
	s.open(s.franzWriter("once", "t", Idempotent, 6, 500), s.franzReader("reader", "t", 6))
	s.flowing()
	s.pause(time.Second)
	s.end(s.writers)
	s.writers = nil
	s.whole(3)

	left, gone := s.cluster.Brokers[1], []*harness.Broker{s.cluster.Brokers[0], s.cluster.Brokers[2]}
	for _, b := range gone {
		b.Kill(t)
		s.cluster.Wipe(t, b)
	}
	s.say("two of three are gone")
	cl, err := kgo.NewClient(kgo.SeedBrokers(left.Addr), kgo.DefaultProduceTopic("t"), kgo.RecordDeliveryTimeout(4*time.Second),
		kgo.ProduceRequestTimeout(time.Second), kgo.RetryTimeout(4*time.Second), kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.DisableIdempotentWrite())
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	alone := kgo.StringRecord(Value("alone", "t-0", 0))
	s.emit("alone", Sent, "t-0", -1, string(alone.Value)) // it may be there in the end
	if err := cl.ProduceSync(t.Context(), alone).FirstErr(); err == nil {
		t.Error("a record was acknowledged that one of three brokers has")
	} else {
		s.say("a record is not acknowledged: %v", err)
	}
	s.recoverAlone(left)
	left.Run(t)
	for _, b := range gone {
		b.Join(left)
		b.Run(t)
	}
	s.cluster.AwaitBrokers(t, 3)
	s.whole(3)
	s.open(s.franzWriter("after", "t", Idempotent, 6, 500))
	s.flowing()
	s.end(s.writers)
	final, ends := s.franzReader("final", "t", 6), s.ends("t")
	s.awaitRead(ends, "final")
	s.awaitRead(ends, "reader")
	s.end(append(s.readers, final))
	s.judge([]actor{final})
	s.replicas()
}

// recoverAlone stops a broker and makes it the only voter.
func (s *stage) recoverAlone(left *harness.Broker) {
	s.t.Helper()
	if r := harness.MoldauTool(s.t, "", "cluster", "recover", "--data", left.DataDir, "--yes"); r.Code == 0 ||
		!strings.Contains(r.Stderr, "in use") {
		s.t.Errorf("while the broker runs: exit code %d, %s%s", r.Code, r.Stdout, r.Stderr)
	}
	left.Stop(s.t)
	s.say("the third has ended")
	args := []string{"cluster", "recover", "--data", left.DataDir}
	harness.MoldauTool(s.t, "", append(args, "--dry-run")...).Want(s.t, "3 voters")
	if r := harness.MoldauTool(s.t, "n\n", args...); r.Code == 0 || !strings.Contains(r.Both(), "is lost") {
		s.t.Errorf("it did not ask: exit code %d, %s", r.Code, r.Both())
	}
	r := harness.MoldauTool(s.t, "", append(args, "--yes")...).Want(s.t, "only voter")
	s.say("%s", r.Stdout)
}
