package brokertest

import (
	"context"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker"
	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/storage/vfs"
)

// cable is how a broker of a cluster reaches the others.
type cable struct {
	sw      *link.Switch
	name    string
	port    *link.Port
	cluster string   // its cluster address, once it has one
	join    []string // cluster addresses of others
}

// readyTime bounds how long a broker of a cluster takes to come up.
const readyTime = 30 * time.Second

// StartCluster runs n brokers, with the ids 1 to n, that have joined each other, until the test ends. All of them are ready
// when it returns. Their data is in memory, each its own; Options.FS must be nil.
func StartCluster(t testing.TB, n int, o Options) []*Broker {
	t.Helper()
	sw := link.NewSwitch()
	var all []*Broker
	t.Cleanup(func() {
		sw.HealAll()
		for i := len(all) - 1; i >= 0; i-- { // the controller goes last
			if b := all[i]; b.stop != nil {
				b.Broker.Abandon()
				b.Stop()
			}
		}
	})
	for i := range n {
		all = append(all, join(t, sw, i+1, o, all))
	}
	want := 1
	switch {
	case n >= 7:
		want = 5
	case n >= 3:
		want = 3
	}
	for _, b := range all {
		b.AwaitVoters(want)
	}
	return all
}

// AwaitVoters waits until so many brokers vote in the metadata quorum, and this one knows.
func (b *Broker) AwaitVoters(want int) {
	b.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	for {
		st, err := b.Quorum(ctx)
		if err != nil {
			b.T.Fatalf("%d brokers do not vote: %v", want, err)
		}
		voters := 0
		for _, m := range st.Members {
			if m.Voter && m.Broker >= 0 {
				voters++
			}
		}
		if voters == want && b.Voters() == want {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// Join adds a broker to a cluster that StartCluster has made.
func Join(t testing.TB, cluster []*Broker, id int, o Options) *Broker {
	t.Helper()
	b := join(t, cluster[0].link.sw, id, o, cluster)
	t.Cleanup(func() {
		if b.stop != nil {
			b.Broker.Abandon()
			b.Stop()
		}
	})
	return b
}

func join(t testing.TB, sw *link.Switch, id int, o Options, others []*Broker) *Broker {
	t.Helper()
	o.FS = vfs.NewMem()
	if o.Dirs == nil {
		o.Dirs = []string{"data"}
	}
	b := &Broker{T: t, o: o, link: &cable{sw: sw, name: strconv.Itoa(id)}}
	for _, other := range others {
		b.link.join = append(b.link.join, other.link.cluster)
	}
	b.o.Settings = map[string]string{"node.id": b.link.name}
	for k, v := range o.Settings {
		b.o.Settings[k] = v
	}
	if id <= len(o.Racks) {
		b.o.Settings["broker.rack"] = o.Racks[id-1]
	}
	b.run()
	b.AwaitReady()
	return b
}

// plug fills in what a broker needs to know of its network.
func (c *cable) plug(cfg *broker.Config) {
	if c == nil {
		return
	}
	c.port = c.sw.Of(c.name)
	cfg.Network, cfg.NodeGiven, cfg.Join, cfg.ClusterListen = c.port, true, c.join, "127.0.0.1:0"
	if c.cluster != "" {
		cfg.ClusterListen = c.cluster
	}
}

// listen opens the Kafka listener. A broker of a cluster keeps its address over restarts.
func (b *Broker) listen(network link.Network) (net.Listener, error) {
	if b.link == nil {
		return net.Listen("tcp", "127.0.0.1:0")
	}
	b.link.cluster = b.ClusterAddress()
	addr := b.Addr
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	return network.Listen(b.T.Context(), addr)
}

// AwaitReady waits until the broker answers and the cluster counts on it.
func (b *Broker) AwaitReady() {
	b.T.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), readyTime)
	defer cancel()
	if err := b.Broker.AwaitReady(ctx); err != nil {
		b.T.Fatalf("broker %s is not ready: %v", b.link.name, err)
	}
}

// Switch cuts and heals the links of a cluster's brokers, whose names are their ids: "1", "2" and so on.
func (b *Broker) Switch() *link.Switch { return b.link.sw }

// Kill ends a broker of a cluster as kill -9 would: others are refused, it hands over nothing, and its disk is as it was at
// that moment. Restart brings it back.
func (b *Broker) Kill() {
	b.T.Helper()
	b.link.port.Kill()
	disk := b.o.FS.(*vfs.Mem).KillClone() // nothing that is written from now on has been promised to anybody
	b.Broker.Abandon()
	broken := b.o.Broken
	b.o.Broken = true
	b.Stop()
	b.o.Broken, b.o.FS = broken, disk
}

// Wipe empties the disk of a broker that does not run.
func (b *Broker) Wipe() { b.o.FS = vfs.NewMem() }

// AwaitMetadata asks the broker for its metadata until ok is content with it.
func (b *Broker) AwaitMetadata(what string, ok func(*kmsg.MetadataResponse) bool) *kmsg.MetadataResponse {
	b.T.Helper()
	var last *kmsg.MetadataResponse
	for deadline := time.Now().Add(readyTime); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		last = b.Dial().Do(At(12, kmsg.NewPtrMetadataRequest())).(*kmsg.MetadataResponse)
		if ok(last) {
			return last
		}
	}
	b.T.Fatalf("broker %s never answered with %s; at last: %+v", b.link.name, what, last)
	return nil
}
