package replica

import (
	"testing"
	"time"

	"moldau.io/moldau/protocol"
)

func ids(n ...protocol.BrokerID) []protocol.BrokerID { return n }

var (
	lag = Config{LagTime: 30 * time.Second}
	t0  = time.Unix(1_000_000, 0)
)

// after is t0 and so many seconds.
func after(seconds int) time.Time { return t0.Add(time.Duration(seconds) * time.Second) }

// brokers are candidates that are alive, each with the broker epoch 10 times its id.
func brokers(n ...protocol.BrokerID) []Candidate {
	var cs []Candidate
	for _, id := range n {
		cs = append(cs, Candidate{ID: id, Epoch: int64(id) * 10, Alive: true})
	}
	return cs
}

// three is a partition of three replicas led by broker 1.
func three(isr ...protocol.BrokerID) Assignment {
	return Assignment{
		Local: 1, Leader: 1, Epoch: 3, PartitionEpoch: 7, Replicas: ids(1, 2, 3), ISR: isr, Candidates: brokers(1, 2, 3),
	}
}

// fetch is one of a broker that is registered as brokers says.
func fetch(t *testing.T, l *Leader, now time.Time, id protocol.BrokerID, at protocol.Offset) Effects {
	t.Helper()
	e, err := l.Fetched(now, FollowerFetch{Replica: id, BrokerEpoch: int64(id) * 10, Offset: at})
	if err != nil {
		t.Fatalf("fetch of broker %d at %d: %v", id, at, err)
	}
	return e
}

// proposes compares what is proposed with the ids that it should have; none for nothing.
func proposes(t *testing.T, l *Leader, want ...protocol.BrokerID) {
	t.Helper()
	c, ok := l.Proposal()
	var got []protocol.BrokerID
	for _, m := range c.ISR {
		got = append(got, m.ID)
	}
	same := len(got) == len(want) && ok == (len(want) > 0)
	for i := range want {
		same = same && got[i] == want[i]
	}
	if !same {
		t.Errorf("proposed %v (%v), want %v", got, ok, want)
	}
}

func TestALeaderAloneCommitsWhatItAppends(t *testing.T) {
	l := NewLeader(lag, t0, Assignment{Local: 1, Epoch: 3, Replicas: ids(1), ISR: ids(1)}, 10, 4)
	if l.HighWatermark() != 10 || l.Epoch() != 3 {
		t.Fatalf("a log of 10 records in sync with itself: high watermark %d, epoch %d", l.HighWatermark(), l.Epoch())
	}
	if e := l.Appended(t0, 12); !e.Advanced || e.HighWatermark != 12 {
		t.Errorf("appended to 12: %+v", e)
	}
	if e := l.Appended(t0, 12); e.Advanced {
		t.Errorf("nothing appended: %+v", e)
	}
}

func TestTheHighWatermarkIsNeverAboveTheLog(t *testing.T) {
	l := NewLeader(lag, t0, three(1, 2), 5, 9)
	if l.HighWatermark() != 5 {
		t.Errorf("high watermark %d of a log that was cut to 5", l.HighWatermark())
	}
}

func TestTheHighWatermarkWaitsForEveryReplicaInSync(t *testing.T) {
	l := NewLeader(lag, t0, three(1, 2), 5, 3)
	if e := l.Appended(t0, 8); e.Advanced || e.HighWatermark != 3 {
		t.Errorf("the follower is not known to have any of it: %+v", e)
	}
	if e := fetch(t, l, t0, 2, 6); !e.Advanced || e.HighWatermark != 6 {
		t.Errorf("the follower has 6: %+v", e)
	}
	if e := fetch(t, l, t0, 2, 2); e.Advanced || e.HighWatermark != 6 {
		t.Errorf("a follower that was cut brings the high watermark down: %+v", e)
	}
	fetch(t, l, t0, 2, 7)
	a := three(1)
	a.PartitionEpoch, a.Candidates = 8, brokers(1)
	if e := l.Assigned(t0, a); !e.Advanced || e.HighWatermark != 8 {
		t.Errorf("the leader is alone in sync: %+v", e)
	}
	a = three(1, 2)
	a.PartitionEpoch = 9
	if e := l.Assigned(t0, a); e.HighWatermark != 8 {
		t.Errorf("the high watermark fell: %+v", e)
	}
}

