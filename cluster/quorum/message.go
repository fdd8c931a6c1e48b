package quorum

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

var (
	// ErrMessage says that a message is none that a member of this version sends. It has been ignored.
	ErrMessage = errors.New("not a message of the metadata quorum")

	// ErrImpossible says that the state of this member and that of the others cannot both be right: its disk has lost what
	// it had kept, or another member is broken.
	ErrImpossible = errors.New("the metadata log contradicts the quorum (if this disk has lost data, remove the folder " +
		"\"quorum\" while the other brokers run, and start again: this broker then joins as a new member)")
)

// A message is a byte that says what follows, and that: a message of the Raft library as it encodes it, or unsigned varints
// and bytes:
//
//	raft    raftpb.Message
//	piece   from, to, term, index, snapshot's term, size, offset, data    of a snapshot file, which has size bytes
//	want    from, to, term, index, snapshot's term, offset                the next piece that is missing; size: all is there
//	ask     from, to                                                      no leader talks to me: what do you know?
//	known   from, to, index, term, member                                 that entry is committed; as of it you are a member (1, 0)
type messageKind byte

const (
	msgRaft  messageKind = 1
	msgPiece messageKind = 2
	msgWant  messageKind = 3
	msgKnown messageKind = 4
	msgAsk   messageKind = 5
)

// idMax bounds raft ids, terms and indexes, so that sums of them cannot run over, and keeps clear of the ids that the
// library uses for itself.
const idMax = 1 << 62

// Step takes in a message from another member, in any order, any number of times. What is not for this member is ignored.
// ErrMessage says that the sender is broken; this log goes on.
func (l *Log) Step(msg []byte) error {
	if l.broken != nil {
		return l.broken
	}
	if len(msg) == 0 {
		return ErrMessage
	}
	var err error
	l.guard(func() {
		switch messageKind(msg[0]) {
		case msgRaft:
			err = l.stepRaft(msg[1:])
		case msgPiece, msgWant, msgKnown, msgAsk:
			err = l.stepOwn(messageKind(msg[0]), msg[1:])
		default:
			err = fmt.Errorf("%w: kind %d", ErrMessage, msg[0])
		}
	})
	if l.broken != nil {
		return l.broken
	}
	return err
}

func (l *Log) stepRaft(b []byte) error {
	m := &pb.Message{}
	if err := proto.Unmarshal(b, m); err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	if m.GetTo() != l.self.raft {
		return nil // it is for whoever had this address before
	}
	if err := l.check(m); err != nil {
		return fmt.Errorf("%w: %s: %w", ErrMessage, m.GetType(), err)
	}
	l.heard(m)
	err := l.raft.Step(m)
	if errors.Is(err, raft.ErrStepPeerNotFound) || errors.Is(err, raft.ErrProposalDropped) {
		return nil // an answer to somebody that this node was
	}
	return err
}

// check says what is wrong with a message, of those things that the library takes for granted.
func (l *Log) check(m *pb.Message) error {
	from := m.GetFrom()
	if from == 0 || from > idMax || from == l.self.raft {
		return fmt.Errorf("from %d", from)
	}
	if m.GetTerm() == 0 || m.GetTerm() > idMax || m.GetIndex() > idMax || m.GetCommit() > idMax || m.GetLogTerm() > idMax {
		return errors.New("numbers that cannot be")
	}
	if len(m.GetResponses()) > 0 || m.GetSnapshot() != nil {
		return errors.New("parts that never travel")
	}
	if m.GetType() != pb.MsgApp && len(m.GetEntries()) > 0 {
		return errors.New("entries where there are none")
	}
	switch m.GetType() {
	case pb.MsgApp:
		return checkEntries(m)
	case pb.MsgAppResp:
		if !m.GetReject() && m.GetIndex() > l.tail+1 && l.raft.BasicStatus().RaftState == raft.StateLeader &&
			m.GetTerm() == l.raft.BasicStatus().GetTerm() {
			return fmt.Errorf("entry %d, which does not exist", m.GetIndex())
		}
	case pb.MsgVote, pb.MsgVoteResp, pb.MsgPreVote, pb.MsgPreVoteResp, pb.MsgHeartbeat, pb.MsgHeartbeatResp, pb.MsgTimeoutNow:
	default:
		return errors.New("this never travels")
	}
	return nil
}

// checkEntries sees that the entries of m follow one another.
func checkEntries(m *pb.Message) error {
	at := position{index: m.GetIndex(), term: m.GetLogTerm()}
	for _, e := range m.GetEntries() {
		if e.GetIndex() != at.index+1 || e.GetTerm() < at.term || e.GetTerm() > m.GetTerm() {
			return fmt.Errorf("entry %d of term %d after entry %d of term %d", e.GetIndex(), e.GetTerm(), at.index, at.term)
		}
		at = position{index: e.GetIndex(), term: e.GetTerm()}
		switch e.GetType() {
		case pb.EntryNormal:
		case pb.EntryConfChangeV2:
			if err := proto.Unmarshal(e.GetData(), &pb.ConfChangeV2{}); err != nil {
				return err
			}
		default:
			return fmt.Errorf("entry of type %d", e.GetType())
		}
	}
	return nil
}

