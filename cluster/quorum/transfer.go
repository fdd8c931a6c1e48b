package quorum

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"moldau.io/moldau/storage/vfs"
)

// A member that needs entries which the leader has no more gets the snapshot file, piece by piece: the sender holds a piece
// in memory at a time, the receiver none until all are there. The receiver says with each piece what it wants next; the
// sender has windowPieces on their way, and begins again at what was wanted last when it hears nothing.
const (
	partName = "snapshot.part"

	windowPieces = 4

	resendTicks  = 5  // without a word, until the sender repeats
	abandonTicks = 50 // without anything new being wanted, until either side gives up
)

// transfer is what the messages of both sides say.
type transfer struct {
	term         uint64 // of the leader that sends
	at           position
	size, offset uint64
}

// outgoing is a snapshot on its way to a member.
type outgoing struct {
	transfer
	file   vfs.File // the snapshot file as it was when this began
	wanted uint64   // bytes that have arrived
	heard  int64    // ticks when wanted grew last
	sent   int64    // ticks when a piece was sent last
	again  bool     // what is wanted has been sent again already
}

// incoming is a snapshot from the leader.
type incoming struct {
	transfer
	from  uint64
	file  vfs.File
	size  int64
	heard int64
	done  *snapshot // all of it
}

// snapshotToSend is the snapshot that the Raft library has for a member, without its data. There is none as long as the saved
// one does not know all members: the library ignores a snapshot whose receiver is not in it.
func (l *Log) snapshotToSend() (*pb.Snapshot, error) {
	if l.saved.at.index == 0 || l.saved.at.index < l.store.dummy.index || !l.knowsAll(l.saved.members) {
		l.wanted = true
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	return &pb.Snapshot{Metadata: &pb.SnapshotMetadata{
		Index: new(l.saved.at.index), Term: new(l.saved.at.term), ConfState: l.saved.members,
	}}, nil
}

func (l *Log) knowsAll(c *pb.ConfState) bool {
	now := l.conf()
	for _, id := range slices.Concat(voters(now), now.GetLearners()) {
		if !contains(c, id) {
			return false
		}
	}
	return true
}

// beginTransfer sends the snapshot file in the place of m.
func (l *Log) beginTransfer(m *pb.Message) {
	to, meta := m.GetTo(), m.GetSnapshot().GetMetadata()
	l.endTransfer(to)
	at := position{index: meta.GetIndex(), term: meta.GetTerm()}
	if at != l.saved.at { // it has been replaced since the library asked
		l.raft.ReportSnapshot(to, raft.SnapshotFailure)
		return
	}
	file, err := l.cfg.FS.Open(l.path(snapshotName))
	if err != nil {
		l.cfg.Logger.Warn("metadata snapshot cannot be sent", "to", to, "err", err)
		l.raft.ReportSnapshot(to, raft.SnapshotFailure)
		return
	}
	o := &outgoing{transfer: transfer{term: m.GetTerm(), at: at, size: uint64(l.saved.bytes)}, file: file, heard: l.now}
	l.out[to] = o
	l.sendPieces(to, o)
}

// sendPieces sends what the window has room for.
func (l *Log) sendPieces(to uint64, o *outgoing) {
	for o.offset < o.size && o.offset < o.wanted+windowPieces*l.cfg.pieceBytes {
		n := min(l.cfg.pieceBytes, o.size-o.offset)
		b := l.encode(msgPiece, to, o.term, o.at.index, o.at.term, o.size, o.offset)
		b = append(b, make([]byte, n)...)
		if _, err := o.file.ReadAt(b[len(b)-int(n):], int64(o.offset)); err != nil {
			l.cfg.Logger.Warn("metadata snapshot cannot be sent", "to", to, "err", err)
			l.endTransfer(to)
			l.raft.ReportSnapshot(to, raft.SnapshotFailure)
			return
		}
		l.replies = append(l.replies, Message{To: to, Data: b})
		o.offset += n
		o.sent = l.now
	}
}

// stepWant takes in what a receiver wants next.
func (l *Log) stepWant(from uint64, t transfer) error {
	o := l.out[from]
	if o == nil || o.at != t.at || o.term != t.term {
		return nil
	}
	switch {
	case t.offset > o.size:
		return fmt.Errorf("%w: byte %d of %d is wanted", ErrMessage, t.offset, o.size)
	case t.offset == o.size:
		l.endTransfer(from)
		l.raft.ReportSnapshot(from, raft.SnapshotFinish)
		return nil
	case t.offset > o.wanted:
		o.wanted, o.heard, o.again = t.offset, l.now, false
		o.offset = max(o.offset, o.wanted)
	case t.offset == 0 && o.wanted > 0: // it has begun anew
		o.wanted, o.offset = 0, 0
	case t.offset == o.wanted && !o.again: // a piece was lost, and the one behind it was not
		o.offset, o.again = o.wanted, true
	}
	l.sendPieces(from, o)
	return nil
}

// tickTransfers repeats what may have been lost, and gives up where nothing helps.
func (l *Log) tickTransfers() {
	if l.in != nil && l.in.done == nil && l.now-l.in.heard > abandonTicks {
		l.dropIncoming()
	}
	for _, to := range sortedKeys(l.out) {
		o := l.out[to]
		switch {
		case l.now-o.heard > abandonTicks || !contains(l.conf(), to):
			l.endTransfer(to)
			l.raft.ReportSnapshot(to, raft.SnapshotFailure)
		case l.now-max(o.heard, o.sent) >= resendTicks:
			o.offset, o.again = o.wanted, false
			l.sendPieces(to, o)
		}
	}
}

func (l *Log) endTransfer(to uint64) {
	if o := l.out[to]; o != nil {
		_ = o.file.Close() // it was only read
		delete(l.out, to)
	}
}

// dropTransfers ends all, as a node does that leads no more.
func (l *Log) dropTransfers() {
	for _, to := range sortedKeys(l.out) {
		l.endTransfer(to)
	}
}

// stepPiece takes in a piece of a snapshot.
func (l *Log) stepPiece(from uint64, t transfer, data []byte) error {
	st := l.raft.BasicStatus()
	switch {
	case t.size > fileBytesMax || uint64(len(data)) > t.size-min(t.size, t.offset) || len(data) == 0:
		return fmt.Errorf("%w: %d bytes at %d of a snapshot of %d", ErrMessage, len(data), t.offset, t.size)
	case t.term < st.GetTerm():
		return nil // from a leader of the past
	case t.at.index <= st.GetCommit() || l.in != nil && l.in.same(from, t) && l.in.done != nil:
		l.want(from, t, t.size) // it is there
		return nil
	}
	if l.in == nil || !l.in.same(from, t) {
		if l.in != nil && (l.in.term > t.term || l.in.done != nil) {
			return nil // there is a newer one, or Process is about to install one
		}
		if t.offset > 0 {
			l.want(from, t, 0)
			return nil
		}
		if err := l.beginIncoming(from, t); err != nil {
			return err
		}
	}
	in := l.in
	if t.offset == in.offset {
		if _, err := in.file.WriteAt(data, int64(t.offset)); err != nil {
			l.dropIncoming()
			return fmt.Errorf("write metadata snapshot: %w", err)
		}
		in.offset += uint64(len(data))
		in.heard = l.now
	}
	if in.offset < in.transfer.size {
		l.want(from, t, in.offset)
		return nil
	}
	return l.completeIncoming()
}

func (in *incoming) same(from uint64, t transfer) bool {
	return in.from == from && in.term == t.term && in.at == t.at && in.transfer.size == t.size
}

func (l *Log) want(from uint64, t transfer, offset uint64) {
	l.reply(msgWant, from, t.term, t.at.index, t.at.term, offset)
}

func (l *Log) beginIncoming(from uint64, t transfer) error {
	l.dropIncoming()
	file, err := l.cfg.FS.Create(l.path(partName))
	if err != nil {
		return fmt.Errorf("write metadata snapshot: %w", err)
	}
	l.in = &incoming{transfer: t, from: from, file: file, size: int64(t.size), heard: l.now}
	return nil
}

// completeIncoming gives the Raft library a snapshot that has come whole. Whether it wants it is seen in Process, after
// which it is installed or dropped.
func (l *Log) completeIncoming() error {
	in := l.in
	b := make([]byte, in.size)
	n, err := in.file.ReadAt(b, 0)
	if n < len(b) {
		l.dropIncoming()
		return fmt.Errorf("read metadata snapshot: %w", err)
	}
	s, err := parseSnapshot(b)
	if err == nil && (s.at != in.at || !contains(s.members, l.self.raft)) {
		err = fmt.Errorf("entry %d of term %d instead of %d of %d, for %v", s.at.index, s.at.term, in.at.index, in.at.term, s.members)
	}
	if err != nil {
		l.dropIncoming()
		return fmt.Errorf("%w: snapshot: %w", ErrMessage, err)
	}
	in.done = &s
	l.want(in.from, in.transfer, in.transfer.size)
	return l.raft.Step(&pb.Message{
		Type: pb.MsgSnap.Enum(), From: new(in.from), To: new(l.self.raft), Term: new(in.term),
		Snapshot: &pb.Snapshot{Metadata: &pb.SnapshotMetadata{
			Index: new(in.at.index), Term: new(in.at.term), ConfState: s.members,
		}},
	})
}

// place makes the file of a complete snapshot the snapshot file.
func (in *incoming) place(l *Log) error {
	if err := in.file.Sync(); err != nil {
		return err
	}
	if err := in.file.Close(); err != nil {
		return err
	}
	if err := l.cfg.FS.Rename(l.path(partName), l.path(snapshotName)); err != nil {
		return err
	}
	return l.cfg.FS.SyncDir(l.cfg.Dir)
}

func (l *Log) dropIncoming() {
	if l.in == nil {
		return
	}
	_ = l.in.file.Close() // nobody will read it
	_ = vfs.RemoveIfThere(l.cfg.FS, l.path(partName))
	l.in = nil
}

func (s *store) has(at position) bool {
	term, err := s.Term(at.index)
	return err == nil && term == at.term
}
