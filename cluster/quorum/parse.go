package quorum

import (
	"errors"
	"fmt"

	pb "go.etcd.io/raft/v3/raftpb"

	"moldau.io/moldau/protocol"
)

// ErrDamaged says that the metadata log has lost something that it had acknowledged, so that opening it would mean to
// forget topics. Nothing is changed on disk.
var ErrDamaged = errors.New("the metadata log is damaged (nothing has been changed; restore its folder from a copy)")

// contents is what a log file holds.
type contents struct {
	base    position
	members *pb.ConfState
	entries []*pb.Entry
	state   *pb.HardState
	sure    uint64 // the last entry that must be there
	self    self   // its raft id is 0 where the file does not say

	valid int // bytes up to the end of the last good frame
}

// parseLog reads a log file. A tail that does not check out is left out: it was being written when the process or the
// machine stopped, so nobody has been told of it. That it was indeed the tail is checked by looking behind it for a
// state that counts an entry as committed which is lost: such a state is written only after the entry has been synced.
func parseLog(b []byte) (contents, error) {
	c := contents{self: self{node: -1}}
	if len(b) < len(logMagic) || string(b[:len(logMagic)]) != logMagic {
		return c, fmt.Errorf("%w: the file does not begin as a metadata log of this version does", ErrDamaged)
	}
	rest := b[len(logMagic):]
	for first := true; len(rest) > 0; first = false {
		kind, body, next, err := nextFrame(rest)
		if err == nil {
			err = c.take(kind, body, first)
		}
		if errors.Is(err, errFrame) && !first {
			break
		}
		if err != nil {
			return c, fmt.Errorf("%w: byte %d: %w", ErrDamaged, len(b)-len(rest), err)
		}
		rest = next
	}
	if c.members == nil {
		return c, fmt.Errorf("%w: the file has no beginning", ErrDamaged)
	}
	c.valid = len(b) - len(rest)
	if commit := lastCommit(rest); commit > c.last() {
		return c, fmt.Errorf("%w: byte %d does not check out, and entries up to %d that follow it had been committed",
			ErrDamaged, c.valid, commit)
	}
	if c.sure > c.last() {
		return c, fmt.Errorf("%w: it ends with entry %d, and entry %d had been committed", ErrDamaged, c.last(), c.sure)
	}
	if c.state.GetCommit() > c.last() { // the crash has taken what came with it
		c.state.Commit = new(c.last())
	}
	return c, nil
}

func (c *contents) last() uint64 { return c.base.index + uint64(len(c.entries)) }

// take adds one frame. An error other than errFrame is one that no crash explains.
func (c *contents) take(kind frameKind, body []byte, first bool) error {
	if first != (kind == kindBase) {
		return fmt.Errorf("frame of kind %d where none can be", kind)
	}
	r := reader{b: body}
	switch kind {
	case kindBase:
		c.base = position{index: r.uvarint(), term: r.uvarint()}
		c.members = r.members()
	case kindEntry, kindChange:
		term, index := r.uvarint(), r.uvarint()
		if r.bad {
			return errors.New("entry without term and index")
		}
		if index <= c.base.index || index > c.last()+1 {
			return fmt.Errorf("entry %d follows entry %d", index, c.last())
		}
		e := newEntry(position{index, term}, r.b)
		if kind == kindChange {
			e.Type = pb.EntryConfChangeV2.Enum()
		}
		c.entries = append(c.entries[:index-c.base.index-1], e)
	case kindCut:
		index := r.uvarint()
		if index <= c.base.index || index > c.last()+1 {
			return fmt.Errorf("cut at entry %d after entry %d", index, c.last())
		}
		c.entries = c.entries[:index-c.base.index-1]
	case kindSelf:
		c.self = self{raft: r.uvarint(), node: protocol.BrokerID(r.uvarint()) - 1}
		if c.self.raft == 0 {
			return errors.New("raft id 0")
		}
	case kindState:
		term, vote, commit := r.uvarint(), r.uvarint(), r.uvarint()
		c.sure = max(c.sure, commit)
		if len(r.b) > 0 {
			commit = r.uvarint()
		}
		c.state = &pb.HardState{Term: &term, Vote: &vote, Commit: &commit}
	default:
		return fmt.Errorf("frame of unknown kind %d", kind)
	}
	if r.bad {
		return fmt.Errorf("frame of kind %d is too short", kind)
	}
	return nil
}

func newEntry(at position, data []byte) *pb.Entry {
	typ := pb.EntryNormal
	e := &pb.Entry{Type: &typ, Index: &at.index, Term: &at.term}
	if len(data) > 0 {
		e.Data = data
	}
	return e
}

// lastCommit is the highest sure commit of any intact state frame in b, wherever it begins.
func lastCommit(b []byte) uint64 {
	const stateBytesMax = 1 + 4*10
	var highest uint64
	for i := 0; i+frameHeaderBytes < len(b); i++ {
		if b[i] > stateBytesMax || b[i+1] != 0 || b[i+2] != 0 || b[i+3] != 0 {
			continue
		}
		kind, body, _, err := nextFrame(b[i:])
		if err != nil || kind != kindState {
			continue
		}
		r := reader{b: body}
		r.uvarint()
		r.uvarint()
		highest = max(highest, r.uvarint())
	}
	return highest
}

// snapshot is what a snapshot file holds.
type snapshot struct {
	at      position
	members *pb.ConfState
	data    []byte
}

func parseSnapshot(b []byte) (snapshot, error) {
	bad := func(what string) (snapshot, error) {
		return snapshot{}, fmt.Errorf("%w: the snapshot %s", ErrDamaged, what)
	}
	if len(b) < len(snapshotMagic) || string(b[:len(snapshotMagic)]) != snapshotMagic {
		return bad("does not begin as one of this version does")
	}
	kind, body, rest, err := nextFrame(b[len(snapshotMagic):])
	if err != nil || kind != kindSnapshot || len(rest) > 0 {
		return bad("does not check out")
	}
	r := reader{b: body}
	s := snapshot{at: position{index: r.uvarint(), term: r.uvarint()}, members: r.members()}
	if r.bad {
		return bad("is too short")
	}
	s.data = r.b
	return s, nil
}