func TestRule036_MinInsyncReplicasCountsAtMostTheReplicas(t *testing.T) {
	for _, c := range []struct {
		replicas, isr []protocol.BrokerID
		minimum       int
		want          bool
	}{
		{ids(1), ids(1), 1, true},
		{ids(1), ids(1), 2, true},
		{ids(1, 2, 3), ids(1), 2, false},
		{ids(1, 2, 3), ids(1, 3), 2, true},
		{ids(1, 2), ids(1), 3, false},
	} {
		l := NewLeader(lag, t0, Assignment{Local: 1, Replicas: c.replicas, ISR: c.isr}, 0, 0)
		if got := l.EnoughInSync(c.minimum); got != c.want {
			t.Errorf("%d of %d in sync, minimum %d: %v", len(c.isr), len(c.replicas), c.minimum, got)
		}
	}
}

// TestI23_TheHighWatermarkStandsStillBelowMinInsync: what is appended meanwhile, with acks=1, is not committed until
// enough are in sync again.
func TestI23_TheHighWatermarkStandsStillBelowMinInsync(t *testing.T) {
	a := three(1)
	a.MinInSync, a.Candidates = 2, brokers(1)
	l := NewLeader(lag, t0, a, 5, 3)
	if e := l.Appended(t0, 8); e.Advanced || l.HighWatermark() != 3 {
		t.Errorf("one of two needed is in sync: %+v", e)
	}
	a = three(1, 2)
	a.MinInSync, a.PartitionEpoch = 2, 8
	l.Assigned(t0, a)
	if e := fetch(t, l, t0, 2, 8); !e.Advanced || e.HighWatermark != 8 {
		t.Errorf("two are in sync: %+v", e)
	}
}

// TestI13_TheMaximalISRHoldsWhileAProposalIsOpen: a follower that is being added counts from the moment it is proposed,
// one that is being taken out counts until that is committed.
func TestI13_TheMaximalISRHoldsWhileAProposalIsOpen(t *testing.T) {
	l := NewLeader(lag, t0, three(1, 2), 5, 5)
	fetch(t, l, t0, 2, 5)
	if e := fetch(t, l, t0, 3, 5); !e.Propose {
		t.Fatalf("broker 3 has everything: %+v", e)
	}
	proposes(t, l, 1, 2, 3)
	l.Appended(t0, 9)
	if e := fetch(t, l, t0, 2, 9); e.Advanced {
		t.Errorf("the high watermark passed a follower that is being added: %+v", e)
	}
	if !l.EnoughInSyncStill(3) || l.EnoughInSync(3) {
		t.Error("a follower that is being added counts for a write that waited for it, and for no new one")
	}
	grown := three(1, 2, 3)
	grown.PartitionEpoch = 8
	l.Assigned(t0, grown)
	proposes(t, l)
	if e := fetch(t, l, t0, 3, 9); !e.Advanced || e.HighWatermark != 9 {
		t.Errorf("all have 9: %+v", e)
	}

	l.Appended(t0, 12)
	fetch(t, l, after(29), 2, 12)
	if e := l.Tick(after(31)); !e.Propose || e.Advanced {
		t.Fatalf("broker 3 lags for 31 s: %+v", e)
	}
	proposes(t, l, 1, 2)
	if e := l.Appended(t0, 12); e.Advanced || e.HighWatermark != 9 {
		t.Errorf("a follower was left out before the controller agreed: %+v", e)
	}
	shrunk := three(1, 2)
	shrunk.PartitionEpoch = 9
	if e := l.Assigned(after(31), shrunk); !e.Advanced || e.HighWatermark != 12 {
		t.Errorf("the controller has agreed: %+v", e)
	}
}

// TestI25_WhoMayJoin: the high watermark and the epoch's start are reached, in this epoch, by the process that the
// controller knows and has not fenced.
func TestI25_WhoMayJoin(t *testing.T) {
	for _, c := range []struct {
		name string
		hw   protocol.Offset // as the leader knows it when it begins with 10
		at   protocol.Offset
		make func(a *Assignment)
		want bool
	}{
		{"has everything", 10, 10, nil, true},
		{"is below the high watermark", 10, 9, nil, false},
		{"is at the high watermark, below the epoch's start", 5, 9, nil, false},
		{"is fenced or stopping", 10, 10, func(a *Assignment) { a.Candidates[2].Alive = false }, false},
		{"is registered anew since", 10, 10, func(a *Assignment) { a.Candidates[2].Epoch = 31 }, false},
		{"registered under an epoch not known here yet", 10, 10, func(a *Assignment) { a.Candidates[2].Epoch = 29 }, false},
		{"is no broker any more", 10, 10, func(a *Assignment) { a.Candidates = brokers(1, 2) }, false},
	} {
		a := three(1, 2)
		if c.make != nil {
			c.make(&a)
		}
		l := NewLeader(lag, t0, a, 10, c.hw)
		e, err := l.Fetched(t0, FollowerFetch{Replica: 3, BrokerEpoch: 30, Offset: c.at})
		if e.Propose != c.want {
			t.Errorf("a follower that %s: %+v, %v", c.name, e, err)
		}
	}
	l := NewLeader(lag, t0, three(1, 2), 10, 10)
	if e, err := l.Fetched(t0, FollowerFetch{Replica: 3, BrokerEpoch: -1, Offset: 10}); e.Propose || err != nil {
		t.Errorf("a follower that does not say who it is: %+v, %v", e, err)
	}
}

