package group

import (
	"maps"
	"slices"
	"strings"

	"moldau.io/moldau/protocol"
)

// describe takes one group of a DescribeGroups. Subscriptions are told of a stable group only; assignments are those that
// the members were last given, and stay visible while the group rebalances.
func (m *Machine) describe(t Ticket, r *Describe) {
	g := m.groups[r.Group]
	if g == nil {
		message := "Group " + r.Group + " not found."
		if m.consumers[r.Group] != nil {
			message = "Group " + r.Group + " is not a classic group."
		}
		m.reply(t, &DescribeResult{Code: protocol.GroupIDNotFound, Message: message, State: Dead})
		return
	}
	res := &DescribeResult{State: g.state, Type: g.kind, Reason: g.reason, Generation: g.generation}
	for _, mem := range g.members {
		d := DescribedMember{
			Member: mem.id, Instance: mem.instance, ClientID: mem.clientID, ClientHost: mem.clientHost,
			Software: mem.software, Assignment: mem.assignment,
		}
		if g.state == Stable {
			d.Metadata = mem.metadata(g.protocol)
		}
		res.Members = append(res.Members, d)
	}
	if g.state == Stable && g.protocol != nil {
		res.Protocol = *g.protocol
	}
	m.replyStable(t, res)
}

// list takes ListGroups. Names of states and types are compared without regard to case; unknown ones match nothing.
func (m *Machine) list(t Ticket, r *List) {
	res := &ListResult{}
	if wantsType(r.Types, "Consumer") {
		for _, id := range sortedKeys(m.consumers) {
			if s := m.consumers[id].state(); wants(r.States, string(s)) {
				res.Groups = append(res.Groups, ListedGroup{Group: id, ProtocolType: consumerType, State: s, Consumer: true})
			}
		}
	}
	if wantsType(r.Types, "Classic") {
		for _, id := range slices.Sorted(maps.Keys(m.groups)) {
			if g := m.groups[id]; wants(r.States, string(g.state)) {
				res.Groups = append(res.Groups, ListedGroup{Group: id, ProtocolType: g.kind, State: g.state})
			}
		}
	}
	slices.SortFunc(res.Groups, func(a, b ListedGroup) int { return strings.Compare(a.Group, b.Group) })
	m.replyStable(t, res)
}

// wantsType takes types as they are: Kafka trims the names of states only.
func wantsType(types []string, name string) bool {
	return len(types) == 0 || slices.ContainsFunc(types, func(t string) bool { return strings.EqualFold(t, name) })
}

func wants(filter []string, name string) bool {
	return len(filter) == 0 || slices.ContainsFunc(filter, func(f string) bool {
		return strings.EqualFold(strings.TrimSpace(f), name)
	})
}
