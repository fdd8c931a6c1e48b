package coordinator

import (
	"container/list"
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"moldau.io/moldau/coordinator/group"
)

const (
	journalEntriesMax = 64       // of one group; the oldest go
	journalBytesMax   = 16 << 20 // of all groups, about; the group that was quiet for longest is forgotten
	journalAlikeMax   = 8        // entries of a kind that stand one by one within a rebalance; more are counted
	entryBytes        = 256      // of an Entry without its strings
	historyBytes      = 512      // of a history without its entries
	secondsUnit       = float64(time.Second)
)

// Entry is one event of a group's journal.
type Entry struct {
	group.Event
	At    time.Time
	Took  time.Duration // of the end of a rebalance: since it began
	Count int           // events of this kind that the entry stands for; Event is the last of them
}

// Rebalance is what is known of one.
type Rebalance struct {
	Began, Ended time.Time // Ended is zero while it goes on
	Cause        group.Cause
	Reason       string
	Who          group.Who // who caused it
	Generation   int32     // that came of it; while it goes on, the one before
	Members      int
	Joined       int    // members that joined it, or came back
	Left         int    // members that left, were silent for too long, or did not do in time what they had to
	Begun        int    // how often it was begun before it ended
	Again        string // the reason for which it was begun anew last; "" if it was not
}

// History is what a group did lately, as far as this coordinator has seen it.
type History struct {
	Entries []Entry // the oldest first
	Dropped int     // entries that are no more kept
	Last    *Rebalance
}

// RebalanceSeconds are the upper bounds of JournalCounts.Buckets.
var RebalanceSeconds = [...]float64{.01, .1, .5, 1, 5, 10, 30, 60, 300}

// JournalCounts is what was counted of all groups.
type JournalCounts struct {
	Rebalances map[group.Cause]uint64 // that began
	Ended      uint64                 // that came to an end
	Seconds    float64                // that those took
	Buckets    [len(RebalanceSeconds)]uint64
}

// journal remembers what groups did: it is fed with the events of all shards, and read by whoever asks why a group
// rebalances. It is kept in memory only, so it is lost with the coordinator.
type journal struct {
	logger *slog.Logger

	mu     sync.Mutex
	groups map[string]*list.Element // of *history
	recent *list.List               // of *history; the one that was written last is in front
	bytes  int
	counts JournalCounts
}

// history is the journal of one group.
type history struct {
	partition int32
	group     string
	entries   []Entry // a ring once it is full: next is the oldest
	next      int
	dropped   int
	bytes     int
	last      *Rebalance
	alike     [group.EventKinds]int // entries by kind since a rebalance began or ended
}

func newJournal(logger *slog.Logger) *journal {
	return &journal{
		logger: logger, groups: map[string]*list.Element{}, recent: list.New(),
		counts: JournalCounts{Rebalances: map[group.Cause]uint64{}},
	}
}

// note takes an event of a group of the partition, and logs it: rebalances where they begin and end, what happens to
// members only for who looks closely, since a group may have thousands of them.
func (j *journal) note(now time.Time, partition int32, e *group.Event) {
	j.mu.Lock()
	if e.Kind == group.RebalanceCompleted && !j.running(e.Group) {
		j.mu.Unlock()
		return // its beginning was before this coordinator, or there was none: a static member has taken up what was its own
	}
	h := j.history(partition, e.Group)
	was := h.bytes
	entry, level := h.take(now, e)
	j.count(&entry, level)
	j.bytes += h.bytes - was
	j.shrink()
	var last Rebalance
	if h.last != nil {
		last = *h.last
	}
	j.mu.Unlock()
	if j.logger.Enabled(context.Background(), level) {
		j.log(level, &entry, &last)
	}
}

// running says that a rebalance of the group goes on.
func (j *journal) running(id string) bool {
	el := j.groups[id]
	return el != nil && el.Value.(*history).running()
}