func TestAFollowerIsFencedByItsBrokerEpoch(t *testing.T) {
	l := NewLeader(lag, t0, three(1, 2), 10, 5)
	_, err := l.Fetched(t0, FollowerFetch{Replica: 2, BrokerEpoch: 19, Offset: 10})
	if protocol.CodeOf(err) != protocol.NotLeaderOrFollower || l.HighWatermark() != 5 {
		t.Errorf("an older process: %v, high watermark %d", err, l.HighWatermark())
	}
	if _, err := l.Fetched(t0, FollowerFetch{Replica: 2, BrokerEpoch: 21, Offset: 8}); err != nil {
		t.Errorf("a process that the metadata does not know yet: %v", err)
	}
	if _, err := l.Fetched(t0, FollowerFetch{Replica: 2, BrokerEpoch: 20, Offset: 10}); err == nil {
		t.Error("the process before it came after it")
	}
	if _, err := l.Fetched(t0, FollowerFetch{Replica: 4, BrokerEpoch: 40}); protocol.CodeOf(err) != protocol.UnknownLeaderEpoch {
		t.Errorf("a broker without a replica: %v", err)
	}
}

// TestAFollowerThatKeepsUpStaysInSync: it need not be at the end, only where the end was when it fetched before.
func TestAFollowerThatKeepsUpStaysInSync(t *testing.T) {
	l := NewLeader(lag, t0, three(1, 2), 10, 10)
	at := protocol.Offset(10)
	for s := 0; s < 200; s += 10 {
		fetch(t, l, after(s), 2, at)
		at = l.end
		l.Appended(after(s), l.end+5)
		if e := l.Tick(after(s + 5)); e.Propose {
			t.Fatalf("second %d: a follower that is one fetch behind is taken out", s)
		}
	}
	if e := l.Tick(after(209)); e.Propose {
		t.Error("taken out before the lag time is over")
	}
	if due := l.Deadline(); !due.Equal(after(210)) { // it had at 190 what was there at 180
		t.Errorf("due at %v", due.Sub(t0))
	}
	if e := l.Tick(l.Deadline()); !e.Propose {
		t.Error("not taken out at the deadline")
	}
}

// TestAnIdlePartitionTakesNobodyOut: also not when it is idle no more, and the follower has said nothing for an hour since
// there was nothing to say.
func TestAnIdlePartitionTakesNobodyOut(t *testing.T) {
	l := NewLeader(lag, t0, three(1, 2), 10, 10)
	fetch(t, l, t0, 2, 10)
	if e := l.Tick(after(3600)); e.Propose || !l.Deadline().IsZero() {
		t.Errorf("nothing to replicate: %+v, due %v", e, l.Deadline())
	}
	l.Appended(after(3600), 11)
	if e := l.Tick(after(3629)); e.Propose {
		t.Error("taken out before the lag time is over")
	}
	if e := l.Tick(after(3630)); !e.Propose {
		t.Error("not taken out")
	}
}

// TestTheHighWatermarkWaitsForWhoComesBack: a follower that is about to join is not outrun for ever; one that does not
// come is not waited for.
func TestTheHighWatermarkWaitsForWhoComesBack(t *testing.T) {
	l := NewLeader(lag, t0, three(1, 2), 10, 10)
	fetch(t, l, t0, 2, 10)
	fetch(t, l, t0, 3, 10)
	l.Refused(t0, protocol.IneligibleReplica)
	l.Appended(t0, 12)
	if e := fetch(t, l, after(1), 2, 12); e.Advanced {
		t.Errorf("broker 3 was at the end a second ago: %+v", e)
	}
	if e := l.Tick(l.Deadline()); !e.Advanced || e.HighWatermark != 12 {
		t.Errorf("broker 3 has not come: %+v", e)
	}
}

