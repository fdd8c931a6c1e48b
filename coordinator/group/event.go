package group

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"moldau.io/moldau/protocol"
)

// Event is something that happened to a group that its operator may want to know, for the log and for the journal of the
// group. Members are told of one by one, and of every rebalance its beginning and its end.
type Event struct {
	Kind       EventKind
	Group      string
	Generation int32 // of a classic group; of a consumer group its epoch
	Members    int   // of the group, after it
	Who        Who   // whom it is about; of RebalanceBegun, who caused it
	Cause      Cause // of RebalanceBegun
	Reason     string
	// Stored says that the event is one of the records beside it: where those are refused it has not happened.
	Stored bool
}

// Who is a member as far as it is known. What is not known is empty.
type Who struct{ Member, Instance, ClientID, Host, Software string }

// EventKind is what happened.
type EventKind int8

// The kinds. The end of a rebalance is RebalanceCompleted, or GroupEmptied where nobody is left; what is RebalanceBegun
// before that belongs to the same rebalance. A rebalance of a consumer group begins when its epoch rises, and is completed
// when every member has what the target of that epoch gives it.
const (
	MemberJoined       EventKind = iota + 1
	MemberReturned               // a static member, under a new member id or epoch
	MemberLeft                   // by its own request, or by a tool's
	MemberExpired                // silent for too long
	MemberRemoved                // not where it should be in time
	MemberRefused                // the group is full
	MemberFenced                 // another one has its instance id or its epoch
	RebalanceBegun               //
	RebalanceCompleted           //
	GroupEmptied                 //
	GroupLoaded                  // by a coordinator that knows its log and nothing else
	GroupConverted               // between the classic and the consumer protocol
	GroupDeleted                 //
)

// eventTexts are the kinds in a word, and in the words of the log.
var eventTexts = [...][2]string{
	MemberJoined:       {"joined", "member joins group"},
	MemberReturned:     {"returned", "static member is back"},
	MemberLeft:         {"left", "member left group"},
	MemberExpired:      {"expired", "member's session timed out"},
	MemberRemoved:      {"removed", "member is removed from group"},
	MemberRefused:      {"refused", "member is turned away"},
	MemberFenced:       {"fenced", "member is fenced"},
	RebalanceBegun:     {"rebalancing", "group rebalances"},
	RebalanceCompleted: {"rebalanced", "group has rebalanced"},
	GroupEmptied:       {"emptied", "group is empty"},
	GroupLoaded:        {"loaded", "group is loaded"},
	GroupConverted:     {"converted", "group changes its protocol"},
	GroupDeleted:       {"deleted", "group is deleted"},
}

// OfMember says that the kind is about one member.
func (k EventKind) OfMember() bool { return k <= MemberFenced }

// EventKinds is above all kinds.
const EventKinds = len(eventTexts)

// String is the kind in a word.
func (k EventKind) String() string { return eventTexts[k][0] }

// Text is a constant message for the log.
func (k EventKind) Text() string { return eventTexts[k][1] }

// Cause is why a group rebalances, without names: there are only these.
type Cause string

// The causes.
const (
	CauseJoin         Cause = "member-joined"
	CauseLeave        Cause = "member-left"
	CauseSession      Cause = "session-timeout"
	CauseRebalance    Cause = "rebalance-timeout" // somebody did not rejoin, sync or give partitions back in time
	CauseSubscription Cause = "subscription-changed"
	CauseTopics       Cause = "topics-changed"  // made, deleted or grown
	CauseLeader       Cause = "leader-rejoined" // the leader of a classic group asks for a new assignment
	CauseStatic       Cause = "static-member-returned"
	CauseSize         Cause = "group-too-large"
	CauseLoaded       Cause = "coordinator-moved" // what was loaded was in the middle of something
	CauseStore        Cause = "not-stored"        // the assignment could not be written
	CauseProtocol     Cause = "protocol-changed"  // of the group, or its assignor
)

// Causes are all there are.
func Causes() []Cause {
	return []Cause{
		CauseJoin, CauseLeave, CauseSession, CauseRebalance, CauseSubscription, CauseTopics, CauseLeader, CauseStatic,
		CauseSize, CauseLoaded, CauseStore, CauseProtocol,
	}
}

// loadedReason is all that can be said of a group that was loaded.
const loadedReason = "the coordinator was started; what was before is not known to it"

// reasonBytesMax bounds what is said of a reason; ids of members and what clients say may be long.
const reasonBytesMax = 500

// tell notes an event.
func (m *Machine) tell(e Event) {
	e.Reason = e.Reason[:min(len(e.Reason), reasonBytesMax)]
	m.eff.Events = append(m.eff.Events, e)
}

// why is the reason for a rebalance.
type why struct {
	cause  Cause
	who    Who
	reason string
}

// name is a member as sentences call it: "member m-1 on 10.0.0.3".
func (w Who) name() string {
	s := fmt.Sprintf("member %.200s", w.Member)
	if w.Host != "" {
		s += " on " + strings.TrimPrefix(w.Host, "/")
	}
	return s
}

// silent is what is said of a member that was not heard of for so long.
func (w Who) silent(d time.Duration) string {
	return fmt.Sprintf("%s missed its heartbeat for %s", w.name(), span(d))
}

// span is a time for people: "45 s", "1 min 5 s", "1.5 s", "300 ms".
func span(d time.Duration) string {
	switch {
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second:
		return strconv.FormatFloat(d.Round(100*time.Millisecond).Seconds(), 'f', -1, 64) + " s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Round(time.Second)/time.Second))
	}
	d = d.Round(time.Second)
	s := fmt.Sprintf("%d min", int(d/time.Minute))
	if rest := int(d % time.Minute / time.Second); rest > 0 {
		s += fmt.Sprintf(" %d s", rest)
	}
	return s
}

// tellRefused tells of a heartbeat that is refused since somebody else is there.
func (m *Machine) tellRefused(r *ConsumerHeartbeat, no *refusal) {
	kind := MemberFenced
	switch no.code {
	case protocol.GroupMaxSizeReached:
		kind = MemberRefused
	case protocol.FencedInstanceID, protocol.FencedMemberEpoch, protocol.UnreleasedInstanceID:
	default:
		return
	}
	g := m.consumers[r.Group]
	if g == nil {
		return
	}
	m.tell(Event{
		Kind: kind, Group: g.id, Generation: g.epoch, Members: len(g.members), Reason: no.message,
		Who: Who{
			Member: r.Member, Instance: orEmpty(r.Instance), ClientID: r.ClientID, Host: r.ClientHost, Software: r.Software,
		},
	})
}

// because adds what the client says of its motive.
func because(reason, client string) string {
	if client == "" {
		return reason
	}
	return fmt.Sprintf("%s (client: %.255s)", reason, client)
}