// history is that of a group, which becomes the one that was written last.
func (j *journal) history(partition int32, id string) *history {
	if el := j.groups[id]; el != nil {
		j.recent.MoveToFront(el)
		return el.Value.(*history)
	}
	h := &history{partition: partition, group: strings.Clone(id), bytes: historyBytes + 2*len(id)}
	j.groups[h.group] = j.recent.PushFront(h)
	j.bytes += h.bytes
	return h
}

// shrink forgets groups that nothing happened to for longest. The one in front stays.
func (j *journal) shrink() {
	for j.bytes > journalBytesMax && j.recent.Len() > 1 {
		j.forgetOne(j.recent.Back())
	}
}

func (j *journal) forgetOne(el *list.Element) {
	h := j.recent.Remove(el).(*history)
	delete(j.groups, h.group)
	j.bytes -= h.bytes
}

// forget drops the groups of a partition: another broker coordinates them now.
func (j *journal) forget(partition int32) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for el := j.recent.Front(); el != nil; {
		next := el.Next()
		if el.Value.(*history).partition == partition {
			j.forgetOne(el)
		}
		el = next
	}
}

// count keeps the metrics of rebalances.
func (j *journal) count(e *Entry, level slog.Level) {
	switch {
	case e.Kind == group.RebalanceBegun && level == slog.LevelInfo:
		j.counts.Rebalances[e.Cause]++
	case ends(e.Kind) && e.Took > 0:
		took := float64(e.Took) / secondsUnit
		j.counts.Ended++
		j.counts.Seconds += took
		for i, bound := range RebalanceSeconds {
			if took <= bound {
				j.counts.Buckets[i]++
				break
			}
		}
	}
}

// ends says that a rebalance is over with an event of this kind.
func ends(k group.EventKind) bool {
	return k == group.RebalanceCompleted || k == group.GroupEmptied || k == group.GroupDeleted
}

// take adds an event, and says how it is logged.
func (h *history) take(now time.Time, e *group.Event) (Entry, slog.Level) {
	entry, level := Entry{Event: *e, At: now, Count: 1}, slog.LevelDebug
	entry.Group = h.group // one string for all entries
	running := h.running()
	switch {
	case e.Kind == group.RebalanceBegun && running:
		h.last.Begun++
		h.last.Again = e.Reason
	case e.Kind == group.RebalanceBegun:
		level = slog.LevelInfo
		h.begin(now, e)
	case ends(e.Kind):
		level = slog.LevelInfo
		if running {
			entry.Took = max(now.Sub(h.last.Began), 1)
			h.last.Ended, h.last.Generation, h.last.Members = now, e.Generation, e.Members
		}
		h.alike = [len(h.alike)]int{}
	case e.Kind == group.GroupConverted:
		level = slog.LevelInfo
	}
	if h.running() {
		h.last.member(e.Kind)
		h.last.Members = e.Members
	}
	h.add(entry)
	return entry, level
}

// running says that a rebalance goes on.
func (h *history) running() bool { return h.last != nil && h.last.Ended.IsZero() }

// begin opens a rebalance. What happened to members just before is what it is about, so it counts.
func (h *history) begin(now time.Time, e *group.Event) {
	h.last = &Rebalance{
		Began: now, Cause: e.Cause, Reason: e.Reason, Who: e.Who, Generation: e.Generation, Members: e.Members, Begun: 1,
	}
	for i := len(h.entries) - 1; i >= 0; i-- {
		one := &h.entries[(h.next+i)%len(h.entries)]
		if !one.Kind.OfMember() || one.At != now {
			break
		}
		for range one.Count {
			h.last.member(one.Kind)
		}
	}
	h.alike = [len(h.alike)]int{}
}

// member counts what happened to one member.
func (r *Rebalance) member(k group.EventKind) {
	switch k {
	case group.MemberJoined, group.MemberReturned:
		r.Joined++
	case group.MemberLeft, group.MemberExpired, group.MemberRemoved:
		r.Left++
	}
}

