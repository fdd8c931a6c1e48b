package replica

import (
	"testing"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/epoch"
)

// history is made of pairs of epoch and start.
func history(t *testing.T, pairs ...int) epoch.History {
	t.Helper()
	h := epoch.History{}
	for i := 0; i < len(pairs); i += 2 {
		var ok bool
		if h, ok = h.Assign(protocol.Epoch(pairs[i]), protocol.Offset(pairs[i+1])); !ok {
			t.Fatalf("epoch %d at %d", pairs[i], pairs[i+1])
		}
	}
	return h
}

func follow(t *testing.T, end, hw protocol.Offset, epochs ...int) *Follower {
	a := Assignment{Local: 2, Leader: 1, Epoch: 9, Replicas: ids(1, 2), ISR: ids(1, 2)}
	return NewFollower(a, FollowerLog{End: end, Epochs: history(t, epochs...)}, hw)
}

// cut is the log after Truncate.
func cut(f *Follower, to protocol.Offset) {
	h, _ := f.log.Epochs.TruncateEnd(to)
	f.Truncated(FollowerLog{Start: f.log.Start, End: min(to, f.log.End), Epochs: h})
}

func TestAFollowerAppendsWhatGoesOn(t *testing.T) {
	f := follow(t, 10, 4, 3, 0, 5, 8)
	if p := f.Next(); p != (FetchPlan{Offset: 10, LeaderEpoch: 9, LastFetchedEpoch: 5}) {
		t.Errorf("asks %+v", p)
	}
	e, err := f.Fetched(FetchResult{HighWatermark: 14, Bytes: 100, First: 10, Next: 12})
	if err != nil || !e.Append || e.HighWatermark != 4 {
		t.Fatalf("two records: %+v, %v", e, err)
	}
	if e = f.Appended(FollowerLog{End: 12, Epochs: history(t, 3, 0, 5, 8, 9, 10)}); e.HighWatermark != 12 {
		t.Errorf("the leader's high watermark is 14, the log ends at 12: %+v", e)
	}
	if p := f.Next(); p.Offset != 12 || p.LastFetchedEpoch != 9 {
		t.Errorf("asks %+v", p)
	}
	if f.Lag() != 2 {
		t.Errorf("lag %d", f.Lag())
	}
	if e, err = f.Fetched(FetchResult{HighWatermark: 14, Bytes: 100, First: 20, Next: 22}); err != nil || !e.Append {
		t.Errorf("behind a gap that compaction left: %+v, %v", e, err)
	}
}

func TestAFollowerRefusesWhatDoesNotFollow(t *testing.T) {
	for _, c := range []struct{ first, next protocol.Offset }{{9, 12}, {5, 10}, {9, 10}} {
		f := follow(t, 10, 4, 3, 0)
		e, err := f.Fetched(FetchResult{HighWatermark: 14, Bytes: 100, First: c.first, Next: c.next})
		if err == nil || e.Append || e.Backoff == 0 || e.HighWatermark != 4 {
			t.Errorf("%d to %d for 10: %+v, %v", c.first, c.next-1, e, err)
		}
	}
	f := follow(t, 10, 10)
	f.Truncated(FollowerLog{Start: 10, End: 10})
	if e, err := f.Fetched(FetchResult{HighWatermark: 14, Bytes: 100, First: 8, Next: 12}); err != nil || !e.Append {
		t.Errorf("an empty log that begins inside of the batch: %+v, %v", e, err)
	}
}

// TestALeaderThatBeginsInsideOfABatch sends that batch whole. A follower that has other records up to there, all of them
// deleted at the leader, cannot append it behind them.
func TestALeaderThatBeginsInsideOfABatch(t *testing.T) {
	f := follow(t, 32, 28, 0, 0)
	e, err := f.Fetched(FetchResult{HighWatermark: 60, LogStart: 32, Bytes: 100, First: 31, Next: 44})
	if err != nil || e.Append || !e.TruncateFully || e.To != 32 || e.HighWatermark != 32 {
		t.Fatalf("%+v, %v", e, err)
	}
	f.Truncated(FollowerLog{Start: 32, End: 32})
	if e, err = f.Fetched(FetchResult{HighWatermark: 60, LogStart: 32, Bytes: 100, First: 31, Next: 44}); err != nil || !e.Append {
		t.Errorf("an empty log: %+v, %v", e, err)
	}
}

