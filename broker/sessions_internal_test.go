package broker

import (
	"container/list"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
)

func sized(n int, follower bool) *session {
	s := &session{follower: follower, parts: map[partKey]*list.Element{}, order: list.New()}
	for i := range n {
		s.put(sessionPart{key: partKey{topic: "t", partition: int32(i)}})
	}
	return s
}

func TestRule067_WhoIsPushedOutOfTheSessionCache(t *testing.T) {
	start := time.Now()
	late := start.Add(sessionIdle + time.Second)
	for _, c := range []struct {
		what          string
		have, come    *session
		used, at      time.Time
		wantIn, stays bool
	}{
		{"a young one stays, however small", sized(1, false), sized(9, false), start, start, false, true},
		{"an idle one goes", sized(9, false), sized(1, false), start, late, true, false},
		{"an old one goes for a larger", sized(2, false), sized(3, false), late, late, true, false},
		{"an old one stays against its equal", sized(3, false), sized(3, false), late, late, false, true},
		{"an old one stays against a smaller", sized(4, false), sized(3, false), late, late, false, true},
		{"a follower pushes out a young consumer", sized(9, false), sized(1, true), start, start, true, false},
		{"a consumer does not push out an old follower", sized(1, true), sized(9, false), late, late, false, true},
	} {
		ss := newSessions(1)
		if !ss.begin(c.have, start) {
			t.Fatal("no room in an empty cache")
		}
		ss.touch(c.have, c.used, len(c.have.parts))
		if got := ss.begin(c.come, c.at); got != c.wantIn {
			t.Errorf("%s: let in %v", c.what, got)
		}
		if got := ss.get(c.have.id) != nil; got != c.stays {
			t.Errorf("%s: the one before is there: %v", c.what, got)
		}
		want := len(c.have.parts)
		if c.wantIn {
			want = len(c.come.parts)
		}
		if sessions, parts, _ := ss.counts(); parts != want || sessions != 1 {
			t.Errorf("%s: %d sessions with %d partitions, want 1 with %d", c.what, sessions, parts, want)
		}
	}
}

func TestRule068_AfterTheLastEpochComes1(t *testing.T) {
	for e, want := range map[int32]int32{0: 1, 1: 2, 1<<31 - 2: 1<<31 - 1, 1<<31 - 1: 1} {
		if got := nextSessionEpoch(e); got != want {
			t.Errorf("after %d comes %d, want %d", e, got, want)
		}
	}
}

func TestTheHandlersAreThoseOfTheTable(t *testing.T) {
	for _, a := range protocol.APIs() {
		if handlers[a.Key] == nil {
			t.Errorf("%s is announced and has no handler", a.Name)
		}
	}
	if len(handlers) != len(protocol.APIs()) {
		t.Errorf("%d handlers for %d APIs", len(handlers), len(protocol.APIs()))
	}
}

func TestTheBudgetLetsInInTurn(t *testing.T) {
	b := newBudget(100)
	gone := make(chan struct{})
	var held [5]share
	at := func(i int, large int64) {
		t.Helper()
		if waited, err := b.reserve(&held[i], large, gone); waited || err != nil {
			t.Fatalf("%d had to wait: %v", i, err)
		}
	}
	if b.wait(gone) != nil {
		t.Fatal("there is room")
	}
	at(0, 60)
	at(1, 50) // the elder, as nobody else is over the limit
	got := make(chan int, 3)
	enter := func(i int, large int64) {
		before := b.waiting()
		go func() {
			if waited, err := b.reserve(&held[i], large, gone); err == nil && waited {
				got <- i
			}
		}()
		for b.waiting() == before {
			time.Sleep(time.Millisecond)
		}
	}
	enter(0, 70) // two that hold all of it do not wait for each other for ever:
	enter(2, 10)
	at(1, 500) // the elder goes on
	b.release(&held[1])
	if i := <-got + <-got; i != 2 {
		t.Fatal("0 and 2 fit now")
	}
	at(3, 95) // the next elder
	enter(4, 1)
	close(gone)
	for b.waiting() > 0 {
		time.Sleep(time.Millisecond)
	}
	for i := range held {
		b.release(&held[i])
	}
	if used := b.inUse(); used != 0 || b.mu.elder != nil {
		t.Errorf("%d bytes are lost", used)
	}
}

// waiting is how many frames wait.
func (b *budget) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.mu.frames)
}

func TestSessionsAreBoundedTogether(t *testing.T) {
	now := time.Now()
	ss := newSessions(1000)
	big := sized(sessionPartsMax-1, false)
	if !ss.begin(big, now) {
		t.Fatal("no room in an empty cache")
	}
	if ss.begin(sized(2, false), now) {
		t.Error("a session was begun for which there is no room")
	}
	if !ss.begin(sized(1, false), now) {
		t.Error("no session, though there is room")
	}
	if ss.touch(big, now, sessionPartsMax) || ss.get(big.id) != nil {
		t.Error("a session that outgrows the cache is still there")
	}
	if _, parts, _ := ss.counts(); parts != 1 {
		t.Errorf("%d partitions are left", parts)
	}
}