// TestAnIdleFollowerComesBack: it has fetched for the last time before the metadata said that its broker is alive, or before the
// controller refused; nothing is appended, so it does not ask again.
func TestAnIdleFollowerComesBack(t *testing.T) {
	a := three(1, 2)
	for i := range a.Candidates {
		a.Candidates[i].Alive = a.Candidates[i].ID != 3
	}
	l := NewLeader(lag, t0, a, 10, 10)
	fetch(t, l, t0, 2, 10)
	if e := fetch(t, l, t0, 3, 10); e.Propose {
		t.Fatalf("broker 3 is fenced: %+v", e)
	}
	a = three(1, 2)
	if e := l.Assigned(after(1), a); !e.Propose {
		t.Fatalf("broker 3 is alive now: %+v", e)
	}
	l.Refused(after(1), protocol.IneligibleReplica)
	due := l.Deadline()
	if e := l.Tick(due); !due.After(after(1)) || !e.Propose {
		t.Errorf("the controller refused, due %v: %+v", due, e)
	}
	if c, ok := l.Proposal(); !ok || len(c.ISR) != 3 {
		t.Errorf("proposed: %+v", c)
	}
}

// TestWhatFollowsFromEachAnswer: only a clear no ends the wait for whom a proposal adds.
func TestWhatFollowsFromEachAnswer(t *testing.T) {
	for _, c := range []struct {
		code  protocol.Code
		ends  bool
		again time.Duration
	}{
		{protocol.None, false, settleAfter},
		{protocol.IneligibleReplica, true, holdAfter},
		{protocol.OperationNotAttempted, true, holdAfter},
		{protocol.InvalidUpdateVersion, false, settleAfter},
		{protocol.FencedLeaderEpoch, false, settleAfter},
		{protocol.InvalidRequest, false, settleAfter},
		{protocol.NewLeaderElected, false, settleAfter},
		{protocol.UnknownTopicID, false, settleAfter},
		{protocol.UnknownTopicOrPartition, false, settleAfter},
		{protocol.NotController, false, resendAfter},
		{protocol.RequestTimedOut, false, resendAfter},
		{protocol.UnknownServerError, false, resendAfter},
		{protocol.StaleBrokerEpoch, false, resendAfter},
	} {
		l := NewLeader(lag, t0, three(1), 10, 10)
		fetch(t, l, t0, 2, 10)
		proposes(t, l, 1, 2)
		if e := fetch(t, l, t0, 3, 10); e.Propose {
			t.Errorf("%v: two proposals at a time", c.code)
		}
		l.Refused(t0, c.code)
		if _, open := l.Proposal(); open == c.ends {
			t.Errorf("%v: the proposal is open: %v", c.code, open)
		}
		l.Appended(t0, 12)
		if c.ends {
			if e := fetch(t, l, t0.Add(c.again-1), 2, 12); e.Propose {
				t.Errorf("%v: proposed at once", c.code)
			}
			if e := fetch(t, l, t0.Add(c.again), 2, 12); !e.Propose {
				t.Errorf("%v: not proposed again", c.code)
			}
			continue
		}
		if l.HighWatermark() != 10 {
			t.Errorf("%v: the high watermark is %d, though broker 2 may be in sync", c.code, l.HighWatermark())
		}
		if e := l.Tick(t0.Add(c.again - 1)); e.Propose {
			t.Errorf("%v: sent again too early", c.code)
		}
		if due := l.Deadline(); !due.Equal(t0.Add(c.again)) {
			t.Errorf("%v: due after %v", c.code, due.Sub(t0))
		}
		if e := l.Tick(t0.Add(c.again)); !e.Propose {
			t.Errorf("%v: not sent again", c.code)
		}
		if e := l.Tick(t0.Add(c.again)); e.Propose {
			t.Errorf("%v: sent twice", c.code)
		}
		proposes(t, l, 1, 2)
	}
}

// TestMetadataSettlesAProposal: also such that is something else, and not such that only the brokers have changed in.
func TestMetadataSettlesAProposal(t *testing.T) {
	l := NewLeader(lag, t0, three(1), 10, 10)
	fetch(t, l, t0, 2, 10)
	l.Assigned(t0, three(1))
	proposes(t, l, 1, 2)
	l.Appended(t0, 12)
	if l.HighWatermark() != 10 {
		t.Errorf("the high watermark is %d", l.HighWatermark())
	}
	older := three(1, 3)
	older.PartitionEpoch = 6
	l.Assigned(t0, older)
	proposes(t, l, 1, 2)
	if isr := l.ISR(); len(isr) != 1 {
		t.Errorf("older metadata was taken over: %v", isr)
	}
	other := three(1)
	other.PartitionEpoch, other.Candidates = 8, brokers(1, 3)
	l.Assigned(t0, other)
	proposes(t, l)
	if l.HighWatermark() != 12 {
		t.Errorf("the high watermark is %d", l.HighWatermark())
	}
}

