package group

import (
	"testing"

	"moldau.io/moldau/protocol"
)

// A record of a group whose rebalance was not over: members, and no protocol or a leader who is none of them. Older
// coordinators wrote such records.
func TestC85_LoadedGroupWithoutAnAssignmentRebalances(t *testing.T) {
	for name, change := range map[string]func(*Saved){
		"no protocol":      func(s *Saved) { s.Protocol = nil },
		"unknown leader":   func(s *Saved) { *s.Leader = "gone" },
		"nothing is wrong": func(*Saved) {},
	} {
		leader, proto := "m", "range"
		saved := &Saved{Type: "consumer", Generation: 4, Protocol: &proto, Leader: &leader, Members: []SavedMember{
			{Member: "m", Session: 10_000, Rebalance: 60_000, Metadata: []byte("x")},
		}}
		change(saved)
		b := newBench(t)
		b.log = []Record{savedRecord("g", saved)}
		b.restart()
		want := "a: REBALANCE_IN_PROGRESS"
		if name == "nothing is wrong" {
			want = "a: NONE"
		}
		b.out = nil
		b.handle("a", &Heartbeat{Group: "g", Member: "m", Generation: 4})
		if b.out[0] != want {
			t.Errorf("%s: %s", name, b.out[0])
		}
	}
}

// A group that is larger than groups may be now is sent into a rebalance, which turns the last ones away.
func TestLoadedGroupOverItsSizeRebalances(t *testing.T) {
	leader, proto := "m1", "range"
	saved := &Saved{Type: "consumer", Generation: 4, Protocol: &proto, Leader: &leader}
	for _, id := range []string{"m1", "m2", "m3"} {
		saved.Members = append(saved.Members, SavedMember{Member: id, Session: 10_000, Rebalance: 60_000})
	}
	b := newBench(t)
	b.cfg.MaxSize = 2
	b.log = []Record{savedRecord("g", saved)}
	b.restart()
	b.out = nil
	for _, id := range []string{"m3", "m1", "m2"} {
		b.handle(id, &Join{Group: "g", Member: id, Type: "consumer", Session: b.cfg.MinSessionTimeout,
			Rebalance: b.cfg.MinSessionTimeout, Protocols: []Protocol{{Name: "range"}}})
	}
	if len(b.out) != 3 || b.out[0] != "m2: GROUP_MAX_SIZE_REACHED" {
		t.Errorf("%q", b.out)
	}
}

// Strings that the records have no room for are refused, not cut.
func TestWhatCannotBeStoredIsRefused(t *testing.T) {
	long := string(make([]byte, stringBytesMax+1))
	b := newBench(t)
	join := func(change func(*Join)) Request {
		j := &Join{Group: "g", Type: "consumer", Session: b.cfg.MinSessionTimeout, Protocols: []Protocol{{Name: "range"}}}
		change(j)
		return j
	}
	for _, c := range []struct {
		req  Request
		want protocol.Code
	}{
		{join(func(j *Join) { j.Group = long }), protocol.InvalidGroupID},
		{join(func(j *Join) { j.Type = long }), protocol.InvalidRequest},
		{join(func(j *Join) { j.Instance = &long }), protocol.InvalidRequest},
		{join(func(j *Join) { j.Protocols[0].Name = long }), protocol.InvalidRequest},
		{&CommitOffsets{Group: long, Generation: -1, Partitions: []CommitPartition{{Topic: "t"}}}, protocol.InvalidGroupID},
	} {
		b.out = nil
		b.handle("c", c.req)
		if got := b.out[0]; got != "c: "+c.want.Error() && got != "c: committed t-0="+c.want.Error() {
			t.Errorf("%T: %.60s, want %v", c.req, got, c.want)
		}
	}
	if len(b.log) > 0 {
		t.Errorf("%d records", len(b.log))
	}
	// A member id that begins with the longest client id there can be still fits.
	b.handle("c", join(func(j *Join) { j.ClientID = long[1:] }))
	for _, g := range b.m.groups {
		for id := range g.byID {
			if len(id) > stringBytesMax {
				t.Errorf("a member id of %d bytes", len(id))
			}
		}
	}
}
