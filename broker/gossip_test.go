package broker_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/cluster/gossip"
	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/protocol"
)

// TestI48_GossipIsAdvisory: members that pretend to be the brokers, started later and at other addresses, some of which are
// silent and some of which nobody has, and a broker that does not exist. Clients go on, brokers die and come back, and nothing
// that was acknowledged is lost.
func TestI48_GossipIsAdvisory(t *testing.T) {
	f := newFleet(t, 3, 3, brokertest.Options{})
	st, err := f.brokers[0].Quorum(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	cluster := f.brokers[0].NodeStatus().ClusterID
	lie := func(m gossip.Member) {
		l, err := link.Listen(t.Context(), link.Config{
			Network: f.brokers[0].Switch().Of("liar"), Addr: "127.0.0.1:0", ClusterID: func() string { return cluster },
		})
		if err != nil {
			t.Fatal(err)
		}
		m.ClusterID, m.Started = cluster, time.Now().Add(time.Hour)
		g, err := gossip.Start(gossip.Config{Link: l, Name: fmt.Sprint(m.ID), Meta: func() gossip.Member { return m }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			_ = g.Close()
			_ = l.Close()
		})
		for _, b := range f.brokers {
			if _, err := g.Join(t.Context(), b.ClusterAddress()); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i, m := range st.Members {
		addr := silent.Addr().String()
		if i == 1 {
			addr = "127.0.0.1:1"
		}
		lie(gossip.Member{ID: m.Broker, Quorum: m.Quorum, Addr: addr, Listeners: []string{"PLAINTEXT://127.0.0.1:1"}})
	}
	lie(gossip.Member{ID: 77, Quorum: 77, Addr: silent.Addr().String(), Listeners: []string{"PLAINTEXT://127.0.0.1:1"}})

	stop := f.load()
	f.more(100)
	for _, b := range f.brokers {
		b.Kill()
		f.more(100)
		b.Restart()
		b.AwaitReady()
		f.whole(b)
	}
	f.brokers[0].Switch().Isolate("2")
	f.more(50)
	f.brokers[0].Switch().HealAll()
	for _, b := range f.brokers {
		f.whole(b)
	}
	stop()
	f.verify()
	for _, b := range f.brokers[0].NodeStatus().Brokers {
		if protocol.BrokerID(b.ID) > 3 || b.Fenced {
			t.Errorf("%+v", b)
		}
	}
}
