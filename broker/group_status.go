package broker

import (
	"errors"
	"strings"
	"time"

	"moldau.io/moldau/coordinator"
	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/coordinator/lag"
	"moldau.io/moldau/protocol"
)

// GroupStatus is one group that this broker coordinates, in short. Lag and LagSeconds are nil where they are not known.
type GroupStatus struct {
	Name       string           `json:"group"`
	State      string           `json:"state"`
	Type       string           `json:"type"` // classic or consumer
	Protocol   string           `json:"protocol_type"`
	Lag        *int64           `json:"lag"`         // records, over all partitions
	LagSeconds *float64         `json:"lag_seconds"` // the age of the oldest unread record
	Last       *RebalanceStatus `json:"last_rebalance"`
}

// RebalanceStatus is the last rebalance of a group, or the one that goes on.
type RebalanceStatus struct {
	Began   time.Time  `json:"began"`
	Ended   *time.Time `json:"ended"`   // null while it goes on
	Seconds float64    `json:"seconds"` // that it took, or takes so far
	Cause   string     `json:"cause"`
	Reason  string     `json:"reason"`
	WhoStatus
	Generation int32  `json:"generation"` // that came of it
	Members    int    `json:"members"`
	Joined     int    `json:"joined"`
	Left       int    `json:"left"`
	Begun      int    `json:"begun"`                       // how often it was begun before it ended
	Again      string `json:"begun_anew_reason,omitempty"` // why it was begun anew last
}