// heard notes that a member is there.
func (l *Log) heard(m *pb.Message) {
	switch m.GetType() {
	case pb.MsgApp, pb.MsgHeartbeat:
		if m.GetTerm() >= l.raft.BasicStatus().GetTerm() {
			l.removed, l.followed = false, l.now // a leader counts on this node
		}
	case pb.MsgAppResp, pb.MsgHeartbeatResp:
		l.contact(m)
	}
}

// ask asks the others, as long as no leader talks to this node, what they know of the quorum. There are two things that a
// leader may not have told it. That it was removed: who is removed is told no more, not even that. And that a change of the
// members is committed: a leader whose vote the change has taken ends with it, and the others may need its vote as long as
// they do not know; it may never give it, having a longer log.
func (l *Log) ask() {
	silence := l.now - l.followed
	if silence < askTicks || silence%askTicks != 0 || l.raft.BasicStatus().RaftState == raft.StateLeader {
		return
	}
	for _, id := range voters(l.conf()) {
		if id != l.self.raft {
			l.reply(msgAsk, id)
		}
	}
}

func (l *Log) stepAsk(from uint64) {
	term, err := l.store.Term(l.applied)
	c := l.conf()
	if err != nil || len(c.GetVoters()) == 0 {
		return // it knows nothing
	}
	member := uint64(1)
	if contains(c, l.self.raft) && !contains(c, from) {
		member = 0
	}
	l.reply(msgKnown, from, l.applied, term, member)
}

// stepKnown believes what is news. What this node was told by a leader may be newer than what the sender has seen.
func (l *Log) stepKnown(from uint64, at position, member bool) {
	st := l.raft.BasicStatus()
	if at.index <= st.GetCommit() || !contains(l.conf(), l.self.raft) {
		return
	}
	if !member {
		l.removed = true
		return
	}
	if st.Lead == raft.None {
		l.claim = &claim{from, at}
	}
}

// claim says that an entry is committed.
type claim struct {
	from uint64
	at   position
}

// believe commits what another member has said to be committed. A log that has that entry has all before it as well. The
// library learns of it as from a leader that has sent a snapshot of entries which are there already.
func (l *Log) believe() error {
	c := l.claim
	l.claim = nil
	st := l.raft.BasicStatus()
	if st.Lead != raft.None || c.at.index <= st.GetCommit() || !l.store.has(c.at) || !contains(l.conf(), l.self.raft) {
		return nil
	}
	err := l.raft.Step(&pb.Message{
		Type: pb.MsgSnap.Enum(), From: new(c.from), To: new(l.self.raft), Term: new(st.GetTerm()),
		Snapshot: &pb.Snapshot{Metadata: &pb.SnapshotMetadata{
			Index: new(c.at.index), Term: new(c.at.term), ConfState: l.conf(),
		}},
	})
	if err != nil {
		return err
	}
	return l.raft.ForgetLeader()
}

// reply queues a message that the library knows nothing of.
func (l *Log) reply(kind messageKind, to uint64, numbers ...uint64) {
	l.replies = append(l.replies, Message{To: to, Data: l.encode(kind, to, numbers...)})
}

func (l *Log) encode(kind messageKind, to uint64, numbers ...uint64) []byte {
	b := []byte{byte(kind)}
	for _, n := range slices.Concat([]uint64{l.self.raft, to}, numbers) {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func (l *Log) stepOwn(kind messageKind, b []byte) error {
	r := reader{b: b}
	from, to := r.uvarint(), r.uvarint()
	if r.bad || from == 0 || from > idMax || from == l.self.raft {
		return fmt.Errorf("%w: no sender", ErrMessage)
	}
	if to != l.self.raft {
		return nil // it is for whoever had this address before
	}
	switch kind {
	case msgAsk:
		l.stepAsk(from)
		return nil
	case msgKnown:
		at, member := position{index: r.uvarint(), term: r.uvarint()}, r.uvarint()
		if r.bad || max(at.index, at.term) > idMax || member > 1 {
			return fmt.Errorf("%w: numbers that cannot be", ErrMessage)
		}
		l.stepKnown(from, at, member == 1)
		return nil
	}
	t := transfer{term: r.uvarint(), at: position{index: r.uvarint(), term: r.uvarint()}}
	if kind == msgPiece {
		t.size = r.uvarint()
	}
	t.offset = r.uvarint()
	if r.bad || max(t.term, t.at.index, t.at.term, t.size, t.offset) > idMax || t.term == 0 {
		return fmt.Errorf("%w: numbers that cannot be", ErrMessage)
	}
	if kind == msgWant {
		return l.stepWant(from, t)
	}
	return l.stepPiece(from, t, r.b)
}
