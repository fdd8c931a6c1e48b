package replica

import (
	"fmt"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/epoch"
)

const (
	backoffMin = 20 * time.Millisecond // after a first failure: a leader that does not know yet that it is one
	backoffMax = time.Second           // replica.fetch.backoff.ms
)

// FollowerLog is a follower's own log as it is at a moment.
type FollowerLog struct {
	Start, End protocol.Offset
	Epochs     epoch.History // compared with the batches: what is asked of the leader depends on it
}

// Follower is a following replica of one partition, for one leader epoch. The broker tells it after each change what its
// log has become.
type Follower struct {
	a        Assignment
	log      FollowerLog
	hw       protocol.Offset
	lost     bool // the leader does not have what would be fetched next
	failures int

	leaderHW, leaderStart protocol.Offset // as the last answer said
}

// NewFollower begins to follow the leader of an epoch with a log that is as log says. highWatermark is what this replica
// last knew of it.
func NewFollower(a Assignment, log FollowerLog, highWatermark protocol.Offset) *Follower {
	return &Follower{a: a, log: log, hw: min(highWatermark, log.End), leaderHW: unknown, leaderStart: unknown}
}

// Epoch is the leader epoch.
func (f *Follower) Epoch() protocol.Epoch { return f.a.Epoch }

// Leader is whom it follows.
func (f *Follower) Leader() protocol.BrokerID { return f.a.Leader }

// HighWatermark is the offset below which this replica knows that every record is committed.
func (f *Follower) HighWatermark() protocol.Offset { return f.hw }

// Lag is how many offsets of what is committed are not here, 0 until the leader has answered.
func (f *Follower) Lag() int64 { return max(0, int64(f.leaderHW-f.log.End)) }

// Assigned says that the metadata has changed within the epoch.
func (f *Follower) Assigned(a Assignment) { f.a = a }

// FetchPlan is what to ask the leader next.
type FetchPlan struct {
	Offset           protocol.Offset
	LeaderEpoch      protocol.Epoch
	LastFetchedEpoch protocol.Epoch // of the newest record; -1 where there is none
	LogStart         protocol.Offset

	// AskBounds: not a fetch, but where the leader's log begins and ends (ListOffsets), for Bounds.
	AskBounds bool
}

// Next is what to ask the leader. One question at a time is under way.
func (f *Follower) Next() FetchPlan {
	return FetchPlan{
		Offset:           f.log.End,
		LeaderEpoch:      f.a.Epoch,
		LastFetchedEpoch: f.log.Epochs.Latest(),
		LogStart:         f.log.Start,
		AskBounds:        f.lost,
	}
}

// EpochEnd says where an epoch ended in a leader's log.
type EpochEnd struct {
	Epoch protocol.Epoch
	End   protocol.Offset
}

// FetchResult is a leader's answer for one partition.
type FetchResult struct {
	Code          protocol.Code
	Diverges      bool     // Diverging is set
	Diverging     EpochEnd // the largest epoch of the leader's that is not newer than LastFetchedEpoch
	HighWatermark protocol.Offset
	LogStart      protocol.Offset

	Bytes       int             // of whole batches; 0: nothing new
	First, Next protocol.Offset // the first batch's base offset, and the one after the last batch
}

// FollowerEffects is what a follower's step leads to, in this order. After Truncate or TruncateFully the broker calls
// Truncated, after the batches are appended it calls Appended, and where its own disk failed it calls Failed.
type FollowerEffects struct {
	Truncate      bool // cut the log to To
	TruncateFully bool // begin the log anew at To
	To            protocol.Offset
	Append        bool // append the batches of the answer

	HighWatermark protocol.Offset
	LogStart      protocol.Offset // advance the log's start to it; it is never above HighWatermark
	Backoff       time.Duration   // ask nothing before
}

// Fetched decides what to do about an answer to Next. The error says what was wrong with an answer that cannot be used;
// the effects are to be followed with it, too.
func (f *Follower) Fetched(r FetchResult) (FollowerEffects, error) {
	switch {
	case r.Code == protocol.OffsetOutOfRange:
		f.lost = true
		return f.still(), nil
	case r.Code != protocol.None:
		return f.Failed(), nil
	case r.Diverges:
		return f.diverged(r.Diverging)
	case r.Bytes > 0 && r.First < f.log.End && r.LogStart >= f.log.End && f.log.Start < f.log.End:
		// The leader's log begins inside of a batch, and here there is only what it has deleted, which may even be other
		// records: where an epoch ended is not known any more below the leader's start.
		return f.anew(r.LogStart), nil
	case r.Bytes > 0 && !f.follows(r):
		return f.Failed(), fmt.Errorf("the leader sent offsets %d to %d for %d", r.First, r.Next-1, f.log.End)
	}
	f.failures = 0
	f.leaderHW, f.leaderStart = r.HighWatermark, r.LogStart
	if r.Bytes > 0 {
		e := f.still()
		e.Append = true
		return e, nil
	}
	return f.heard(), nil
}