// WhoStatus is a member. What is not known is empty.
type WhoStatus struct {
	Member   string `json:"member"`
	Instance string `json:"instance,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	Host     string `json:"host,omitempty"`
	Software string `json:"software,omitempty"` // the client's library and its version
}

// GroupDetail is all that this broker knows of a group.
type GroupDetail struct {
	Cluster string `json:"cluster"`
	Node    int32  `json:"node"`
	GroupStatus
	Generation     int32          `json:"generation"` // of a consumer group its epoch
	Members        []WhoStatus    `json:"members"`
	Partitions     []PartitionLag `json:"partitions"`
	Journal        []GroupEntry   `json:"journal"` // the oldest first, since the coordinator was started here
	JournalDropped int            `json:"journal_dropped"`
}

// PartitionLag is how far a group is behind in one partition; see lag.Lag.
type PartitionLag struct {
	Topic      string   `json:"topic"`
	Partition  int32    `json:"partition"`
	Committed  int64    `json:"committed"`
	Start      int64    `json:"start"`
	End        int64    `json:"end"`
	Lag        int64    `json:"lag"`
	LagSeconds *float64 `json:"lag_seconds"`
	Behind     int64    `json:"behind_log_start"`
}

// GroupEntry is an entry of a group's journal.
type GroupEntry struct {
	At         time.Time `json:"at"`
	Event      string    `json:"event"`
	Count      int       `json:"count"` // events like this that it stands for
	Generation int32     `json:"generation"`
	Members    int       `json:"members"`
	WhoStatus
	Cause   string   `json:"cause,omitempty"`
	Reason  string   `json:"reason,omitempty"`
	Seconds *float64 `json:"seconds,omitempty"` // that the rebalance took which ended
}

// GroupList is the groups that this broker coordinates, as far as a limit allows.
type GroupList struct {
	Cluster string        `json:"cluster"`
	Node    int32         `json:"node"`
	Total   int           `json:"total"`
	Groups  []GroupStatus `json:"groups"`
}

const (
	groupStatusTime = time.Second // how long coordinators may take to answer who only looks
	lagOfOneMax     = 10_000      // partitions of one group that are shown
)

// Why a group cannot be shown.
var (
	ErrGroupElsewhere = errors.New("this broker does not coordinate the group; ask the admin listener of the one that does")
	ErrGroupUnknown   = errors.New("there is no such group, and none is remembered")
	ErrGroupBusy      = errors.New("the coordinator of the group is busy or being loaded; ask again")
)

// GroupStatus is the groups that this broker coordinates, sorted by name, the first ones up to a limit. Those of a
// coordinator that is busy or being loaded are missing.
func (b *Broker) GroupStatus(limit int) GroupList {
	out := GroupList{Cluster: b.image().ClusterID(), Node: b.static.NodeID(), Groups: []GroupStatus{}}
	answer := make(chan []group.ListedGroup, 1)
	b.groups.Overview(func(all []group.ListedGroup) { answer <- all })
	listed, ok := await(answer)
	if !ok {
		return out
	}
	out.Total = len(listed)
	measured := b.lag.all()
	lags := measured.lags
	if measured.leftOut > 0 && len(lags) > 0 { // the last group may not be whole
		last := lags[len(lags)-1].Group
		for len(lags) > 0 && lags[len(lags)-1].Group == last {
			lags = lags[:len(lags)-1]
		}
	}
	for _, g := range listed[:min(limit, len(listed))] {
		s := GroupStatus{Name: g.Group, State: string(g.State), Type: "classic", Protocol: g.ProtocolType}
		if g.Consumer {
			s.Type = "consumer"
		}
		for len(lags) > 0 && lags[0].Group < g.Group {
			lags = lags[1:]
		}
		n := 0
		for n < len(lags) && lags[n].Group == g.Group {
			n++
		}
		s.sum(lags[:n])
		s.Last = b.rebalanceStatus(g.Group)
		out.Groups = append(out.Groups, s)
	}
	return out
}

// await takes an answer of a coordinator, or none.
func await[T any](answer <-chan T) (got T, ok bool) {
	late := time.NewTimer(groupStatusTime)
	defer late.Stop()
	select {
	case got = <-answer:
		return got, true
	case <-late.C:
		return got, false
	}
}

// glance asks the coordinator of a group; nil where it does not answer in time.
func (b *Broker) glance(id string, req group.Request) group.Response {
	answer := make(chan group.Response, 1)
	b.groups.Glance(id, req, func(r group.Response) { answer <- r })
	r, _ := await(answer)
	return r
}

// GroupDetail is all that is known here of a group. One that is no more may still have a journal. The errors are those
// above.
func (b *Broker) GroupDetail(id string) (*GroupDetail, error) {
	d := &GroupDetail{Cluster: b.image().ClusterID(), Node: b.static.NodeID()}
	d.Name, d.Type = id, "classic"
	if err := b.describeGroup(d); err != nil {
		return nil, err
	}
	lags := b.committedLag(id)
	d.sum(lags)
	d.Partitions = make([]PartitionLag, 0, len(lags))
	for i := range lags {
		d.Partitions = append(d.Partitions, partitionLag(&lags[i]))
	}
	h := b.groups.History(id)
	d.Journal, d.JournalDropped = make([]GroupEntry, 0, len(h.Entries)), h.Dropped
	for i := range h.Entries {
		d.Journal = append(d.Journal, groupEntry(&h.Entries[i]))
	}
	d.Last = b.rebalanceStatus(id)
	if d.State == string(group.Dead) && len(d.Journal) == 0 && len(lags) == 0 {
		return nil, ErrGroupUnknown
	}
	return d, nil
}

// describeGroup fills in state and members, of whichever type the group is.
func (b *Broker) describeGroup(d *GroupDetail) error {
	d.Members = []WhoStatus{}
	if b.image().Topic(coordinator.GroupsTopic) == nil {
		return ErrGroupUnknown // there has been no group yet
	}
	r, ok := b.glance(d.Name, &group.Describe{Group: d.Name}).(*group.DescribeResult)
	switch {
	case !ok || r.Code == protocol.CoordinatorLoadInProgress:
		return ErrGroupBusy
	case r.Code == protocol.GroupIDNotFound:
		return b.describeConsumers(d)
	case r.Code != protocol.None:
		return ErrGroupElsewhere
	}
	d.State, d.Protocol, d.Generation = string(r.State), r.Type, r.Generation
	for _, m := range r.Members {
		d.Members = append(d.Members, whoStatus(group.Who{
			Member: m.Member, Instance: orEmpty(m.Instance), ClientID: m.ClientID, Host: m.ClientHost, Software: m.Software,
		}))
	}
	return nil
}

func (b *Broker) describeConsumers(d *GroupDetail) error {
	r, ok := b.glance(d.Name, &group.ConsumerDescribe{Group: d.Name}).(*group.ConsumerDescribeResult)
	switch {
	case !ok:
		return ErrGroupBusy
	case r.Code != protocol.None:
		d.State = string(group.Dead)
		return nil
	}
	d.State, d.Type, d.Protocol, d.Generation = string(r.State), "consumer", "consumer", r.Epoch
	for i := range r.Members {
		m := &r.Members[i]
		d.Members = append(d.Members, whoStatus(group.Who{
			Member: m.Member, Instance: orEmpty(m.Instance), ClientID: m.ClientID, Host: m.ClientHost, Software: m.Software,
		}))
	}
	return nil
}

// committedLag is the lag of one group.
func (b *Broker) committedLag(id string) []lag.Lag {
	r, ok := b.glance(id, &group.Committed{Group: id, Max: lagOfOneMax}).(*group.CommittedResult)
	if !ok {
		return nil
	}
	return b.lag.measure(r.Offsets)
}

// sum is the lag over all partitions, and the age of the oldest record of them all.
func (s *GroupStatus) sum(lags []lag.Lag) {
	if len(lags) == 0 {
		return
	}
	records, oldest, known := int64(0), time.Duration(0), true
	for i := range lags {
		records += lags[i].Records
		oldest = max(oldest, lags[i].Age)
		known = known && lags[i].Age != lag.Unknown
	}
	s.Lag = &records
	if known {
		s.LagSeconds = seconds(oldest)
	}
}

// seconds is an age, or nil where it is not known.
func seconds(d time.Duration) *float64 {
	if d < 0 {
		return nil
	}
	s := d.Seconds()
	return &s
}

func partitionLag(l *lag.Lag) PartitionLag {
	return PartitionLag{
		Topic: l.Topic, Partition: l.Partition, Committed: int64(l.Offset), Start: int64(l.Start), End: int64(l.End),
		Lag: l.Records, LagSeconds: seconds(l.Age), Behind: l.Behind,
	}
}

func (b *Broker) rebalanceStatus(id string) *RebalanceStatus {
	r := b.groups.LastRebalance(id)
	if r == nil {
		return nil
	}
	s := &RebalanceStatus{
		Began: r.Began, Cause: string(r.Cause), Reason: r.Reason, WhoStatus: whoStatus(r.Who), Generation: r.Generation,
		Members: r.Members, Joined: r.Joined, Left: r.Left, Begun: r.Begun,
		Again: r.Again,
	}
	if r.Ended.IsZero() {
		s.Seconds = time.Since(r.Began).Seconds()
	} else {
		s.Ended, s.Seconds = &r.Ended, r.Ended.Sub(r.Began).Seconds()
	}
	return s
}

func whoStatus(w group.Who) WhoStatus {
	return WhoStatus{
		Member: w.Member, Instance: w.Instance, ClientID: w.ClientID, Host: strings.TrimPrefix(w.Host, "/"),
		Software: w.Software,
	}
}

func groupEntry(e *coordinator.Entry) GroupEntry {
	out := GroupEntry{
		At: e.At, Event: e.Kind.String(), Count: e.Count, Generation: e.Generation, Members: e.Members,
		WhoStatus: whoStatus(e.Who), Cause: string(e.Cause), Reason: e.Reason,
	}
	if e.Took > 0 {
		out.Seconds = seconds(e.Took)
	}
	return out
}