// add writes an entry, over the oldest if there are many, or counts it with one of its kind if those are many.
func (h *history) add(e Entry) {
	folds := e.Kind.OfMember() || e.Kind == group.RebalanceBegun
	if h.alike[e.Kind]++; folds && h.alike[e.Kind] > journalAlikeMax {
		for i := len(h.entries) - 1; i >= 0; i-- {
			if old := &h.entries[(h.next+i)%len(h.entries)]; old.Kind == e.Kind {
				e.Count = old.Count + 1
				h.bytes += e.size() - old.size()
				*old = e
				return
			}
		}
	}
	h.bytes += e.size()
	if len(h.entries) < journalEntriesMax {
		h.entries = append(h.entries, e)
		return
	}
	h.bytes -= h.entries[h.next].size()
	h.dropped += h.entries[h.next].Count
	h.entries[h.next] = e
	h.next = (h.next + 1) % journalEntriesMax
}

// size is about what an entry takes of the memory, as if it shared no string with others.
func (e *Entry) size() int {
	w := &e.Who
	return entryBytes + len(e.Reason) + len(w.Member) + len(w.Instance) + len(w.ClientID) + len(w.Host) + len(w.Software)
}

// log writes one line.
func (j *journal) log(level slog.Level, e *Entry, last *Rebalance) {
	args := make([]any, 0, 24)
	args = append(args, "group", e.Group, "generation", e.Generation, "members", e.Members)
	switch {
	case e.Took > 0:
		args = append(args, "took", e.Took.Round(time.Millisecond), "joined", last.Joined, "left", last.Left,
			"cause", string(last.Cause), "reason", last.Reason)
	case e.Kind == group.RebalanceBegun:
		args = append(args, "cause", string(e.Cause), "reason", e.Reason)
	case e.Reason != "":
		args = append(args, "reason", e.Reason)
	}
	who := e.Who
	if e.Took > 0 {
		who = last.Who
	}
	for _, kv := range [...][2]string{
		{"member", who.Member}, {"instance", who.Instance}, {"client", who.ClientID},
		{"host", strings.TrimPrefix(who.Host, "/")}, {"software", who.Software},
	} {
		if kv[1] != "" {
			args = append(args, kv[0], kv[1][:min(len(kv[1]), whoBytesMax)])
		}
	}
	j.logger.Log(context.Background(), level, e.Kind.Text(), args...)
}

// whoBytesMax bounds what is logged of an id: they may be 32 KiB long.
const whoBytesMax = 256

// History is what a group did lately. It is empty for one that nothing is known of.
func (g *Groups) History(id string) History {
	j := g.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	el := j.groups[id]
	if el == nil {
		return History{}
	}
	h := el.Value.(*history)
	out := History{Entries: make([]Entry, 0, len(h.entries)), Dropped: h.dropped}
	for i := range h.entries {
		out.Entries = append(out.Entries, h.entries[(h.next+i)%len(h.entries)])
	}
	slices.SortStableFunc(out.Entries, func(a, b Entry) int { return a.At.Compare(b.At) }) // counted ones have moved
	out.Last = h.rebalance()
	return out
}

// LastRebalance is the last one of a group, or the one that goes on; nil for none that is known.
func (g *Groups) LastRebalance(id string) *Rebalance {
	g.journal.mu.Lock()
	defer g.journal.mu.Unlock()
	if el := g.journal.groups[id]; el != nil {
		return el.Value.(*history).rebalance()
	}
	return nil
}

func (h *history) rebalance() *Rebalance {
	if h.last == nil {
		return nil
	}
	r := *h.last
	return &r
}

// JournalCounts is what was counted since the start.
func (g *Groups) JournalCounts() JournalCounts {
	j := g.journal
	j.mu.Lock()
	defer j.mu.Unlock()
	out := j.counts
	out.Rebalances = make(map[group.Cause]uint64, len(j.counts.Rebalances))
	for cause, n := range j.counts.Rebalances {
		out.Rebalances[cause] = n
	}
	return out
}
