package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fleet is brokers of one cluster, each a process of its own, with the ids from 1.
type fleet struct {
	*shell
	brokers []*served
	dirs    []string
	ports   []int // cluster addresses
	args    []string
}

func newFleet(t *testing.T, n int, args ...string) *fleet {
	t.Helper()
	f := &fleet{shell: &shell{T: t}, args: args}
	for range n {
		f.add()
	}
	f.bootstrap = f.brokers[0].kafka
	return f
}

// add starts one more broker.
func (f *fleet) add() {
	f.Helper()
	f.dirs, f.ports, f.brokers = append(f.dirs, f.TempDir()), append(f.ports, freePort(f.T)), append(f.brokers, nil)
	f.run(len(f.brokers))
}

// run starts a broker on the folder that it had.
func (f *fleet) run(id int, more ...string) {
	f.Helper()
	args := append([]string{"--node-id", strconv.Itoa(id), "--cluster-listen", fmt.Sprint("127.0.0.1:", f.ports[id-1]),
		"--set", "offsets.topic.num.partitions=3", "--set", "offsets.topic.replication.factor=2"}, f.args...)
	if id > 1 || len(more) > 0 {
		args = append(args, "--join", fmt.Sprint("127.0.0.1:", f.ports[id%2]))
	}
	f.brokers[id-1] = start(f.T, f.dirs[id-1], nil, args...)
}

// freePort is below those that the kernel gives to clients.
func freePort(t *testing.T) int {
	t.Helper()
	for port := 21400 + os.Getpid()%50; port < 21500; port++ {
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		_ = l.Close()
		if _, taken := takenPorts[port]; !taken {
			takenPorts[port] = t.Name()
			return port
		}
	}
	t.Fatal("no free port from 21400 to 21499")
	return 0
}

// takenPorts is who has them in this run.
var takenPorts = map[int]string{}

// until looks at the cluster until it is as wanted.
func (f *fleet) until(what string, ok func(*clusterView) bool) *clusterView {
	f.Helper()
	for deadline := time.Now().Add(testTime); ; {
		var v clusterView
		f.object(&v, "cluster", "status", "--admin", f.brokers[0].admin)
		if ok(&v) {
			return &v
		}
		if time.Now().After(deadline) {
			f.Fatalf("the cluster never had %s; at last: %+v", what, v)
		}
	}
}

func TestAClusterIsShownDrainedBalancedAndShrunk(t *testing.T) {
	f := newFleet(t, 3, "--rack", "r1")
	admin := []string{"--admin", f.brokers[0].admin}
	f.do("topic", "create", "rides", "-p", "9", "-r", "2")
	f.until("three voters and all replicas in sync", func(v *clusterView) bool {
		voters := 0
		for _, b := range v.Brokers {
			if b.Voter && b.State == "alive" && b.Rack == "r1" && b.Version != "" && b.FreeBytes > 0 {
				voters++
			}
		}
		return voters == 3 && v.Partitions == 9 && v.Replicas == 18 && len(v.Under) == 0 && v.Moving == 0 && v.Controller > 0
	})
	if out := f.do(append([]string{"cluster", "status"}, admin...)...); !strings.Contains(out, "3 of 3 brokers alive, 3 voters") ||
		!strings.Contains(out, "controller") || !strings.Contains(out, f.brokers[2].kafka) {
		t.Errorf("it shows\n%s", out)
	}
	f.fails(2, []string{"cluster", "drain", "x"}, "no broker's id")
	f.fails(1, append([]string{"cluster", "drain", "9"}, admin...), "no broker 9", "1,2,3")
	f.fails(1, []string{"cluster", "drain", "3", "--admin", "127.0.0.1:1"}, "--admin-listen")
	f.fails(1, []string{"cluster", "remove", "3"}, "moldau cluster drain 3")

	var drained drainedView
	f.object(&drained, append([]string{"cluster", "drain", "3"}, admin...)...)
	if drained != (drainedView{Broker: 3, Draining: true}) {
		t.Errorf("%+v", drained)
	}
	f.until("broker 3 drained and empty", func(v *clusterView) bool {
		return v.Brokers[2].State == "draining" && v.Brokers[2].Replicas == 0 && len(v.Under) == 0
	})
	if plan := f.do(append([]string{"cluster", "rebalance", "--dry-run"}, admin...)...); strings.Contains(plan, "3,") {
		t.Errorf("a drained broker is given something:\n%s", plan)
	}
	if out := f.do(append([]string{"cluster", "drain", "3", "--undo"}, admin...)...); !strings.Contains(out, "may have partitions again") {
		t.Errorf("it says %s", out)
	}

	code, out, errs := f.try("no\n", append([]string{"cluster", "rebalance"}, admin...)...)
	if code != 1 || !strings.Contains(out, "partitions, ") || !strings.Contains(errs, "nothing was moved") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
	var plan planView
	f.object(&plan, append([]string{"cluster", "rebalance", "--yes", "--throttle", "10MiB"}, admin...)...)
	if !plan.Done || len(plan.Moves) < 6 {
		t.Errorf("%+v", plan)
	}
	f.until("six replicas and three leaders on each", func(v *clusterView) bool {
		for _, b := range v.Brokers {
			if b.Replicas != 6 || b.Leaders != 3 {
				return false
			}
		}
		return true
	})
	if out := f.do(append([]string{"cluster", "rebalance"}, admin...)...); !strings.Contains(out, "as evenly as they can be") {
		t.Errorf("once more: %s", out)
	}

	f.do(append([]string{"cluster", "drain", "3"}, admin...)...)
	f.fails(1, []string{"cluster", "remove", "3"}, "stop it first")
	f.brokers[2].stop()
	f.until("broker 3 down", func(v *clusterView) bool { return v.Brokers[2].State == "down" })
	f.do("cluster", "remove", "3")
	f.until("two brokers", func(v *clusterView) bool { return len(v.Brokers) == 2 && v.Partitions == 9 })
}

