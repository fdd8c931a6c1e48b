package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"moldau.io/moldau/broker"
)

// rateWindow is the time that rates are taken over. Clients commit every five seconds unless told otherwise, so that a
// shorter one would jump between nothing and much.
const rateWindow = 15 * time.Second

// watchFrame is what one look at a group shows. Rates are records a second, and null until there are two looks.
type watchFrame struct {
	At time.Time `json:"at"`
	groupRow
	Protocol   string           `json:"protocol"`
	Epoch      *int32           `json:"epoch"`
	Lag        int64            `json:"lag"`
	Age        *float64         `json:"lag_seconds"` // of the oldest unread record; null unknown
	Reads      *float64         `json:"reads_per_second"`
	Arrives    *float64         `json:"arrives_per_second"`
	Members    []watchMember    `json:"members"`
	Partitions []watchPartition `json:"partitions"`
	Rebalance  *lastRebalance   `json:"rebalance,omitempty"`
	Events     []string         `json:"events,omitempty"` // since the frame before
	Trouble    string           `json:"error,omitempty"`  // why the rest is from before
}

type watchMember struct {
	Member     string       `json:"member"`
	Instance   string       `json:"instance,omitempty"`
	Client     string       `json:"client"`
	Host       string       `json:"host"`
	Assignment []topicParts `json:"assignment"`
	Assigned   int          `json:"partitions"`
	Moving     int          `json:"moving"` // partitions that it has yet to get or to give back, in groups of type consumer
	Lag        int64        `json:"lag"`
	Reads      *float64     `json:"reads_per_second"`
}

type watchPartition struct {
	Topic     string   `json:"topic"`
	Partition int32    `json:"partition"`
	Committed int64    `json:"committed"`
	End       int64    `json:"end"`
	Lag       int64    `json:"lag"`
	Age       *float64 `json:"lag_seconds"`
	Reads     *float64 `json:"reads_per_second"`
	Arrives   *float64 `json:"arrives_per_second"`
	Member    string   `json:"member,omitempty"`
}

// lastRebalance is when a group last changed who has what, and why.
type lastRebalance struct {
	At      time.Time `json:"at"` // of its beginning
	Reason  string    `json:"reason"`
	Seconds float64   `json:"seconds"` // that it took, or takes so far
	GoesOn  bool      `json:"goes_on,omitempty"`
	Seen    bool      `json:"seen,omitempty"` // by this watch, since the coordinator was not asked
}

// watchHistory is what a watch remembers of its looks. The zero value has not looked yet.
type watchHistory struct {
	last      *watchFrame
	samples   map[place][]watchSample
	rebalance *lastRebalance
}

// watchSample is where a partition was.
type watchSample struct {
	at             time.Time
	committed, end int64
}

// observe makes the frame of a look. Where the look failed it is the last one, with what is wrong.
// detail is what the coordinator adds, nil unknown.
func (h *watchHistory) observe(now time.Time, v groupView, detail *broker.GroupDetail, trouble error) *watchFrame {
	if trouble != nil {
		f := *h.last
		f.At, f.Trouble, f.Events = now, trouble.Error(), nil
		if h.last.Trouble == "" {
			f.Events = []string{"out of sight: " + f.Trouble}
		}
		h.last = &f
		return &f
	}
	f := &watchFrame{At: now, groupRow: v.groupRow, Protocol: v.Protocol, Epoch: v.Epoch, Lag: v.Lag,
		Members: []watchMember{}, Partitions: []watchPartition{}}
	kept := map[place][]watchSample{}
	byMember := map[string]*watchMember{}
	ages := f.detail(detail)
	for _, m := range v.Members {
		f.Members = append(f.Members, watchMember{Member: m.Member, Instance: m.Instance, Client: m.Client, Host: m.Host,
			Assignment: m.Assignment, Assigned: m.Assigned, Moving: m.moving()})
	}
	for i := range f.Members {
		byMember[f.Members[i].Member] = &f.Members[i]
	}
	for _, p := range v.Partitions {
		at := place{p.Topic, p.Partition}
		kept[at] = remember(h.samples[at], watchSample{now, p.Committed, p.End})
		row := watchPartition{Topic: p.Topic, Partition: p.Partition, Committed: p.Committed, End: p.End, Lag: p.Lag,
			Age: ages[at], Member: p.Member}
		row.Reads = rate(kept[at], func(s watchSample) int64 { return s.committed })
		row.Arrives = rate(kept[at], func(s watchSample) int64 { return s.end })
		f.Partitions = append(f.Partitions, row)
		f.Reads, f.Arrives = plus(f.Reads, row.Reads), plus(f.Arrives, row.Arrives)
		if m := byMember[p.Member]; m != nil {
			m.Lag, m.Reads = m.Lag+max(0, p.Lag), plus(m.Reads, row.Reads)
		}
	}
	f.Events = f.since(h.last)
	if len(f.Events) > 0 && h.last != nil && f.moved(h.last) {
		h.rebalance = &lastRebalance{At: now, Reason: f.Events[0], Seen: true}
	}
	if f.Rebalance == nil {
		f.Rebalance = h.rebalance
	}
	h.samples, h.last = kept, f
	return f
}

