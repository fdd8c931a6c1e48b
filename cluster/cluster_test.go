package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

func TestAKilledControllerIsFollowedByAnother(t *testing.T) {
	ms := newMachines(t, "a", "b", "c")
	nodes := ms.cluster()
	ms.vote(1, 2, 3)
	propose(t, nodes[1], create("before", 1))
	epoch := nodes[1].Image().Broker(1).Epoch
	ms.all[0].kill()
	start := time.Now()
	propose(t, nodes[1], create("after", 1))
	t.Logf("the next change was made %v after the death", time.Since(start))
	eventually(t, "the dead broker is fenced", func() bool { return nodes[2].Image().Broker(1).Fenced })
	t.Logf("fenced %v after the death", time.Since(start))
	im := same(t, nodes[1:]...)
	if im.Topic("before") == nil || im.Topic("after") == nil {
		t.Error("a topic is lost")
	}
	ms.all[0].start() // without --join
	if b := nodes[1].Image().Broker(1); b.Epoch <= epoch {
		t.Errorf("I-42: epoch %d follows epoch %d", b.Epoch, epoch)
	}
	if same(t, ms.all[0].node, nodes[1], nodes[2]).Topic("after") == nil {
		t.Error("the controller that came back does not know what happened")
	}
}

// TestI37_AChangeIsMadeOnce has changes made through followers while one controller after the other is killed: nobody is
// told that the topic that he has just made was there before, and nothing that was acknowledged is lost.
func TestI37_AChangeIsMadeOnce(t *testing.T) {
	ms := newMachines(t, "a", "b", "c", "d", "e")
	ms.cluster()
	ms.vote(1, 2, 3)
	maker := ms.all[4]
	var made []string
	var unclear int
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; i < 400 && !t.Failed(); i++ {
			name := fmt.Sprintf("t%03d", i)
			reply, err := maker.node.Propose(t.Context(), create(name, 1))
			if errors.Is(err, protocol.RequestTimedOut) {
				unclear++
				continue
			}
			if err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			if err := reply.(meta.CreateTopicsReply).Topics[0].Outcome.Err(); err != nil {
				t.Errorf("%s: %v", name, err)
				return
			}
			made = append(made, name)
		}
	}()
	for range 3 {
		var leader *machine
		eventually(t, "somebody leads", func() bool {
			leader = nil
			id := maker.node.Controller()
			for _, m := range ms.all[:4] {
				if m.id.NodeID == id && m.node.lead.Load().here {
					leader = m
				}
			}
			return leader != nil || id == maker.id.NodeID
		})
		if leader == nil {
			break // the maker leads itself
		}
		leader.kill()
		leader.start()
	}
	<-done
	im := maker.node.Image()
	for _, name := range made {
		if im.Topic(name) == nil {
			t.Errorf("%s was acknowledged and is not there", name)
		}
	}
	t.Logf("%d made, %d unclear", len(made), unclear)
}

// TestALostAnswerIsNotAskedForTwice loses the answer of a controller that goes on.
func TestALostAnswerIsNotAskedForTwice(t *testing.T) {
	ms := newMachines(t, "a", "b", "c")
	nodes := ms.cluster()
	ms.vote(1, 2, 3)
	ms.sw.CutOneWay("a", "b")
	result := make(chan error, 1)
	go func() {
		reply, err := nodes[1].Propose(t.Context(), create("once", 1))
		if err == nil {
			err = reply.(meta.CreateTopicsReply).Topics[0].Outcome.Err()
		}
		result <- err
	}()
	eventually(t, "the topic is there", func() bool { return nodes[2].Image().Topic("once") != nil })
	id := nodes[2].Image().Topic("once").ID
	ms.all[0].kill()
	if err := <-result; !errors.Is(err, protocol.RequestTimedOut) {
		t.Errorf("whoever made the topic was told: %v", err)
	}
	if got := nodes[1].Image().Topic("once"); got == nil || got.ID != id {
		t.Errorf("the topic is %v, and was made as %v", got, id)
	}
}

func TestAControllerThatIsCutOffChangesNothing(t *testing.T) {
	ms := newMachines(t, "a", "b", "c")
	nodes := ms.cluster()
	ms.vote(1, 2, 3)
	ms.sw.Isolate("a")
	if err := ms.all[0].propose(create("alone", 1)); err == nil {
		t.Error("one of three made a change alone")
	}
	propose(t, nodes[1], create("majority", 1))
	eventually(t, "the one that is cut off holds itself for fenced", nodes[0].Fenced)
	eventually(t, "the others fence it", func() bool { return nodes[2].Image().Broker(1).Fenced })
	ms.sw.HealAll()
	eventually(t, "it is back", func() bool { return !nodes[0].Fenced() })
	im := same(t, nodes...)
	if im.Topic("majority") == nil {
		t.Error("a change of the majority is lost")
	}
	if im.Topic("alone") != nil {
		t.Error("a change that was not acknowledged came back") // not wrong as such, but nobody can have taken it over
	}
}

