package quorum

import (
	"errors"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/confchange"
	pb "go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"
	"google.golang.org/protobuf/proto"
)

// ErrChanging says that the members are being changed already.
var ErrChanging = errors.New("the members of the metadata quorum are being changed; try again when that is done")

// ErrOwnVote says that a leader cannot take its own vote. It would lead no more as soon as it has, maybe before it has told
// the others, who could need it to go on. It can hand the lead to another, who then takes its vote.
var ErrOwnVote = errors.New("a leader of the metadata quorum cannot take its own vote: transfer the leadership first")

// Members is who belongs to the quorum, by raft id, sorted.
type Members struct {
	Voters   []uint64
	Learners []uint64 // follow, and do not vote

	// Outgoing are the voters of before, while a change of several members is under way: then a majority of Voters and
	// one of Outgoing is needed. Next are those of them that become learners.
	Outgoing []uint64
	Next     []uint64
}

// Has says that id is in any of the lists.
func (m Members) Has(id uint64) bool {
	return slices.Contains(m.Voters, id) || slices.Contains(m.Learners, id) || slices.Contains(m.Outgoing, id)
}

// MemberChange is a change of the members, made in one step: with several voters in it, by way of a joint majority of the
// old ones and the new ones, which is left without being told to.
type MemberChange struct {
	AddLearners []uint64
	Promote     []uint64 // a learner, or a stranger, to a voter
	Demote      []uint64 // a voter to a learner
	Remove      []uint64
}

// membersAt is the members from the entry at index on.
type membersAt struct {
	index uint64
	conf  *pb.ConfState
}

func (l *Log) conf() *pb.ConfState { return l.members[len(l.members)-1].conf }

// confAt is the members as of the entry at index.
func (l *Log) confAt(index uint64) *pb.ConfState {
	found := l.members[0].conf
	for _, m := range l.members[1:] {
		if m.index <= index {
			found = m.conf
		}
	}
	return found
}

// forgetMembers drops what was so before index.
func (l *Log) forgetMembers(index uint64) {
	kept := []membersAt{{index, l.confAt(index)}}
	for _, m := range l.members[1:] {
		if m.index > index {
			kept = append(kept, m)
		}
	}
	l.members = kept
}

func (l *Log) onlyVoter() bool { return slices.Equal(voters(l.conf()), []uint64{l.self.raft}) }

func (l *Log) onlyMember() bool { return only(l.conf(), l.self.raft) }

func only(c *pb.ConfState, id uint64) bool {
	return slices.Equal(voters(c), []uint64{id}) && len(c.GetLearners()) == 0
}

// voters is all whose votes count.
func voters(c *pb.ConfState) []uint64 {
	return slices.Concat(c.GetVoters(), c.GetVotersOutgoing())
}

func contains(c *pb.ConfState, id uint64) bool {
	return slices.Contains(voters(c), id) || slices.Contains(c.GetLearners(), id)
}

func membersOf(c *pb.ConfState) Members {
	sorted := func(ids []uint64) []uint64 {
		ids = slices.Clone(ids)
		slices.Sort(ids)
		return ids
	}
	return Members{
		Voters: sorted(c.GetVoters()), Learners: sorted(c.GetLearners()),
		Outgoing: sorted(c.GetVotersOutgoing()), Next: sorted(c.GetLearnersNext()),
	}
}

// Change begins a change of the members. It has happened once Process has returned the new Members; if this node stops
// leading before that, it may or may not.
func (l *Log) Change(c MemberChange) error {
	switch {
	case l.broken != nil:
		return l.broken
	case !l.leads():
		return ErrNotLeader
	case l.changeAt > l.applied, len(l.conf().GetVotersOutgoing()) > 0:
		return ErrChanging
	case slices.Contains(c.Remove, l.self.raft), slices.Contains(c.Demote, l.self.raft),
		slices.Contains(c.AddLearners, l.self.raft):
		return ErrOwnVote
	}
	cc := c.encode()
	if len(cc.GetChanges()) == 0 {
		return nil
	}
	if _, err := tryChange(l.conf(), cc); err != nil {
		return fmt.Errorf("change the members of the metadata quorum: %w", err)
	}
	var err error
	l.guard(func() { err = l.raft.ProposeConfChange(cc) })
	if err = l.refusal(err); err != nil {
		return err
	}
	l.tail++
	l.changeAt = l.tail
	return nil
}

func (c MemberChange) encode() *pb.ConfChangeV2 {
	out := &pb.ConfChangeV2{}
	add := func(typ pb.ConfChangeType, ids []uint64) {
		for _, id := range ids {
			out.Changes = append(out.Changes, &pb.ConfChangeSingle{Type: typ.Enum(), NodeId: new(id)})
		}
	}
	add(pb.ConfChangeAddNode, c.Promote)
	add(pb.ConfChangeAddLearnerNode, slices.Concat(c.AddLearners, c.Demote))
	add(pb.ConfChangeRemoveNode, c.Remove)
	return out
}

// tryChange is what a change makes of c, or what is wrong with it, where the Raft library would panic.
func tryChange(c *pb.ConfState, cc *pb.ConfChangeV2) (*pb.ConfState, error) {
	for _, s := range cc.GetChanges() {
		if s.GetNodeId() == 0 || s.GetNodeId() > idMax {
			return nil, fmt.Errorf("no member can have the id %d", s.GetNodeId())
		}
	}
	if cc.GetTransition() != pb.ConfChangeTransitionAuto {
		return nil, errors.New("changes are made in the library's own way only")
	}
	tr := confchange.Changer{Tracker: tracker.MakeProgressTracker(1, 0)}
	cfg, progress, err := confchange.Restore(tr, c)
	if err != nil {
		return nil, err
	}
	tr.Tracker.Config, tr.Tracker.Progress = cfg, progress
	if cc.LeaveJoint() {
		cfg, progress, err = tr.LeaveJoint()
	} else if auto, ok := cc.EnterJoint(); ok {
		cfg, progress, err = tr.EnterJoint(auto, cc.GetChanges()...)
	} else {
		cfg, progress, err = tr.Simple(cc.GetChanges()...)
	}
	if err != nil {
		return nil, err
	}
	tr.Tracker.Config, tr.Tracker.Progress = cfg, progress
	return tr.Tracker.ConfState(), nil
}

// changed is what an entry makes of c.
func changed(c *pb.ConfState, e *pb.Entry) (*pb.ConfState, error) {
	cc, err := decodeChange(e)
	if err != nil {
		return nil, err
	}
	next, err := tryChange(c, cc)
	if err != nil {
		return nil, fmt.Errorf("entry %d of the metadata log changes the members in a way that cannot be: %w", e.GetIndex(), err)
	}
	return next, nil
}

func decodeChange(e *pb.Entry) (*pb.ConfChangeV2, error) {
	cc := &pb.ConfChangeV2{}
	if err := proto.Unmarshal(e.GetData(), cc); err != nil {
		return nil, fmt.Errorf("entry %d of the metadata log changes the members in a way that cannot be read: %w",
			e.GetIndex(), err)
	}
	return cc, nil
}

// applyChange takes a committed change of the members in.
func (l *Log) applyChange(e *pb.Entry, out *Ready) error {
	if _, err := changed(l.conf(), e); err != nil {
		return err
	}
	cc, err := decodeChange(e)
	if err != nil {
		return err
	}
	l.members = append(l.members, membersAt{e.GetIndex(), l.raft.ApplyConfChange(cc)})
	out.Members = new(membersOf(l.conf()))
	if contains(l.conf(), l.self.raft) {
		l.removed = false
	}
	return nil
}
