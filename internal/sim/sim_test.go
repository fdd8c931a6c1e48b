package sim

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/storage/vfs"
)

var flags = NewFlags(200, 5*time.Second)

func TestEventsHappenInTheOrderOfTime(t *testing.T) {
	s := New(1, false)
	var got []int
	for _, n := range []int{3, 1, 2} {
		s.After(time.Duration(n)*time.Second, "e", func() { got = append(got, n) })
	}
	s.After(2*time.Second, "stopped", func() { got = append(got, 99) }).Stop()
	s.Run(2500 * time.Millisecond)
	if fmt.Sprint(got) != "[1 2]" || s.Elapsed() != 2500*time.Millisecond {
		t.Errorf("%v after %v", got, s.Elapsed())
	}
	s.Run(time.Second)
	if fmt.Sprint(got) != "[1 2 3]" {
		t.Errorf("%v", got)
	}
}

// TestOneMomentHasManyOrders: what happens at once happens in another order with another seed, and in the same one with the
// same seed.
func TestOneMomentHasManyOrders(t *testing.T) {
	order := func(seed uint64) (string, uint64) {
		s := New(seed, false)
		var b strings.Builder
		for n := range 5 {
			s.After(time.Second, fmt.Sprint(n), func() { fmt.Fprint(&b, n) })
		}
		s.Run(2 * time.Second)
		return b.String(), s.Hash()
	}
	seen := map[string]bool{}
	for seed := range uint64(40) {
		a, hash := order(seed)
		if b, again := order(seed); a != b || hash != again {
			t.Errorf("seed %d: %s, then %s", seed, a, b)
		}
		seen[a] = true
	}
	if len(seen) < 20 {
		t.Errorf("40 seeds have %d orders", len(seen))
	}
}

func TestDrawsForOnePurposeDoNotShiftAnothers(t *testing.T) {
	a, b := New(7, false), New(7, false)
	b.Rand("another").Uint64()
	if a.Rand("one").Uint64() != b.Rand("one").Uint64() {
		t.Error("a draw for another purpose changed what is drawn")
	}
	if a.Rand("one").Uint64() == a.Rand("another").Uint64() {
		t.Error("two purposes draw the same")
	}
}

func network(seed uint64) (*Sim, *Net) {
	s := New(seed, false)
	n := NewNet(s, NetConfig{DelayMin: time.Millisecond, DelayMax: 50 * time.Millisecond, Notice: 100 * time.Millisecond})
	for node := range 3 {
		n.Up(node)
	}
	return s, n
}

// TestAConnectionKeepsItsOrder: and two connections do not keep one among each other.
func TestAConnectionKeepsItsOrder(t *testing.T) {
	overtaken := false
	for seed := range uint64(30) {
		s, n := network(seed)
		var got []int
		old, young := n.Dial(0, 1, nil), n.Dial(0, 1, nil)
		for i := range 5 {
			old.Send(0, "m", func() { got = append(got, i) })
		}
		old.Close(0)
		for i := range 5 {
			young.Send(0, "m", func() { got = append(got, 10+i) })
		}
		s.Run(time.Second)
		var first, second []int
		for _, x := range got {
			if x < 10 {
				first = append(first, x)
			} else {
				second = append(second, x)
			}
		}
		if len(got) != 10 || !slices.IsSorted(first) || !slices.IsSorted(second) {
			t.Fatalf("seed %d: %v", seed, got)
		}
		overtaken = overtaken || !slices.IsSorted(got)
	}
	if !overtaken {
		t.Error("nothing that was sent on an old connection came after what was sent on a new one")
	}
}

func TestACutHoldsUpAndHealsLater(t *testing.T) {
	s, n := network(1)
	var got []string
	c := n.Dial(0, 1, func() { got = append(got, "broken") })
	n.Cut(0, 1)
	c.Send(0, "a", func() { got = append(got, "a") })
	c.Send(0, "b", func() { got = append(got, "b") })
	c.Send(1, "back", func() { got = append(got, "back") })
	s.Run(time.Minute)
	if fmt.Sprint(got) != "[back]" {
		t.Errorf("one direction is cut: %v", got)
	}
	n.Heal()
	c.Send(0, "c", func() { got = append(got, "c") })
	s.Run(time.Second)
	if fmt.Sprint(got) != "[back a b c]" {
		t.Errorf("healed: %v", got)
	}
}

