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
//	gone    from, to, index                                               as of that entry, you are no member
type messageKind byte

const (
	msgRaft  messageKind = 1
	msgPiece messageKind = 2
	msgWant  messageKind = 3
	msgGone  messageKind = 4
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
		case msgPiece, msgWant, msgGone:
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

// heard notes that a member is there, and tells one that is none.
func (l *Log) heard(m *pb.Message) {
	switch m.GetType() {
	case pb.MsgVote, pb.MsgPreVote:
		// Who asks for votes and is no member may have missed its removal: who leaves is told no more.
		if c := l.conf(); contains(c, l.self.raft) && !contains(c, m.GetFrom()) {
			l.reply(msgGone, m.GetFrom(), l.applied)
		}
	case pb.MsgApp, pb.MsgHeartbeat:
		if m.GetTerm() >= l.raft.BasicStatus().GetTerm() {
			l.removed = false // a leader counts on this node
		}
	case pb.MsgAppResp, pb.MsgHeartbeatResp:
		l.contact(m)
	}
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
	if kind == msgGone {
		index := r.uvarint()
		// What this node knows to be committed may be newer than what the sender has seen.
		if !r.bad && index > l.raft.BasicStatus().GetCommit() && contains(l.conf(), l.self.raft) {
			l.removed = true
		}
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
