package quorum

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"moldau.io/moldau/storage/vfs"
)

// TestRecoverMakesOneVoterOfWhatIsLeft: two of three voters are gone for good.
func TestRecoverMakesOneVoterOfWhatIsLeft(t *testing.T) {
	for _, snapshot := range []bool{false, true} {
		g := grown(t, 3)
		g.append("one")
		left := g.members[2]
		g.run(1)
		if snapshot {
			if err := left.snapshot(); err != nil {
				t.Fatal(err)
			}
		}
		g.append("two")
		g.run(2)
		was := left.log.Status()
		if err := left.log.Close(); err != nil {
			t.Fatal(err)
		}
		found, err := Inspect(left.disk, "data/quorum")
		if err != nil || found.Last != was.Last || found.Term != was.Term || found.ID != left.id || found.Node != left.node ||
			!slices.Equal(found.Members.Voters, was.Members.Voters) {
			t.Fatalf("%+v %v, want %+v", found, err, was)
		}
		const id = 1<<40 + 99
		r, err := Recover(left.disk, "data/quorum", id)
		if err != nil || r.Was.Last != was.Last {
			t.Fatalf("%+v %v", r, err)
		}
		if err := left.open(false); err != nil {
			t.Fatal(err)
		}
		g.members = []*member{left}
		g.append("three")
		g.same("one", "two", "three")
		if st := left.log.Status(); st.ID != id || !slices.Equal(st.Members.Voters, []uint64{id}) || st.Term <= was.Term+100 {
			t.Errorf("%+v", st)
		}
		if old, err := Inspect(left.disk, r.Copy); err != nil || old.ID != found.ID || old.Last != found.Last {
			t.Errorf("the copy: %+v %v", old, err)
		}
		// The others' messages are for somebody who is no more; new members come as ever.
		n := g.add(true)
		g.change(MemberChange{Promote: []uint64{n.id}})
		g.append("four")
		g.run(2)
		g.same("one", "two", "three", "four")
	}
}

// TestRecoverCanBeInterrupted loses the power before each operation of it and runs it again.
func TestRecoverCanBeInterrupted(t *testing.T) {
	g := grown(t, 3)
	g.append("one")
	left := g.members[1]
	g.run(1)
	if err := left.snapshot(); err != nil {
		t.Fatal(err)
	}
	g.append("two")
	g.run(2)
	if err := left.log.Close(); err != nil {
		t.Fatal(err)
	}
	whole := left.disk
	for n := 1; ; n++ {
		disk := whole.KillClone()
		ops := 0
		_, err := Recover(vfs.WithFaults(disk, func(vfs.Op) error {
			if ops++; ops >= n {
				return errors.New("no power")
			}
			return nil
		}), "data/quorum", 77)
		if err == nil {
			break
		}
		m := &member{node: left.node, disk: disk.CrashClone(rand.New(rand.NewPCG(1, uint64(n))), 50)}
		if _, err := Recover(m.disk, "data/quorum", 78); err != nil {
			t.Fatalf("operation %d, again: %v", n, err)
		}
		if err := m.open(false); err != nil {
			t.Fatalf("operation %d: %v", n, err)
		}
		if _, err := m.process(); err != nil || fmt.Sprint(m.lines) != "[one two]" || !m.ready.Leadership.Leading {
			t.Errorf("operation %d: %v %v %+v", n, err, m.lines, m.ready)
		}
	}
}

func TestAFolderThatWasNeverInAQuorumIsNotRecovered(t *testing.T) {
	m := &member{id: 1 << 33, node: 5, disk: vfs.NewMem()}
	if err := m.open(true); err != nil {
		t.Fatal(err)
	}
	if err := m.log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Recover(m.disk, "data/quorum", 7); !errors.Is(err, ErrNoQuorum) {
		t.Error(err)
	}
}
