package coordinator

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// testJournal is a journal, its clock, and the lines of its log at level info.
type testJournal struct {
	*journal
	now time.Time
	log bytes.Buffer
}

func newTestJournal() *testJournal {
	j := &testJournal{now: time.Unix(1_700_000_000, 0)}
	j.journal = newJournal(slog.New(slog.NewTextHandler(&j.log, nil)))
	return j
}

func (j *testJournal) tell(kind group.EventKind, id, member string, members int) {
	j.note(j.now, 3, &group.Event{
		Kind: kind, Group: id, Generation: 7, Members: members, Who: group.Who{Member: member, Host: "/10.0.0.3"},
		Cause: group.CauseJoin, Reason: "because of " + member,
	})
}

func (j *testJournal) of(id string) History { return (&Groups{journal: j.journal}).History(id) }

// TestARebalanceOfManyIsOneLine: what happens to each member is counted, and logged only for who looks closely.
func TestARebalanceOfManyIsOneLine(t *testing.T) {
	j := newTestJournal()
	j.tell(group.MemberExpired, "g", "gone", 0)
	j.tell(group.RebalanceBegun, "g", "gone", 0)
	for i := range 500 {
		j.now = j.now.Add(time.Millisecond)
		j.tell(group.MemberJoined, "g", fmt.Sprint("m", i), i+1)
		j.tell(group.RebalanceBegun, "g", fmt.Sprint("m", i), i+1)
	}
	h := j.of("g")
	if h.Last == nil || !h.Last.Ended.IsZero() || h.Last.Members != 500 {
		t.Fatalf("while it goes on: %+v", h.Last)
	}
	j.tell(group.RebalanceCompleted, "g", "", 500)

	lines := strings.Split(strings.TrimSpace(j.log.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines:\n%s", len(lines), j.log.String())
	}
	for _, want := range []string{
		`msg="group has rebalanced" group=g generation=7 members=500 took=500ms joined=500 left=1 cause=member-joined`,
		`reason="because of gone"`, "member=gone host=10.0.0.3",
	} {
		if !strings.Contains(lines[1], want) {
			t.Errorf("%s\ndoes not say %s", lines[1], want)
		}
	}
	h = j.of("g")
	if l := h.Last; l.Joined != 500 || l.Left != 1 || l.Begun != 501 || l.Ended.Sub(l.Began) != 500*time.Millisecond ||
		l.Reason != "because of gone" || l.Who.Member != "gone" {
		t.Errorf("the last rebalance: %+v", l)
	}
	count := map[group.EventKind]int{}
	for _, e := range h.Entries {
		count[e.Kind] += e.Count
	}
	if len(h.Entries) > 2*journalAlikeMax+3 || count[group.MemberJoined] != 500 || h.Dropped != 0 {
		t.Errorf("%d entries for %v, %d dropped", len(h.Entries), count, h.Dropped)
	}
	if e := h.Entries[len(h.Entries)-1]; e.Kind != group.RebalanceCompleted || e.Took != 500*time.Millisecond {
		t.Errorf("the last entry: %+v", e)
	}
	c := (&Groups{journal: j.journal}).JournalCounts()
	if c.Rebalances[group.CauseJoin] != 1 || c.Ended != 1 || c.Seconds != .5 || c.Buckets[2] != 1 {
		t.Errorf("counted: %+v", c)
	}
}

// TestTheJournalOfAGroupIsBounded: the oldest entries go, and it is said how many.
func TestTheJournalOfAGroupIsBounded(t *testing.T) {
	j := newTestJournal()
	for i := range 100 {
		j.now = j.now.Add(time.Second)
		j.tell(group.RebalanceBegun, "g", fmt.Sprint("m", i), 1)
		j.tell(group.RebalanceCompleted, "g", "", 1)
	}
	h := j.of("g")
	if len(h.Entries) != journalEntriesMax || h.Dropped != 200-journalEntriesMax {
		t.Fatalf("%d entries, %d dropped", len(h.Entries), h.Dropped)
	}
	if first := h.Entries[0]; first.Who.Member != "m68" {
		t.Errorf("the first that is kept: %+v", first)
	}
	for i := 1; i < len(h.Entries); i++ {
		if h.Entries[i].At.Before(h.Entries[i-1].At) {
			t.Fatalf("entry %d is out of order", i)
		}
	}
}

// TestTheJournalOfAllGroupsIsBounded: the groups that were quiet for longest are forgotten.
func TestTheJournalOfAllGroupsIsBounded(t *testing.T) {
	j := newTestJournal()
	long := strings.Repeat("x", 10_000)
	for i := range 3000 {
		j.tell(group.RebalanceBegun, fmt.Sprint("g", i), long, 1)
		j.tell(group.RebalanceBegun, "busy", "m", 1)
	}
	if j.bytes > journalBytesMax {
		t.Errorf("%d bytes", j.bytes)
	}
	if len(j.of("busy").Entries) == 0 || len(j.of("g2999").Entries) != 1 || len(j.of("g0").Entries) != 0 {
		t.Error("another group was forgotten than the one that was quiet for longest")
	}
	want := 0
	for el := j.recent.Front(); el != nil; el = el.Next() {
		h := el.Value.(*history)
		want += historyBytes + 2*len(h.group)
		for i := range h.entries {
			want += h.entries[i].size()
		}
	}
	if j.bytes != want || len(j.groups) != j.recent.Len() {
		t.Errorf("%d bytes are counted, %d are there; %d groups, %d in order", j.bytes, want, len(j.groups), j.recent.Len())
	}
	j.forget(3)
	if j.bytes != 0 || len(j.groups) != 0 {
		t.Errorf("after the coordinator has gone %d bytes of %d groups are left", j.bytes, len(j.groups))
	}
}

// TestWhatIsNotStoredHasNotHappened: an assignment that the log refused has ended no rebalance.
func TestWhatIsNotStoredHasNotHappened(t *testing.T) {
	log := newMemLog()
	g := testGroups(t, log)
	join := ask[*group.JoinResult](t, g, &group.Join{
		Group: "g", Type: "consumer", Protocols: []group.Protocol{{Name: "range"}}, Session: 10 * time.Second,
		Rebalance: time.Minute, ClientID: "c", ClientHost: "/127.0.0.1", Software: "lib 1.0",
	})
	sync := &group.Sync{Group: "g", Member: join.Member, Generation: join.Generation}
	log.refuseWith(protocol.NotEnoughReplicas)
	if r := ask[*group.SyncResult](t, g, sync); r.Code == 0 {
		t.Fatal("the assignment was taken")
	}
	h := g.History("g")
	if h.Last == nil || !h.Last.Ended.IsZero() || h.Last.Who.Software != "lib 1.0" || h.Last.Who.Host != "/127.0.0.1" {
		t.Errorf("the last rebalance: %+v", h.Last)
	}
	if e := h.Entries[len(h.Entries)-1]; e.Kind != group.RebalanceBegun || e.Cause != group.CauseStore {
		t.Errorf("the last entry: %+v", e)
	}
	g.Resign(0)
	if h := g.History("g"); len(h.Entries) != 0 || h.Last != nil {
		t.Errorf("another broker coordinates the group, and still there is %+v", h)
	}
}

// TestAnEndWithoutABeginningIsNone: a consumer group is told to have settled also when a static member has come back to
// what was its own, and after the coordinator has moved.
func TestAnEndWithoutABeginningIsNone(t *testing.T) {
	j := newTestJournal()
	j.tell(group.RebalanceCompleted, "g", "", 1)
	if h := j.of("g"); len(h.Entries) != 0 || h.Last != nil || j.bytes != 0 {
		t.Errorf("%+v", h)
	}
	j.tell(group.RebalanceBegun, "g", "m", 1)
	j.tell(group.RebalanceCompleted, "g", "", 1)
	j.tell(group.MemberReturned, "g", "m", 1)
	j.tell(group.RebalanceCompleted, "g", "", 1)
	if h := j.of("g"); len(h.Entries) != 3 || h.Last.Joined != 0 {
		t.Errorf("%+v", h)
	}
	if n := strings.Count(j.log.String(), "\n"); n != 2 {
		t.Errorf("%d lines:\n%s", n, j.log.String())
	}
}

// TestFiveHundredMembersJoinInTwoLines: through the coordinator, as they come from the network.
func TestFiveHundredMembersJoinInTwoLines(t *testing.T) {
	var lines bytes.Buffer
	cfg := group.DefaultConfig()
	cfg.InitialRebalanceDelay = 50 * time.Millisecond
	g := NewGroups(cfg, onePartition{}, slog.New(slog.NewTextHandler(&lines, nil)))
	g.Lead(0, newMemLog())
	const members = 500
	var joins []chan group.Response
	for i := range members {
		joins = append(joins, submit(g, &group.Join{
			Group: "g", Type: "consumer", Protocols: []group.Protocol{{Name: "range"}}, Session: time.Minute,
			Rebalance: time.Minute, ClientID: fmt.Sprint("c", i), ClientHost: "/127.0.0.1",
		}))
	}
	var leader *group.JoinResult
	for _, c := range joins {
		if r := (<-c).(*group.JoinResult); r.Member == r.Leader {
			leader = r
		}
	}
	if leader == nil || len(leader.Members) != members {
		t.Fatalf("the leader: %+v", leader)
	}
	ask[*group.SyncResult](t, g, &group.Sync{Group: "g", Member: leader.Member, Generation: leader.Generation})
	h := g.History("g")
	if h.Last == nil || h.Last.Joined != members || h.Last.Members != members || len(h.Entries) > 2*journalAlikeMax {
		t.Errorf("%d entries, %+v", len(h.Entries), h.Last)
	}
	g.Close()
	if n := strings.Count(lines.String(), "\n"); n != 2 || !strings.Contains(lines.String(), "joined=500") {
		t.Errorf("%d lines:\n%.2000s", n, lines.String())
	}
}
