package quorum

import (
	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
)

// store is what the Raft library reads of the log: the entries in memory, and the members. It implements raft.Storage.
//
// The data of a snapshot is not in it. It stays in its file, from where it is sent in pieces.
type store struct {
	state   *pb.HardState
	base    *pb.ConfState // members as of the entry before the first; the library asks once, when it starts
	dummy   position      // the entry before the first
	entries []*pb.Entry

	// snapshot is asked for the snapshot that a member needs which is too far behind.
	snapshot func() (*pb.Snapshot, error)
}

// InitialState implements raft.Storage.
func (s *store) InitialState() (*pb.HardState, *pb.ConfState, error) { return s.state, s.base, nil }

// FirstIndex implements raft.Storage.
func (s *store) FirstIndex() (uint64, error) { return s.dummy.index + 1, nil }

// LastIndex implements raft.Storage.
func (s *store) LastIndex() (uint64, error) { return s.last(), nil }

// Snapshot implements raft.Storage.
func (s *store) Snapshot() (*pb.Snapshot, error) { return s.snapshot() }

// Term implements raft.Storage.
func (s *store) Term(i uint64) (uint64, error) {
	switch {
	case i < s.dummy.index:
		return 0, raft.ErrCompacted
	case i == s.dummy.index:
		return s.dummy.term, nil
	case i > s.last():
		return 0, raft.ErrUnavailable
	}
	return s.entries[i-s.dummy.index-1].GetTerm(), nil
}

// Entries implements raft.Storage.
func (s *store) Entries(lo, hi, bytesMax uint64) ([]*pb.Entry, error) {
	if lo <= s.dummy.index {
		return nil, raft.ErrCompacted
	}
	if hi > s.last()+1 {
		return nil, raft.ErrUnavailable
	}
	found := s.entries[lo-s.dummy.index-1 : hi-s.dummy.index-1]
	var bytes uint64
	for i, e := range found {
		if bytes += entryBytes(e); bytes > bytesMax && i > 0 {
			found = found[:i]
			break
		}
	}
	return found[:len(found):len(found)], nil
}

// entryBytes is about what an entry takes in a message.
func entryBytes(e *pb.Entry) uint64 { return uint64(len(e.GetData())) + 24 }

func (s *store) last() uint64 { return s.dummy.index + uint64(len(s.entries)) }

// add puts entries in the place of those that have their indexes, and of all behind them. What is there already may be in
// others' hands, so it is not written over.
func (s *store) add(entries []*pb.Entry) {
	if len(entries) == 0 {
		return
	}
	keep := entries[0].GetIndex() - s.dummy.index - 1
	if keep < uint64(len(s.entries)) {
		s.entries = s.entries[:keep:keep]
	}
	s.entries = append(s.entries, entries...)
}

// trim lets entries up to index go, but for the last ones that fit into spare bytes: a member that is a little behind can
// still have them, where it would need a snapshot otherwise.
func (s *store) trim(index, spare uint64) {
	n := min(index, s.last()) - min(s.dummy.index, index)
	for n > 0 {
		bytes := entryBytes(s.entries[n-1])
		if bytes > spare {
			break
		}
		spare -= bytes
		n--
	}
	if n == 0 {
		return
	}
	s.dummy = position{index: s.entries[n-1].GetIndex(), term: s.entries[n-1].GetTerm()}
	s.entries = append([]*pb.Entry(nil), s.entries[n:]...)
}
