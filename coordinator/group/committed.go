package group

import (
	"maps"
	"slices"

	"moldau.io/moldau/protocol"
)

// Committed asks for what groups have committed, for who measures lag. It goes to every partition. It is answered at once,
// also with what is not committed to the log yet: nothing is decided by it.
type Committed struct {
	Group string // only of this one; "" of all
	Max   int    // offsets at most; the groups that come first by name are told
}

// CommittedOffset is one of them.
type CommittedOffset struct {
	Group     string
	Topic     string
	TopicID   protocol.TopicID // zero: not known
	Partition int32
	Offset    protocol.Offset
}

// CommittedResult answers Committed: sorted by group, topic and partition.
type CommittedResult struct {
	Code    protocol.Code
	Offsets []CommittedOffset
	LeftOut int // offsets above Max
}

func (r *Committed) GroupID() string { return r.Group }
func (*CommittedResult) isResponse() {}

// Refuse answers with the code alone.
func (r *Committed) Refuse(c protocol.Code) Response { return &CommittedResult{Code: c} }

// committers are the names of the groups that have committed, in order, so that a few of very many are told without
// looking at all of them. What is added and removed is put in order when it is asked for.
type committers struct {
	sorted []string // may hold groups that have no offsets any more
	added  []string // since then
	gone   int      // groups that have lost their last offset since then
	total  int      // offsets of all groups
}

// inOrder is the names of all groups with offsets. Few that have none may be among them.
func (c *committers) inOrder(all allOffsets) []string {
	if len(c.added) == 0 && 2*c.gone <= len(c.sorted) {
		return c.sorted
	}
	slices.Sort(c.added)
	merged := make([]string, 0, len(all))
	for rest := c.added; len(c.sorted) > 0 || len(rest) > 0; {
		from := &c.sorted
		if len(c.sorted) == 0 || len(rest) > 0 && rest[0] < c.sorted[0] {
			from = &rest
		}
		id := (*from)[0]
		*from = (*from)[1:]
		if all.any(id) && (len(merged) == 0 || merged[len(merged)-1] != id) {
			merged = append(merged, id)
		}
	}
	c.sorted, c.added, c.gone = merged, nil, 0
	return merged
}

func (m *Machine) committed(t Ticket, r *Committed) {
	ids, total := []string{r.Group}, 0
	if r.Group == "" {
		ids, total = m.committers.inOrder(m.offsets), m.committers.total
	} else {
		for _, of := range m.offsets[r.Group] {
			total += len(of)
		}
	}
	res := &CommittedResult{Offsets: make([]CommittedOffset, 0, min(total, r.Max)), LeftOut: max(0, total-r.Max)}
	for _, id := range ids {
		if len(res.Offsets) >= r.Max {
			break
		}
		m.offsets[id].tell(res, id, r.Max)
	}
	m.reply(t, res)
}

// tell adds the offsets of one group to res, as long as there is room for them.
func (o offsets) tell(res *CommittedResult, id string, most int) {
	for _, topic := range slices.Sorted(maps.Keys(o)) {
		for _, p := range slices.Sorted(maps.Keys(o[topic])) {
			if len(res.Offsets) >= most {
				return
			}
			c := o[topic][p]
			res.Offsets = append(res.Offsets, CommittedOffset{
				Group: id, Topic: topic, TopicID: c.TopicID, Partition: p, Offset: c.Offset,
			})
		}
	}
}
