package group

import (
	"slices"
	"time"

	"moldau.io/moldau/internal/invariant"
	"moldau.io/moldau/protocol"
)

// State of a classic group, by the name that clients see.
type State string

// The states. A group that does not exist is Dead.
const (
	PreparingRebalance  State = "PreparingRebalance"  // members are asked to rejoin
	CompletingRebalance State = "CompletingRebalance" // they have, and wait for the leader's assignment
	Stable              State = "Stable"
	Empty               State = "Empty" // no members; perhaps offsets
	Dead                State = "Dead"
)

// group is one classic group.
type group struct {
	id         string
	state      State
	unsettled  bool  // as loaded: it was about to rebalance
	fresh      bool  // PreparingRebalance was entered from Empty: the initial delay runs, and only it ends the phase
	since      int64 // wall clock in ms of the last change of state; -1 unknown
	generation int32
	kind       string // protocol type; "" while there has been no member
	protocol   *string
	leader     string // member id; "" none
	reason     string // of the last rebalance

	members  []*member // in the order of joining, which is the order of answers and of the record
	byID     map[string]*member
	static   map[string]*member // by instance id
	pending  map[string]*member // were sent an id and have not come back with it
	unsynced map[string]*member // have the generation's JoinGroup answer and did not sync
	awaiting int                // members with a parked JoinGroup

	joined    bool          // somebody joined while the initial delay ran
	delay     time.Duration // the current piece of the initial delay
	remaining time.Duration // what may still be added to it

	joinAlarm, syncAlarm alarm

	undo func() // takes back what was done to a member in the belief that the group's record will be written

	topics map[string]struct{} // subscribed to; nil if not known
	sizes  map[string]int      // partitions of those when the generation began; see grown
}

// member of a group, or a pending one: then only id, session and alarm count.
type member struct {
	id, clientID, clientHost string
	software                 string    // of the client; "" not known
	heard                    time.Time // when it last showed life, or was given its session
	instance                 *string
	session, rebalance       time.Duration
	protocols                []Protocol
	assignment               []byte
	joinTicket, syncTicket   Ticket // parked requests
	isNew                    bool   // has not completed a rebalance
	epoch                    int32  // that it had when the group was a consumer group, until the next generation; 0 none
	alarm                    alarm
}

func newGroup(id string) *group {
	g := &group{
		id: id, state: Empty, since: -1,
		byID: map[string]*member{}, static: map[string]*member{},
		pending: map[string]*member{}, unsynced: map[string]*member{},
	}
	g.joinAlarm.g = g
	g.syncAlarm = alarm{kind: syncAlarm, g: g}
	return g
}

func (g *group) become(now time.Time, s State) {
	g.fresh = g.state == Empty && s == PreparingRebalance
	g.state = s
	g.since = now.UnixMilli()
}

// complete says that g could be stable: there is a protocol, and its leader is a member.
func (g *group) complete() bool { return g.protocol != nil && g.byID[g.leader] != nil }

func (g *group) add(mem *member) {
	if g.leader == "" {
		g.leader = mem.id
	}
	g.members = append(g.members, mem)
	g.byID[mem.id] = mem
	if mem.instance != nil {
		g.static[*mem.instance] = mem
	}
	if mem.joinTicket != 0 {
		g.awaiting++
	}
	if p := g.pending[mem.id]; p != nil {
		p.alarm.off()
		delete(g.pending, mem.id)
	}
}

// remove forgets a member. Its parked requests must have been answered.
func (g *group) remove(mem *member) {
	invariant.That(mem.joinTicket == 0 && mem.syncTicket == 0, "member %s is removed while it waits", mem.id)
	mem.alarm.off()
	delete(g.pending, mem.id)
	delete(g.unsynced, mem.id)
	if g.byID[mem.id] != mem {
		return
	}
	delete(g.byID, mem.id)
	g.members = slices.DeleteFunc(g.members, func(o *member) bool { return o == mem })
	if mem.instance != nil && g.static[*mem.instance] == mem {
		delete(g.static, *mem.instance)
	}
	if g.leader == mem.id {
		g.leader = ""
		if len(g.members) > 0 {
			g.leader = g.members[0].id
		}
	}
}