// detail takes what the coordinator says of the whole group, and gives the age of what is unread in each partition.
func (f *watchFrame) detail(d *broker.GroupDetail) map[place]*float64 {
	if d == nil {
		return nil
	}
	f.Age = d.LagSeconds
	if r := d.Last; r != nil {
		f.Rebalance = &lastRebalance{At: r.Began, Reason: r.Reason, Seconds: r.Seconds, GoesOn: r.Ended == nil}
	}
	ages := map[place]*float64{}
	for _, p := range d.Partitions {
		ages[place{p.Topic, p.Partition}] = p.LagSeconds
	}
	return ages
}

// moving is how many partitions lie between what a member has and what it is to have.
func (p *groupPeer) moving() int {
	if p.Target == nil {
		return 0
	}
	has, wants := placesOf(p.Assignment), placesOf(p.Target)
	n := 0
	for at := range wants {
		if !has[at] {
			n++
		}
	}
	for at := range has {
		if !wants[at] {
			n++
		}
	}
	return n
}

func placesOf(parts []topicParts) map[place]bool {
	set := map[place]bool{}
	for _, t := range parts {
		for _, p := range t.Partitions {
			set[place{t.Topic, p}] = true
		}
	}
	return set
}

// remember adds a sample and drops what lies before the window, but for the sample that it begins with.
func remember(list []watchSample, s watchSample) []watchSample {
	n := len(list)
	if n > 0 && (s.committed < list[n-1].committed || s.end < list[n-1].end || (list[n-1].committed < 0) != (s.committed < 0)) {
		return []watchSample{s} // reset, made anew, or committed for the first time: what was before says nothing
	}
	list = append(list, s)
	for len(list) > 2 && s.at.Sub(list[1].at) >= rateWindow {
		list = list[1:]
	}
	return list
}

// rate is how fast something grew over the samples; nil where there is only one.
func rate(list []watchSample, of func(watchSample) int64) *float64 {
	if len(list) == 0 || of(list[len(list)-1]) < 0 {
		return nil
	}
	first, last := list[0], list[len(list)-1]
	took := last.at.Sub(first.at).Seconds()
	if took <= 0 {
		return nil
	}
	r := float64(of(last)-of(first)) / took
	return &r
}

// plus adds rates of which some are not known.
func plus(a, b *float64) *float64 {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	sum := *a + *b
	return &sum
}

// moved says that members or what they have are not those of the frame before.
func (f *watchFrame) moved(before *watchFrame) bool {
	return !maps.EqualFunc(f.holding(), before.holding(), slices.Equal)
}

// holding is what each member has.
func (f *watchFrame) holding() map[string][]place {
	held := map[string][]place{}
	for _, m := range f.Members {
		held[m.Member] = slices.SortedFunc(maps.Keys(placesOf(m.Assignment)), comparePlaces)
	}
	return held
}

// since is what has happened after the frame before, in sentences.
func (f *watchFrame) since(before *watchFrame) []string {
	if before == nil {
		return nil
	}
	var events []string
	if before.Trouble != "" {
		events = append(events, "in sight again")
	}
	had, have := before.holding(), f.holding()
	for _, m := range before.Members {
		if _, ok := have[m.Member]; !ok {
			events = append(events, fmt.Sprintf("member %s is gone", m.name()))
		}
	}
	for _, m := range f.Members {
		now := have[m.Member]
		old, ok := had[m.Member]
		switch {
		case !ok:
			events = append(events, fmt.Sprintf("member %s joined", m.name()))
		case !slices.Equal(old, now):
			events = append(events, fmt.Sprintf("member %s has %d partitions after %d", m.name(), len(now), len(old)))
		}
	}
	if f.State != before.State {
		events = append(events, fmt.Sprintf("state %s after %s", f.State, before.State))
	}
	if f.Type != before.Type {
		events = append(events, fmt.Sprintf("type %s after %s", f.Type, before.Type))
	}
	return events
}

// name is what people know a member by.
func (m *watchMember) name() string { return cmp.Or(m.Instance, m.Member) }
