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

func (m *Machine) committed(t Ticket, r *Committed) {
	var ids []string
	if r.Group != "" {
		ids = []string{r.Group}
	} else {
		ids = slices.Sorted(maps.Keys(m.offsets))
	}
	total := 0
	for _, id := range ids {
		for _, of := range m.offsets[id] {
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
