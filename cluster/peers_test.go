package cluster

import (
	"slices"
	"testing"

	"moldau.io/moldau/cluster/meta"
)

// A member is tried where it is registered and where gossip says that it is, until it has said itself where it is.
func TestAMemberThatMovedIsTriedAtBothAddresses(t *testing.T) {
	p := newPeers()
	register := func(addr string) {
		im, err := meta.Empty().With(1, meta.BrokerRecord{Broker: meta.Broker{ID: 1, Quorum: 7, Cluster: addr}})
		if err != nil {
			t.Fatal(err)
		}
		p.register(im)
	}
	is := func(want ...string) {
		t.Helper()
		if got := p.addrs(7); !slices.Equal(got, want) {
			t.Errorf("%q instead of %q", got, want)
		}
	}
	is()
	p.hint(map[uint64]string{7: "new:1"})
	is("new:1")
	register("old:1")
	is("old:1", "new:1")
	p.hear(7, "new:1")
	is("new:1")
	register("other:1")
	is("other:1", "new:1")
	p.hint(map[uint64]string{7: "other:1"})
	is("other:1")
}