func TestANodesEndIsNoticedUnlessItIsCutOff(t *testing.T) {
	for _, cut := range []bool{false, true} {
		s, n := network(1)
		broken, arrived := 0, 0
		c := n.Dial(0, 1, func() { broken++ })
		c.Send(0, "m", func() { arrived++ })
		if cut {
			n.Cut(1, 0)
		}
		n.Down(1)
		n.Up(1)
		s.Run(time.Second)
		if arrived != 0 {
			t.Error("a message to the process before arrived at the one after")
		}
		if want := map[bool]int{false: 1, true: 0}[cut]; broken != want {
			t.Errorf("cut %v: told %d times", cut, broken)
		}
		n.Down(2)
		n.Dial(0, 2, func() { broken += 10 })
		s.Run(time.Second)
		if broken < 10 {
			t.Error("a connection to a node that is down is not refused")
		}
	}
}

func TestDisksLoseWhatWasNotSynced(t *testing.T) {
	d := NewDisk(New(1, false), "0")
	write := func(name string, sync bool) {
		f, err := d.FS().Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt([]byte("x"), 0); err != nil {
			t.Fatal(err)
		}
		if sync {
			if err := f.Sync(); err != nil {
				t.Fatal(err)
			}
			if err := d.FS().SyncDir("/"); err != nil {
				t.Fatal(err)
			}
		}
		_ = f.Close()
	}
	there := func(name string) bool {
		b, err := vfs.ReadFile(d.FS(), name, 10)
		return err == nil && string(b) == "x"
	}
	write("/kept", true)
	write("/lost", false)
	d.Kill()
	if !there("/kept") || !there("/lost") {
		t.Error("a kill took something")
	}
	d.PowerCut(0)
	if !there("/kept") || there("/lost") {
		t.Errorf("after a power cut: synced %v, not synced %v", there("/kept"), there("/lost"))
	}
	d.Lose()
	if there("/kept") {
		t.Error("a lost disk has something")
	}
}

// TestRunFindsAndPrints is the way of a failure to who reads it, and of a seed that is not one history.
func TestRunFindsAndPrints(t *testing.T) {
	flags.Run(t, func(s *Sim) {
		s.After(time.Second, "once", func() { s.Mark("it happened") })
		s.Run(2 * time.Second)
	}, "it happened")
	r := runner{marks: map[string]int{}, play: func(s *Sim) {
		s.After(time.Second, "late", func() {
			if s.Note("about to fail"); s.Seed() == 3 {
				s.Fail("seed three")
			}
		})
		s.Run(2 * time.Second)
	}}
	if text := r.one(2); text != "" {
		t.Error(text)
	}
	for _, want := range []string{"seed three", "-sim.seed=3", "about to fail", "after 1 steps, at 1s"} {
		if text := r.one(3); !strings.Contains(text, want) {
			t.Errorf("%q is not in %s", want, text)
		}
	}
	other := int64(0)
	r.play = func(s *Sim) { other++; s.Trace("not the same", other) }
	if text := r.one(50); !strings.Contains(text, "two histories") {
		t.Errorf("a seed that is two histories: %q", text)
	}
	seed, err, found := Find(10, func(s *Sim) {
		if s.Seed() == 4 {
			panic("planted")
		}
	})
	if seed != 4 || !found || !strings.Contains(err.Error(), "planted") {
		t.Errorf("found %v at seed %d: %v", found, seed, err)
	}
}

func TestSwarmSwitchesKindsOff(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(40) {
		on := Swarm(New(seed, false).Rand("swarm"), "a", "b")
		seen[fmt.Sprint(on["a"], on["b"])]++
	}
	if len(seen) != 4 {
		t.Errorf("%v", seen)
	}
}