func TestAWipedBrokerTakesItsIDBack(t *testing.T) {
	ms := newMachines(t, "a", "b", "c")
	nodes := ms.cluster()
	ms.vote(1, 2, 3)
	propose(t, nodes[0], create("before", 1))
	old := ms.all[2].id
	ms.all[2].kill()
	ms.all[2].wipe()
	ms.all[2].start(ms.all[0].addr) // the same command as at first
	if id := ms.all[2].id; id.NodeID != 3 || id.Quorum == old.Quorum {
		t.Errorf("it was %+v and is %+v", old, id)
	}
	ms.vote(1, 2, 3)
	eventually(t, "the old member is gone", func() bool {
		return !slices.ContainsFunc(ms.all[0].quorum().Members, func(m QuorumMember) bool { return m.Quorum == old.Quorum })
	})
	if same(t, nodes[0], nodes[1], ms.all[2].node).Topic("before") == nil {
		t.Error("it has not been sent what there is")
	}
}

func TestAnIDIsNotUsedTwice(t *testing.T) {
	ms := newMachines(t, "a", "b", "thief", "copy")
	a, b, thief, twin := ms.all[0], ms.all[1], ms.all[2], ms.all[3]
	a.id.NodeID = 1
	a.start()
	b.start(a.addr)
	thief.asked = 2
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := thief.try(ctx, a.addr); err == nil || !strings.Contains(err.Error(), b.addr) {
		t.Errorf("a second broker 2 was told: %v", err)
	}
	twin.fs, twin.id = b.fs.KillClone(), b.id // a copy of the folder on another machine
	if err := twin.try(ctx); !errors.Is(err, ErrIDInUse) || !strings.Contains(err.Error(), b.addr) {
		t.Errorf("a copy of broker 2 was told: %v", err)
	}
	if b.node.Fenced() || a.node.Image().Broker(2).Cluster != b.addr {
		t.Error("I-42: the rightful owner has lost its id")
	}
	b.kill()
	if err := thief.try(ctx, a.addr); err != nil || thief.id.NodeID != 2 { // a dead one may be replaced
		t.Errorf("the successor of broker 2 was told: %v", err)
	}
}

func TestBrokersOfAnotherClusterAreRefused(t *testing.T) {
	ms := newMachines(t, "a", "b", "c")
	a, b, c := ms.all[0], ms.all[1], ms.all[2]
	a.id.NodeID, b.id.NodeID = 1, 1
	a.start()
	b.start()
	addr := b.addr
	b.stop()
	if err := b.try(t.Context(), a.addr); !errors.Is(err, ErrOtherCluster) || !strings.Contains(err.Error(), a.id.ClusterID) ||
		!strings.Contains(err.Error(), b.id.ClusterID) {
		t.Errorf("a folder of another cluster: %v", err)
	}
	c.start(a.addr)
	c.stop()
	b.start()
	if b.addr != addr {
		t.Fatal(b.addr)
	}
	// An address that is wrong among right ones, or one that does not answer, does no harm to a member.
	c.start(b.addr, a.addr)
	c.stop()
	c.start("127.0.0.1:1")
}

func TestWhatIsWrongWithAnAddressIsSaid(t *testing.T) {
	sw := link.NewSwitch()
	listen := func(name string, key []byte) *Address {
		a, err := Listen(t.Context(), AddressConfig{Network: sw.Of(name), Listen: "127.0.0.1:0", Key: key})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = a.Close() })
		return a
	}
	member := listen("a", []byte("0123456789abcdef"))
	n, err := Start(t.Context(), Config{FS: vfs.NewMem(), Dir: "data", NodeID: 1, Address: member})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = n.Close() })
	f := func(key string, addr, want string, waits bool) {
		t.Helper()
		newcomer := listen("b"+key, []byte(key))
		if addr == "self" {
			addr = newcomer.String()
		}
		var mu sync.Mutex
		var said []string
		_, _, err := newcomer.Admit(t.Context(), JoinConfig{
			Addrs: []string{addr}, Asked: -1, Patience: 300 * time.Millisecond,
			Progress: func(s string) { mu.Lock(); said = append(said, s); mu.Unlock() },
		})
		if !errors.Is(err, ErrJoin) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", addr, err)
		}
		if (len(said) > 0) != waits {
			t.Errorf("%s: said %q", addr, said)
		}
	}
	f("0123456789abcdef", "127.0.0.1:1", "no broker listens there", true)
	f("fedcba9876543210", member.String(), "key", false)
	f("", member.String(), "key", false)
	f("0123456789abcdef", "self", "own address", false)
}

