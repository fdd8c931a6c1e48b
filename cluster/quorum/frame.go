package quorum

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	pb "go.etcd.io/raft/v3/raftpb"

	"moldau.io/moldau/protocol"
)

// Both files of the quorum, "log" and "snapshot", are a magic followed by frames, little endian:
//
//	0        8
//	+--------+---------+---------+-----+
//	| magic  | frame 0 | frame 1 | ... |
//	+--------+---------+---------+-----+
//
//	0        4        8      9
//	+--------+--------+------+------+
//	| length | crc    | kind | body |   length: bytes of kind and body; crc: CRC-32C of kind and body
//	+--------+--------+------+------+
//
// The bodies are unsigned varints and bytes:
//
//	base      index, term, members    the entry before the first of the log; always the first frame, nowhere else
//	entry     term, index, data       an index that is there already replaces that entry and all after it
//	change    term, index, data       as entry, of a change of the members: a ConfChangeV2 of the Raft library
//	cut       index                   the entry at index and all after it are void: others take their places
//	state     term, vote, sure, commit    Raft's hard state; the last one counts
//	self      raft id, node id + 1    whose folder it is; without one it is node's whose raft id is node id + 1
//	snapshot  index, term, members, data    the one frame of a snapshot
//
// members is four lists, each with its length before it: voters, learners, outgoing voters, learners to be.
//
// What one sync covers is in the order cut, state, entries. So an entry that is there after a crash has been written by one
// who knew, and still knows, all that was committed when it came: whoever has forgotten that a change of the members was
// committed, but has the next change in its log, might elect itself with members that do not count any more. For the same
// reason commit may count entries that the crash has taken; sure counts only those that had been synced before, so that
// where one of them is missing the disk has lost it. An older version wrote state after entries, and no commit beyond sure.
//
// The magic ends in the version of the format.
const (
	logMagic      = "mldquo\x00\x01"
	snapshotMagic = "mldsnp\x00\x01"

	frameHeaderBytes = 8
	frameBytesMax    = 1 << 30
)

type frameKind byte

const (
	kindBase     frameKind = 1
	kindEntry    frameKind = 2
	kindState    frameKind = 3
	kindSnapshot frameKind = 4
	kindSelf     frameKind = 5
	kindChange   frameKind = 6
	kindCut      frameKind = 7
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errFrame = errors.New("frame is cut short or damaged")

// beginFrame appends a frame's header; endFrame fills it in, at being where the frame began.
func beginFrame(b []byte, kind frameKind) (out []byte, at int) {
	at = len(b)
	return append(b, 0, 0, 0, 0, 0, 0, 0, 0, byte(kind)), at
}

func endFrame(b []byte, at int) []byte {
	payload := b[at+frameHeaderBytes:]
	binary.LittleEndian.PutUint32(b[at:], uint32(len(payload)))
	binary.LittleEndian.PutUint32(b[at+4:], crc32.Checksum(payload, castagnoli))
	return b
}

// nextFrame splits the first frame off b.
func nextFrame(b []byte) (kind frameKind, body, rest []byte, err error) {
	if len(b) < frameHeaderBytes+1 {
		return 0, nil, nil, errFrame
	}
	n := binary.LittleEndian.Uint32(b)
	if n < 1 || n > frameBytesMax || uint64(n) > uint64(len(b)-frameHeaderBytes) {
		return 0, nil, nil, errFrame
	}
	payload := b[frameHeaderBytes : frameHeaderBytes+int(n)]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(b[4:]) {
		return 0, nil, nil, errFrame
	}
	return frameKind(payload[0]), payload[1:], b[frameHeaderBytes+int(n):], nil
}

// position is an entry's place in the log and the term in which it was written.
type position struct{ index, term uint64 }

func appendBase(b []byte, at position, members *pb.ConfState) []byte {
	b, start := beginFrame(b, kindBase)
	b = binary.AppendUvarint(b, at.index)
	b = binary.AppendUvarint(b, at.term)
	return endFrame(appendMembers(b, members), start)
}

func appendEntry(b []byte, e *pb.Entry) []byte {
	kind := kindEntry
	if e.GetType() == pb.EntryConfChangeV2 {
		kind = kindChange
	}
	b, start := beginFrame(b, kind)
	b = binary.AppendUvarint(b, e.GetTerm())
	b = binary.AppendUvarint(b, e.GetIndex())
	return endFrame(append(b, e.GetData()...), start)
}

func appendCut(b []byte, index uint64) []byte {
	b, start := beginFrame(b, kindCut)
	return endFrame(binary.AppendUvarint(b, index), start)
}

// appendState appends st, of whose commit no more than sure has been synced.
func appendState(b []byte, st *pb.HardState, sure uint64) []byte {
	b, start := beginFrame(b, kindState)
	b = binary.AppendUvarint(b, st.GetTerm())
	b = binary.AppendUvarint(b, st.GetVote())
	b = binary.AppendUvarint(b, min(sure, st.GetCommit()))
	if st.GetCommit() > sure {
		b = binary.AppendUvarint(b, st.GetCommit())
	}
	return endFrame(b, start)
}

// self says whose folder it is.
type self struct {
	raft uint64
	node protocol.BrokerID // -1: not known
}

func appendSelf(b []byte, s self) []byte {
	b, start := beginFrame(b, kindSelf)
	b = binary.AppendUvarint(b, s.raft)
	return endFrame(binary.AppendUvarint(b, uint64(s.node+1)), start)
}

func appendSnapshot(b []byte, at position, members *pb.ConfState, data []byte) []byte {
	b, start := beginFrame(b, kindSnapshot)
	b = binary.AppendUvarint(b, at.index)
	b = binary.AppendUvarint(b, at.term)
	b = appendMembers(b, members)
	return endFrame(append(b, data...), start)
}

func appendMembers(b []byte, m *pb.ConfState) []byte {
	for _, list := range [][]uint64{m.GetVoters(), m.GetLearners(), m.GetVotersOutgoing(), m.GetLearnersNext()} {
		b = binary.AppendUvarint(b, uint64(len(list)))
		for _, id := range list {
			b = binary.AppendUvarint(b, id)
		}
	}
	return b
}

// reader reads varints off b; after a fault all reads give zero and bad is set.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) members() *pb.ConfState {
	var lists [4][]uint64
	for i := range lists {
		n := r.uvarint()
		if n > uint64(len(r.b)) { // each id takes a byte at least
			r.bad, r.b = true, nil
			break
		}
		for range n {
			lists[i] = append(lists[i], r.uvarint())
		}
	}
	// Two sets of voters are always left without being told to.
	joint := len(lists[2]) > 0
	return &pb.ConfState{
		Voters: lists[0], Learners: lists[1], VotersOutgoing: lists[2], LearnersNext: lists[3], AutoLeave: &joint,
	}
}
