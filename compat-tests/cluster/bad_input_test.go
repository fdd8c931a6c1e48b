//go:build compat

package cluster

import (
	"crypto/rand"
	"encoding/base64"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"moldau.io/moldau/compat-tests/harness"
)

// newcomer is a moldau serve that may be refused.
type newcomer struct {
	*harness.Process
	kafka, cluster string
}

// newcomer starts one with a folder and ports of its own.
func startNewcomer(t *testing.T, data string, args ...string) *newcomer {
	t.Helper()
	n := &newcomer{kafka: harness.SteadyAddr(t), cluster: harness.SteadyAddr(t)}
	n.Process = harness.Spawn(t, nil, append([]string{harness.MoldauBinary(t), "serve", "--data", data, "--listen", n.kafka,
		"--cluster-listen", n.cluster, "--admin-listen", ""}, args...)...)
	return n
}

// refused wants the newcomer to end with an error in which all of these are.
func (n *newcomer) refused(t *testing.T, limit time.Duration, says ...string) {
	t.Helper()
	if code := n.Wait(t, limit); code == 0 || code > 3 {
		t.Errorf("exit code %d\n%s", code, n.Stderr())
	}
	for _, s := range says {
		if !strings.Contains(n.Stderr(), s) {
			t.Errorf("it does not say %q:\n%s", s, harness.Tail(n.Stderr(), 20))
		}
	}
}

func newKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key)
	return base64.StdEncoding.EncodeToString(key)
}

// TestBadInput is what an operator may do wrong: each is told in words, ends the process that is wrong, and does nothing to the
// cluster that is there.
func TestBadInput(t *testing.T) {
	t.Parallel()
	if harness.UnderTest() != harness.Moldau {
		t.Log("these are moldau's own commands")
		return
	}
	key := newKey()
	c := harness.StartCluster(t, harness.ClusterConfig{Properties: map[string]string{"moldau.gossip.key": key}})
	member := c.Brokers[1]
	withKey := "moldau.gossip.key=" + key
	t.Run("cases", func(t *testing.T) {
		for _, bad := range []struct {
			name string
			test func(t *testing.T)
		}{
			{"NobodyThere", func(t *testing.T) {
				n := startNewcomer(t, t.TempDir(), "--join", harness.SteadyAddr(t))
				n.AwaitErr(t, patience, "it says that it waits", func(s string) bool { return strings.Contains(s, "waiting to join") })
				n.refused(t, 2*patience, "no member has answered", "--join")
			}},
			{"NobodyThereYet", nobodyYet},
			{"OtherKey", func(t *testing.T) {
				startNewcomer(t, t.TempDir(), "--join", member.ClusterAddr(), "--set", "moldau.gossip.key="+newKey()).
					refused(t, patience, member.ClusterAddr(), "key")
			}},
			{"NoKey", func(t *testing.T) {
				startNewcomer(t, t.TempDir(), "--join", member.ClusterAddr()).refused(t, patience, member.ClusterAddr(), "key")
			}},
			{"KeyThatIsNone", func(t *testing.T) {
				startNewcomer(t, t.TempDir(), "--join", member.ClusterAddr(), "--set", "moldau.gossip.key=short").
					refused(t, patience, "moldau.gossip.key")
			}},
			{"NoClusterAddress", func(t *testing.T) {
				startNewcomer(t, t.TempDir(), "--join", member.Addr, "--set", withKey).refused(t, patience, member.Addr)
			}},
			{"AdminAddress", func(t *testing.T) {
				startNewcomer(t, t.TempDir(), "--join", member.AdminAddr(), "--set", withKey).refused(t, patience, member.AdminAddr())
			}},
			{"SameID", func(t *testing.T) {
				startNewcomer(t, t.TempDir(), "--join", member.ClusterAddr(), "--set", withKey, "--node-id", "1").
					refused(t, patience, "broker 1", c.Brokers[0].ClusterAddr())
			}},
			{"OtherCluster", func(t *testing.T) { otherCluster(t, member.ClusterAddr(), withKey) }},
			{"TooManyReplicas", func(t *testing.T) { tooManyReplicas(t, c) }},
		} {
			t.Run(bad.name, func(t *testing.T) {
				t.Parallel()
				bad.test(t)
			})
		}
	})
	c.AwaitBrokers(t, 3)
}

// nobodyYet starts the second broker before the first, which is no mistake.
func nobodyYet(t *testing.T) {
	first := harness.SteadyAddr(t)
	second := startNewcomer(t, t.TempDir(), "--join", first)
	second.AwaitErr(t, patience, "it says that it waits", func(s string) bool { return strings.Contains(s, "waiting to join") })
	harness.Spawn(t, nil, harness.MoldauBinary(t), "serve", "--data", t.TempDir(), "--listen", harness.SteadyAddr(t),
		"--cluster-listen", first, "--admin-listen", "")
	awaitMembers(t, second.kafka, 2)
}

// awaitMembers waits until the broker at addr names n brokers.
func awaitMembers(t *testing.T, addr string, n int) {
	t.Helper()
	b := &harness.Broker{Addr: addr}
	missing := until(patience, func() string {
		resp, err := b.Metadata(t.Context(), harness.AnswerLimit)
		if err != nil {
			return err.Error()
		}
		if len(resp.Brokers) != n {
			return "brokers"
		}
		return ""
	})
	if missing != "" {
		t.Fatalf("%s does not know %d brokers: %s", addr, n, missing)
	}
}

// otherCluster joins with the folder of a broker that has a cluster already. The folder is left as it is.
func otherCluster(t *testing.T, member, key string) {
	data := t.TempDir()
	first := startNewcomer(t, data)
	awaitMembers(t, first.kafka, 1)
	first.Signal(t, os.Interrupt)
	if code := first.Wait(t, patience); code != 0 {
		t.Fatalf("exit code %d", code)
	}
	startNewcomer(t, data, "--join", member, "--set", key).refused(t, patience, "cluster")
	awaitMembers(t, startNewcomer(t, data).kafka, 1)
}

func tooManyReplicas(t *testing.T, c *harness.Cluster) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(c.Addrs()...))
	if err != nil {
		t.Fatal(err)
	}
	defer cl.Close()
	resp, err := kadm.NewClient(cl).CreateTopic(t.Context(), 1, 4, nil, "toomany")
	if !errors.Is(err, kerr.InvalidReplicationFactor) || !strings.Contains(resp.ErrMessage, "4") ||
		!strings.Contains(resp.ErrMessage, "3") {
		t.Errorf("%v: %q", err, resp.ErrMessage)
	}
	all, err := kadm.NewClient(cl).ListTopics(t.Context())
	if err != nil || all.Has("toomany") {
		t.Errorf("the topic is there: %v", err)
	}
}