func TestAllStartAgainAtOnce(t *testing.T) {
	ms := newMachines(t, "a", "b", "c")
	nodes := ms.cluster()
	ms.vote(1, 2, 3)
	propose(t, nodes[0], create("before", 3))
	same(t, nodes...)
	for _, m := range ms.all {
		m.kill()
	}
	var wg sync.WaitGroup
	for _, m := range ms.all {
		wg.Go(func() { m.start() })
	}
	wg.Wait()
	propose(t, ms.all[1].node, create("after", 3))
	im := same(t, ms.all[0].node, ms.all[1].node, ms.all[2].node)
	if im.Topic("before") == nil || im.Topic("after") == nil || len(im.Brokers()) != 3 {
		t.Errorf("%d topics, %d brokers", len(im.Topics()), len(im.Brokers()))
	}
}

func TestI40_ANewMemberIsSentASnapshot(t *testing.T) {
	ms := newMachines(t, "a", "b")
	a, b := ms.all[0], ms.all[1]
	a.snapshotBytes, a.id.NodeID = 2000, 1
	a.start()
	for i := range 100 {
		propose(t, a.node, create(fmt.Sprint("t", i), 30))
	}
	if _, snapshot := a.node.r.log.Bytes(); snapshot == 0 { // nothing runs at the moment
		t.Fatal("there is no snapshot")
	}
	b.start(a.addr)
	if im := same(t, a.node, b.node); len(im.Topics()) != 100 {
		t.Errorf("%d topics", len(im.Topics()))
	}
	b.kill()
	b.start()
	same(t, a.node, b.node)
}

func TestADeadVoterIsReplaced(t *testing.T) {
	ms := newMachines(t, "a", "b", "c", "d")
	ms.cluster()
	ms.vote(1, 2, 3)
	ms.all[1].kill()
	ms.vote(1, 3, 4)
	ms.all[1].start() // comes back, and follows
	eventually(t, "all four are members", func() bool { return len(ms.all[0].quorum().Members) == 4 })
	ms.vote(1, 3, 4)
}

func TestAForgottenBrokerRegistersAgain(t *testing.T) {
	ms := newMachines(t, "a", "b")
	nodes := ms.cluster()
	before := nodes[1].BrokerEpoch()
	propose(t, nodes[0], meta.UnregisterBroker{ID: 2})
	eventually(t, "it is back", func() bool { return nodes[1].BrokerEpoch() > before && !nodes[1].Fenced() })
}

func TestABrokerThatStopsInOrderIsLetGo(t *testing.T) {
	ms := newMachines(t, "a", "b", "c")
	nodes := ms.cluster()
	ms.vote(1, 2, 3)
	for _, m := range []*machine{ms.all[2], ms.all[0]} { // one that follows, and the controller
		if err := m.node.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		id := m.id.NodeID
		m.stop()
		eventually(t, "it is fenced", func() bool { return nodes[1].Image().Broker(id).Fenced })
		if id == 3 {
			m.start()
			ms.vote(1, 2, 3)
		}
	}
	propose(t, nodes[1], create("after", 1))
}

// TestBrokersWithTheSameListFormOneCluster starts three brokers that know of each other and of no cluster.
func TestBrokersWithTheSameListFormOneCluster(t *testing.T) {
	sw := link.NewSwitch()
	var addrs []*Address
	var list []string
	for _, name := range []string{"a", "b", "c"} {
		a, err := Listen(t.Context(), AddressConfig{Network: sw.Of(name), Listen: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		addrs, list = append(addrs, a), append(list, a.String())
	}
	t.Cleanup(func() {
		for _, a := range addrs {
			_ = a.Close()
		}
	})
	sw.Isolate("a")
	short := JoinConfig{Addrs: list[1:], Asked: 1, Begin: 3, Patience: 100 * time.Millisecond}
	if _, _, err := addrs[0].Admit(t.Context(), short); !errors.Is(err, ErrJoin) {
		t.Fatalf("one that reaches nobody: %v", err) // the others may have a cluster already
	}
	sw.HealAll()
	ids := make(chan Identity, 2)
	for i := 1; i < 3; i++ {
		go func() {
			id, _, err := addrs[i].Admit(t.Context(), JoinConfig{Addrs: list, Asked: protocol.BrokerID(i + 1)})
			if err != nil {
				t.Error(err)
			}
			ids <- id
		}()
	}
	if _, _, err := addrs[0].Admit(t.Context(), JoinConfig{Addrs: list[1:], Asked: 1, Begin: 3}); !errors.Is(err, ErrBegin) {
		t.Fatalf("the first of three: %v", err)
	}
	n, err := Start(t.Context(), Config{FS: vfs.NewMem(), Dir: "data", NodeID: 1, Address: addrs[0]})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Abandon(); _ = n.Close() })
	for range 2 {
		if id := <-ids; id.ClusterID != n.Image().ClusterID() {
			t.Errorf("%+v is not in cluster %s", id, n.Image().ClusterID())
		}
	}
}