// TestACutBelowTheStart: what was deleted here was lost by an uncleanly elected leader, who goes on from before it.
func TestACutBelowTheStart(t *testing.T) {
	f := follow(t, 74, 74, 0, 0)
	f.Truncated(FollowerLog{Start: 40, End: 74, Epochs: history(t, 1, 40)})
	e, err := f.Fetched(FetchResult{Diverges: true, Diverging: EpochEnd{1, 12}, HighWatermark: 20, LogStart: 0})
	if err != nil || !e.Truncate || e.To != 12 || e.LogStart != 12 || e.HighWatermark != 12 {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestTheFollowersHighWatermarkDoesNotFall: a new leader has to find it out again.
func TestTheFollowersHighWatermarkDoesNotFall(t *testing.T) {
	f := follow(t, 10, 8, 3, 0)
	if e, _ := f.Fetched(FetchResult{HighWatermark: 5}); e.HighWatermark != 8 {
		t.Errorf("the new leader knows of 5: %+v", e)
	}
	if e, _ := f.Fetched(FetchResult{HighWatermark: 12}); e.HighWatermark != 10 {
		t.Errorf("the leader's is 12, the log ends at 10: %+v", e)
	}
}

func TestTheLogStartFollowsTheLeaders(t *testing.T) {
	f := follow(t, 10, 4, 3, 0)
	if e, _ := f.Fetched(FetchResult{HighWatermark: 6, LogStart: 5}); e.LogStart != 5 {
		t.Errorf("the leader begins at 5: %+v", e)
	}
	if e, _ := f.Fetched(FetchResult{HighWatermark: 6, LogStart: 9}); e.LogStart != 6 {
		t.Errorf("a start above the high watermark: %+v", e)
	}
}

// TestKIP320_TruncationByDivergingEpoch: each line is a follower's log, what the leader said, and where the follower cuts.
func TestKIP320_TruncationByDivergingEpoch(t *testing.T) {
	for _, c := range []struct {
		name   string
		end    protocol.Offset
		epochs []int
		at     EpochEnd
		want   protocol.Offset // -1: an answer that cannot be
	}{
		{"the leader's epoch ended earlier", 20, []int{3, 0, 5, 10}, EpochEnd{5, 15}, 15},
		{"the leader has a newer end of an older epoch", 20, []int{3, 0, 5, 10}, EpochEnd{3, 12}, 10},
		{"the leader's older epoch ended earlier", 20, []int{3, 0, 5, 10}, EpochEnd{3, 7}, 7},
		{"an epoch that is not known here", 20, []int{3, 0, 6, 10}, EpochEnd{4, 12}, 10},
		{"an epoch that is older than all", 20, []int{3, 5, 6, 10}, EpochEnd{2, 4}, 4},
		{"an epoch that began and wrote nothing", 20, []int{3, 0, 6, 20}, EpochEnd{3, 30}, 20},
		{"an epoch newer than all", 20, []int{3, 0}, EpochEnd{4, 30}, -1},
		{"nothing diverges", 20, []int{3, 0}, EpochEnd{3, 20}, -1},
	} {
		f := follow(t, c.end, c.end, c.epochs...)
		e, err := f.Fetched(FetchResult{Diverges: true, Diverging: c.at, HighWatermark: 99})
		switch {
		case c.want < 0:
			if err == nil || e.Truncate || e.Backoff == 0 {
				t.Errorf("%s: %+v, %v", c.name, e, err)
			}
		case err != nil || !e.Truncate || e.To != c.want || e.HighWatermark != c.want:
			t.Errorf("%s: %+v, %v, want to %d", c.name, e, err, c.want)
		}
	}
}

// TestKIP320_RepeatedDivergence follows two logs that diverged more than once down to where they agree.
func TestKIP320_RepeatedDivergence(t *testing.T) {
	leader := history(t, 1, 0, 3, 10, 6, 20) // ends at 30
	f := follow(t, 40, 5, 1, 0, 2, 8, 4, 15, 5, 25)
	var cuts []protocol.Offset
	for range 10 {
		p := f.Next()
		e, end := leader.EndOf(p.LastFetchedEpoch, 30)
		if e == p.LastFetchedEpoch && end >= p.Offset {
			break
		}
		eff, err := f.Fetched(FetchResult{Diverges: true, Diverging: EpochEnd{e, end}})
		if err != nil || !eff.Truncate {
			t.Fatalf("asked %+v, told epoch %d ends at %d: %+v, %v", p, e, end, eff, err)
		}
		cuts = append(cuts, eff.To)
		cut(f, eff.To)
	}
	if p := f.Next(); p.Offset != 8 || p.LastFetchedEpoch != 1 {
		t.Errorf("agreed at %+v after %v", p, cuts)
	}
	if f.HighWatermark() != 5 {
		t.Errorf("high watermark %d", f.HighWatermark())
	}
}

func TestOutOfRangeAsksWhereTheLeaderIs(t *testing.T) {
	for _, c := range []struct {
		start, end protocol.Offset
		want       FollowerEffects
	}{
		{0, 7, FollowerEffects{Truncate: true, To: 7, HighWatermark: 7}},          // the leader has less
		{15, 30, FollowerEffects{TruncateFully: true, To: 15, HighWatermark: 15}}, // what is next is deleted
		{0, 30, FollowerEffects{HighWatermark: 8, Backoff: backoffMin}},           // it has come meanwhile
		{10, 10, FollowerEffects{HighWatermark: 8, Backoff: backoffMin}},          // all is deleted, nothing is missing
		{12, 12, FollowerEffects{TruncateFully: true, To: 12, HighWatermark: 12}}, // all is deleted
		{0, 0, FollowerEffects{Truncate: true, To: 0, HighWatermark: 0}},          // the leader lost everything
	} {
		f := follow(t, 10, 8, 3, 0)
		if e, err := f.Fetched(FetchResult{Code: protocol.OffsetOutOfRange}); err != nil || e.Truncate || e.TruncateFully {
			t.Fatalf("out of range: %+v, %v", e, err)
		}
		if !f.Next().AskBounds {
			t.Fatal("does not ask where the leader's log begins and ends")
		}
		e := f.Bounds(c.start, c.end)
		if e != c.want {
			t.Errorf("the leader has %d to %d: %+v, want %+v", c.start, c.end, e, c.want)
		}
		if f.Next().AskBounds {
			t.Error("asks again")
		}
	}
}

func TestAFullyTruncatedLogBeginsAtTheLeaders(t *testing.T) {
	f := follow(t, 10, 8, 3, 0)
	if _, err := f.Fetched(FetchResult{Code: protocol.OffsetOutOfRange}); err != nil {
		t.Fatal(err)
	}
	f.Bounds(15, 30)
	f.Truncated(FollowerLog{Start: 15, End: 15})
	if p := f.Next(); p != (FetchPlan{Offset: 15, LeaderEpoch: 9, LastFetchedEpoch: -1, LogStart: 15}) {
		t.Errorf("asks %+v", p)
	}
	if f.HighWatermark() != 15 {
		t.Errorf("high watermark %d", f.HighWatermark())
	}
}

// TestErrorsAreWaitedOut: longer with each, up to a second, and not at all after a success.
func TestErrorsAreWaitedOut(t *testing.T) {
	f := follow(t, 10, 8, 3, 0)
	last := time.Duration(0)
	for range 12 {
		e, err := f.Fetched(FetchResult{Code: protocol.NotLeaderOrFollower})
		if err != nil || e.Backoff < last || e.Backoff > backoffMax || e.HighWatermark != 8 {
			t.Fatalf("after %v: %+v, %v", last, e, err)
		}
		last = e.Backoff
	}
	if last != backoffMax {
		t.Errorf("waits %v in the end", last)
	}
	if e, _ := f.Fetched(FetchResult{HighWatermark: 9}); e.Backoff != 0 {
		t.Errorf("waits %v after a success", e.Backoff)
	}
	if e := f.Failed(); e.Backoff != backoffMin {
		t.Errorf("waits %v after the next failure", e.Backoff)
	}
}
