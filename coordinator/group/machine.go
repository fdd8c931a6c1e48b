package group

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// Machine is every group of one partition of __consumer_offsets. One goroutine at a time may use it.
//
// Hard state (saved groups, committed offsets) changes only in Apply. Soft state (members waiting in a rebalance,
// deadlines) is lost with the machine, as clients expect, and they rebuild it.
type Machine struct {
	cfg    Config
	topics Topics
	rng    *rand.Rand // member ids

	groups        map[string]*group         // classic
	consumers     map[string]*consumerGroup // of the new protocol; an id is in one of the two
	making        *consumerGroup            // made by this call; Apply takes it over
	makingClassic *group                    // the same
	upgrading     *group                    // becomes a consumer group in this call
	seen          topicsSeen
	hashes        topicHashes
	offsets       allOffsets
	committers    committers
	pending       pendingOffsets
	alarms        alarms
	expiry        time.Time // next look for expired offsets
	live          bool      // Loaded was called: records come from this machine's own decisions

	// eff is filled by one call of Handle, Tick, Loaded or Rejected, and lent to its caller.
	eff Effects
}

// Effects is what the shell owes the world. Records are appended first; Replies are released when those are committed, or
// at once if there are none. The slices are lent until the next call of the machine.
type Effects struct {
	Records []Record
	// Cuts are places in Records, ascending, before which a batch may end. What stands between two of them is one decision:
	// a log must hold all of it or nothing.
	Cuts    []int
	Replies []Reply
	Events  []Event
}

// Ticket stands for a request whose answer is owed. Zero is no ticket.
type Ticket uint64

// Reply answers the request of a ticket.
type Reply struct {
	To   Ticket
	Resp Response
	// Stable says that Resp tells of hard state: it waits until all that was applied so far is committed.
	Stable bool
}

// New makes a machine without groups. rng makes member ids: seed it so that they cannot be guessed.
func New(cfg Config, topics Topics, rng *rand.Rand) *Machine {
	return &Machine{
		cfg: cfg, topics: topics, rng: rng, groups: map[string]*group{}, consumers: map[string]*consumerGroup{},
		offsets: allOffsets{}, pending: newPendingOffsets(),
	}
}

// Loaded ends the replay. Saved members have a session from now on; a group whose last record is not that of a stable
// group is sent into a rebalance, and so is one that is larger than groups may be.
func (m *Machine) Loaded(now time.Time) Effects {
	m.begin()
	m.live = true
	m.expiry = now.Add(m.cfg.RetentionCheck)
	m.loadConsumers(now)
	for _, id := range slices.Sorted(maps.Keys(m.groups)) {
		g := m.groups[id]
		if len(g.members) == 0 {
			continue
		}
		for _, mem := range g.members {
			m.setSession(now, g, mem, mem.session)
		}
		g.sizes = m.sizes(g)
		m.event(g, GroupLoaded, Who{}, loadedReason)
		switch {
		case !g.complete(), g.unsettled:
			m.prepareRebalance(now, g, why{cause: CauseLoaded, reason: "the loaded group has no assignment"})
		case len(g.members) > m.cfg.MaxSize:
			reason := fmt.Sprintf("the loaded group has %d members, and group.max.size is %d", len(g.members), m.cfg.MaxSize)
			m.prepareRebalance(now, g, why{cause: CauseSize, reason: reason})
		}
	}
	return m.eff
}

// Handle takes one request. Its effects may answer this request, others parked earlier, or none.
func (m *Machine) Handle(now time.Time, t Ticket, req Request) Effects {
	m.begin()
	switch r := req.(type) {
	case *Heartbeat:
		m.heartbeat(now, t, r)
	case *CommitOffsets:
		m.commitOffsets(now, t, r)
	case *FetchOffsets:
		m.fetchOffsets(t, r)
	case *Join:
		m.join(now, t, r)
	case *Sync:
		m.sync(now, t, r)
	case *Leave:
		m.leave(now, t, r)
	case *Describe:
		m.describe(t, r)
	case *List:
		m.list(t, r)
	case *Delete:
		m.delete(t, r)
	case *DeleteOffsets:
		m.deleteOffsets(t, r)
	case *ForgetTopics:
		m.forgetTopics(t, r)
	case *ConsumerHeartbeat:
		m.consumerHeartbeat(now, t, r)
	case *ConsumerDescribe:
		m.consumerDescribe(t, r)
	case *Committed:
		m.committed(t, r)
	default:
		m.reply(t, req.Refuse(protocol.UnknownServerError))
	}
	return m.eff
}