// rebalanceTimeout is the longest that a member asked for.
func (g *group) rebalanceTimeout() time.Duration {
	var d time.Duration
	for _, mem := range g.members {
		d = max(d, mem.rebalance)
	}
	return d
}

// inGeneration says that the member stands where the request says. One that was behind its consumer group when that became a
// classic one keeps what it has until it has joined: it need not lose it for being told of a generation it never heard of.
func (g *group) inGeneration(mem *member, generation int32) bool {
	return generation == g.generation ||
		mem.epoch > 0 && generation == mem.epoch && g.state == PreparingRebalance
}

func (g *group) allJoined() bool { return g.awaiting == len(g.members) && len(g.pending) == 0 }

// find checks that the sender of a request is the member it says it is (KIP-345 for the instance id).
func (g *group) find(id string, instance *string) (*member, protocol.Code) {
	if instance != nil {
		switch holder := g.static[*instance]; {
		case holder == nil:
			return nil, protocol.UnknownMemberID
		case holder.id != id:
			return nil, protocol.FencedInstanceID
		}
	}
	if mem := g.byID[id]; mem != nil {
		return mem, protocol.None
	}
	return nil, protocol.UnknownMemberID
}

// supports says that somebody who offers ps may join: at least one of them is offered by all members.
func (g *group) supports(kind string, ps []Protocol) bool {
	if g.state == Empty {
		return kind != "" && len(ps) > 0
	}
	if g.kind != kind {
		return false
	}
	for _, p := range ps {
		if g.offeredByAll(p.Name) {
			return true
		}
	}
	return false
}

func (g *group) offeredByAll(name string) bool {
	for _, mem := range g.members {
		if !mem.offers(name) {
			return false
		}
	}
	return true
}

// vote selects the protocol: of those that all members offer, each member votes for the one it likes best, and most votes
// win. A tie goes to the one that was voted for first.
func (g *group) vote() string {
	common := map[string]bool{}
	for _, p := range g.members[0].protocols {
		common[p.Name] = g.offeredByAll(p.Name)
	}
	votes := map[string]int{}
	var order []string
	for _, mem := range g.members {
		for _, p := range mem.protocols {
			if common[p.Name] {
				if votes[p.Name] == 0 {
					order = append(order, p.Name)
				}
				votes[p.Name]++
				break
			}
		}
	}
	invariant.That(len(order) > 0, "members of group %s share no protocol", g.id)
	best := order[0]
	for _, name := range order[1:] {
		if votes[name] > votes[best] {
			best = name
		}
	}
	return best
}

// who is the member for events.
func (mem *member) who() Who {
	return Who{
		Member: mem.id, Instance: orEmpty(mem.instance), ClientID: mem.clientID, Host: mem.clientHost, Software: mem.software,
	}
}

func (mem *member) offers(name string) bool {
	return slices.ContainsFunc(mem.protocols, func(p Protocol) bool { return p.Name == name })
}

// metadata is the member's subscription in the protocol's format.
func (mem *member) metadata(name *string) []byte {
	if name == nil {
		return nil
	}
	for _, p := range mem.protocols {
		if p.Name == *name {
			return p.Metadata
		}
	}
	return nil
}

// matches says that the member offers exactly ps, in the same order.
func (mem *member) matches(ps []Protocol) bool {
	return slices.EqualFunc(mem.protocols, ps, func(a, b Protocol) bool {
		return a.Name == b.Name && string(a.Metadata) == string(b.Metadata)
	})
}

// isWaiting says that a parked request stands for heartbeats. That of a new member does not: it may have gone away
// without our noticing, and nobody would ever remove it.
func (mem *member) isWaiting() bool {
	return !mem.isNew && (mem.joinTicket != 0 || mem.syncTicket != 0)
}