func TestAReplicaThatNobodyCanTakeStays(t *testing.T) {
	f := newFleet(t, 2)
	f.do("topic", "create", "rides", "-p", "4", "-r", "2")
	f.until("all in sync", func(v *clusterView) bool { return v.Partitions == 4 && len(v.Under) == 0 })
	code, out, errs := f.try("", "cluster", "drain", "2", "--admin", f.brokers[0].admin)
	if code != 1 || !strings.Contains(out, "leads nothing and keeps 4 replicas") || !strings.Contains(errs, "no other broker: add one") {
		t.Errorf("%d: %s%s", code, out, errs)
	}
}

func TestRecover(t *testing.T) {
	f := newFleet(t, 3)
	f.do("topic", "create", "rides", "-r", "3")
	f.until("three voters", func(v *clusterView) bool {
		return v.Brokers[0].Voter && len(v.Brokers) == 3 && v.Brokers[1].Voter && v.Brokers[2].Voter
	})
	f.fails(3, []string{"cluster", "recover", "--data", f.dirs[0], "--yes"}, "in use")
	for _, b := range f.brokers {
		b.kill()
	}
	f.fails(3, []string{"cluster", "recover", "--data", t.TempDir(), "--yes"}, "holds no metadata")
	var v recoveredView
	f.object(&v, "cluster", "recover", "--data", f.dirs[0], "--dry-run")
	if v.Recovered || v.Voters != 3 || v.Last < 1 {
		t.Errorf("%+v", v)
	}
	code, _, errs := f.try("no\n", "cluster", "recover", "--data", f.dirs[0])
	if code != 1 || !strings.Contains(errs, "is lost") || !strings.Contains(errs, "nothing was changed") {
		t.Errorf("%d: %s", code, errs)
	}
	code, out, errs := f.try("yes\n", "cluster", "recover", "--data", f.dirs[0])
	if code != 0 || !strings.Contains(out, "only voter now") {
		t.Fatalf("%d: %s%s", code, out, errs)
	}
	f.run(1)
	f.bootstrap = f.brokers[0].kafka
	f.until("broker 1 in control", func(v *clusterView) bool { return v.Brokers[0].Controller && v.Partitions == 1 })
	if err := os.RemoveAll(filepath.Join(f.dirs[1], "quorum")); err != nil {
		t.Fatal(err)
	}
	f.run(2)
	f.until("broker 2 back", func(v *clusterView) bool { return v.Brokers[1].State == "alive" })
}