// Tick does what has become due: session and rebalance timeouts, expiry of offsets.
func (m *Machine) Tick(now time.Time) Effects {
	m.begin()
	for {
		a, ok := m.alarms.due(now)
		if !ok {
			break
		}
		m.ring(now, a)
		m.cut()
		if a.kind == lookAlarm || a.consumer != nil && len(m.eff.Records) > 0 {
			return m.eff // what follows depends on these records, or has done enough; Deadline says that there is more
		}
	}
	if m.live && !now.Before(m.expiry) {
		m.expiry = now.Add(m.cfg.RetentionCheck)
		m.expireOffsets(now)
	}
	return m.eff
}

// Deadline is when Tick must next be called.
func (m *Machine) Deadline() time.Time {
	if at, ok := m.alarms.next(); ok && at.Before(m.expiry) {
		return at
	}
	return m.expiry
}

func (m *Machine) begin() {
	m.eff.Records = reuse(m.eff.Records)
	m.eff.Cuts = m.eff.Cuts[:0]
	m.eff.Replies = reuse(m.eff.Replies)
	m.eff.Events = reuse(m.eff.Events)
	m.making, m.makingClassic, m.upgrading = nil, nil, nil
}

// reuse empties a slice for the next call. What one large request took is not kept.
func reuse[T any](s []T) []T {
	clear(s)
	if cap(s) > reusedMax {
		return nil
	}
	return s[:0]
}

const reusedMax = 2048

func (m *Machine) reply(t Ticket, resp Response) {
	if t != 0 {
		m.eff.Replies = append(m.eff.Replies, Reply{To: t, Resp: resp})
	}
}

// replyStable is reply for an answer that tells of hard state.
func (m *Machine) replyStable(t Ticket, resp Response) {
	if t != 0 {
		m.eff.Replies = append(m.eff.Replies, Reply{To: t, Resp: resp, Stable: true})
	}
}

// cut ends a decision: a batch may end here.
func (m *Machine) cut() {
	if n := len(m.eff.Records); n > 0 && (len(m.eff.Cuts) == 0 || m.eff.Cuts[len(m.eff.Cuts)-1] < n) {
		m.eff.Cuts = append(m.eff.Cuts, n)
	}
}

func (m *Machine) record(r Record) { m.eff.Records = append(m.eff.Records, r) }

// event tells of a classic group.
func (m *Machine) event(g *group, kind EventKind, who Who, reason string) {
	m.tell(Event{Kind: kind, Group: g.id, Generation: g.generation, Members: len(g.members), Who: who, Reason: reason})
}

// find is g.find, and tells of a member whose place another one has taken.
func (m *Machine) find(g *group, id string, instance *string) (*member, protocol.Code) {
	mem, code := g.find(id, instance)
	if code == protocol.FencedInstanceID {
		m.event(g, MemberFenced, Who{Member: id, Instance: *instance},
			fmt.Sprintf("instance %.200s is member %.200s now", *instance, g.static[*instance].id))
	}
	return mem, code
}

// stored is event for what is so only when the records of this call are written.
func (m *Machine) stored(g *group, kind EventKind, who Who, reason string) {
	m.event(g, kind, who, reason)
	m.eff.Events[len(m.eff.Events)-1].Stored = true
}

// uuidBytes is what newMemberID adds to its prefix.
const uuidBytes = 37

// newMemberID is prefix-UUID, as Kafka's are: prefix is the client id, or the instance id of a static member.
func (m *Machine) newMemberID(prefix string) string {
	a, b := m.rng.Uint64(), m.rng.Uint64()
	a = a&^0xf000 | 0x4000            // version 4
	b = b&^(0xc0<<56) | uint64(2)<<62 // variant 1
	return fmt.Sprintf("%s-%08x-%04x-%04x-%04x-%012x", prefix, a>>32, a>>16&0xffff, a&0xffff, b>>48, b&(1<<48-1))
}