func TestAProposalSaysWhoItIsAbout(t *testing.T) {
	a := three(1, 2)
	a.Recovering = true
	l := NewLeader(lag, t0, a, 10, 10)
	fetch(t, l, t0, 3, 10)
	c, _ := l.Proposal()
	want := []Member{{1, 10}, {2, -1}, {3, 30}}
	if len(c.ISR) != 3 || c.ISR[0] != want[0] || c.ISR[1] != want[1] || c.ISR[2] != want[2] {
		t.Errorf("proposed %v, want %v: broker 2 has not fetched yet", c.ISR, want)
	}
	if !c.Recovered || c.LeaderEpoch != 3 || c.PartitionEpoch != 7 {
		t.Errorf("proposed %+v", c)
	}
}

func TestReplicasComeAndGoWithinAnEpoch(t *testing.T) {
	l := NewLeader(lag, t0, three(1, 2), 10, 10)
	fetch(t, l, t0, 2, 10)
	a := three(1, 2)
	a.PartitionEpoch, a.Replicas, a.Candidates = 8, ids(1, 2, 4), brokers(1, 2, 4)
	l.Assigned(t0, a)
	if _, err := l.Fetched(t0, FollowerFetch{Replica: 3, BrokerEpoch: 30, Offset: 10}); err == nil {
		t.Error("broker 3 is no replica any more")
	}
	l.Appended(t0, 11)
	if e := fetch(t, l, t0, 2, 11); !e.Advanced {
		t.Error("what was known of broker 2 is forgotten, or broker 4 is waited for")
	}
	if e := fetch(t, l, t0, 4, 11); !e.Propose {
		t.Error("broker 4 has everything")
	}
}

func TestTheLowWatermarkIsOfTheLiving(t *testing.T) {
	l := NewLeader(lag, t0, three(1, 2, 3), 10, 10)
	if got := l.LowWatermark(4); got != -1 {
		t.Errorf("low watermark %d before anybody has fetched", got)
	}
	for id, start := range map[protocol.BrokerID]protocol.Offset{2: 2, 3: 5} {
		if _, err := l.Fetched(t0, FollowerFetch{Replica: id, BrokerEpoch: int64(id) * 10, Offset: 10, LogStart: start}); err != nil {
			t.Fatal(err)
		}
	}
	if got := l.LowWatermark(4); got != 2 {
		t.Errorf("low watermark %d, broker 2 begins at 2", got)
	}
	a := three(1, 2, 3)
	a.Candidates[1].Alive = false
	l.Assigned(t0, a)
	if got := l.LowWatermark(4); got != 4 {
		t.Errorf("low watermark %d, broker 2 is fenced", got)
	}
}

func TestConsumersAreSentToFollowersThatHaveTheOffset(t *testing.T) {
	l := NewLeader(lag, t0, three(1, 2), 10, 10)
	fetch(t, l, t0, 2, 8)
	fetch(t, l, t0, 3, 8)
	for _, s := range l.Followers() {
		if got, want := s.Serves(8), s.ID == 2; got != want {
			t.Errorf("broker %d serves 8: %v", s.ID, got)
		}
		if s.Serves(9) {
			t.Errorf("broker %d serves 9, it has 8", s.ID)
		}
	}
}

func TestAppendAndFetchAllocateNothing(t *testing.T) {
	l := NewLeader(lag, t0, three(1, 2, 3), 0, 0)
	now, end := t0, protocol.Offset(0)
	n := testing.AllocsPerRun(1000, func() {
		now, end = now.Add(time.Millisecond), end+1
		l.Appended(now, end)
		for id := protocol.BrokerID(2); id <= 3; id++ {
			if _, err := l.Fetched(now, FollowerFetch{Replica: id, BrokerEpoch: int64(id) * 10, Offset: end}); err != nil {
				t.Fatal(err)
			}
		}
	})
	if n != 0 {
		t.Errorf("%.1f allocations for an append and two fetches", n)
	}
	if l.HighWatermark() != end {
		t.Errorf("high watermark %d, all have %d", l.HighWatermark(), end)
	}
}