// follows says that batches go on where the log ends, or, where compaction has left a gap, behind that. An empty log may
// begin inside of the first batch: where records were deleted, the leader's log begins there too.
func (f *Follower) follows(r FetchResult) bool {
	return r.Next > f.log.End && (r.First >= f.log.End || f.log.Start == f.log.End)
}

// diverged cuts off what the leader does not have. The leader's answer names the largest of its epochs that is not newer
// than the log's last; where the log does not know that one, what comes after the largest older epoch is cut off, and the
// next answer says how it goes on from there.
func (f *Follower) diverged(at EpochEnd) (FollowerEffects, error) {
	known, end := f.log.Epochs.EndOf(at.Epoch, f.log.End)
	to := min(end, f.log.End)
	switch {
	case known == epoch.Unknown: // newer than anything here, which the leader would not say
		return f.Failed(), fmt.Errorf("the leader says that epoch %d diverges, the newest here is %d", at.Epoch,
			f.log.Epochs.Latest())
	case known == at.Epoch:
		to = min(to, at.End)
	}
	if _, shorter := f.log.Epochs.TruncateEnd(to); to >= f.log.End && !shorter {
		return f.Failed(), fmt.Errorf("the leader says that epoch %d, up to %d, diverges from a log that ends at %d in epoch %d",
			at.Epoch, at.End, f.log.End, f.log.Epochs.Latest())
	}
	return f.truncate(to), nil
}

// truncate asks for the log to be cut.
func (f *Follower) truncate(to protocol.Offset) FollowerEffects {
	f.failures = 0
	f.hw = min(f.hw, to)
	e := f.still()
	e.Truncate, e.To = true, to
	e.LogStart = min(e.LogStart, to) // an unclean election may cut off all that is there
	return e
}

// Bounds is the leader's answer to AskBounds. A leader whose log ends before this one's was elected uncleanly, and it is
// followed; one whose log begins behind this one's end has deleted what would be fetched next.
func (f *Follower) Bounds(leaderStart, leaderEnd protocol.Offset) FollowerEffects {
	f.lost, f.failures = false, 0
	switch {
	case leaderEnd < f.log.End:
		return f.truncate(leaderEnd)
	case leaderStart > f.log.End:
		return f.anew(leaderStart)
	}
	e := f.still() // the leader has gone on meanwhile
	e.Backoff = backoffMin
	return e
}

// anew asks for the log to begin at the leader's start.
func (f *Follower) anew(leaderStart protocol.Offset) FollowerEffects {
	f.hw, f.failures = leaderStart, 0 // what is below is deleted, which only what is committed can be
	e := f.still()
	e.TruncateFully, e.To = true, leaderStart
	return e
}

// Failed says that the leader did not answer, or that an effect could not be carried out.
func (f *Follower) Failed() FollowerEffects {
	e := f.still()
	e.Backoff = min(backoffMin<<min(f.failures, 10), backoffMax)
	f.failures++
	return e
}

// Truncated says what the log has become by Truncate or TruncateFully.
func (f *Follower) Truncated(log FollowerLog) {
	f.log = log
	f.hw = max(min(f.hw, log.End), log.Start)
}

// Appended says what the log has become by Append.
func (f *Follower) Appended(log FollowerLog) FollowerEffects {
	f.log = log
	return f.heard()
}

// heard takes over what the last answer said. The high watermark is the leader's, as far as the log goes, and does not
// fall with that of a new leader, who may have to find it out again: what was committed stays so.
func (f *Follower) heard() FollowerEffects {
	f.hw = max(f.hw, min(f.leaderHW, f.log.End))
	e := f.still()
	e.LogStart = max(e.LogStart, min(f.leaderStart, f.hw))
	return e
}

// still is that nothing changes.
func (f *Follower) still() FollowerEffects {
	return FollowerEffects{HighWatermark: f.hw, LogStart: f.log.Start}
}
