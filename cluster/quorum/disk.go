package quorum

import (
	"errors"
	"fmt"
	"path"
	"slices"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

const (
	logName      = "log"
	snapshotName = "snapshot"

	// fileBytesMax bounds what is read of either file. A log is cut long before, and a snapshot of a million partitions is
	// smaller.
	fileBytesMax = 1 << 30
)

// snapshotAt describes the snapshot file.
type snapshotAt struct {
	at      position // 0: there is none
	members *pb.ConfState
	bytes   int64 // of the file
}

// load reads the folder, or fills it if it is new.
func (l *Log) load() (Opened, error) {
	fs, dir := l.cfg.FS, l.cfg.Dir
	if err := fs.MkdirAll(dir); err != nil {
		return Opened{}, err
	}
	entries, err := fs.List(dir)
	if err != nil {
		return Opened{}, err
	}
	have := map[string]bool{}
	for _, e := range entries {
		have[e.Name] = true
	}
	if have[partName] {
		if err := vfs.RemoveIfThere(fs, l.path(partName)); err != nil {
			return Opened{}, err
		}
	}
	switch {
	case !have[logName] && have[snapshotName]:
		return Opened{}, fmt.Errorf("%w: there is a snapshot but no log", ErrDamaged)
	case !have[logName]:
		return Opened{Fresh: true}, l.create()
	}
	return l.read(have[snapshotName])
}

// create makes the first log file.
func (l *Log) create() error {
	l.self = self{raft: l.cfg.Raft, node: l.cfg.Node}
	if l.self.raft == 0 {
		l.self.raft = raftID(l.cfg.Node)
	}
	at, members := position{index: firstIndex, term: 1}, &pb.ConfState{Voters: []uint64{l.self.raft}}
	if l.cfg.Join {
		at, members = position{}, &pb.ConfState{}
	}
	l.members = []membersAt{{at.index, members}}
	if err := l.swapLog(at, nil, nil); err != nil {
		return err
	}
	l.fill(at, nil, nil)
	return nil
}

// raftID is the id of a node that has not drawn one: one more than Kafka's, because Raft has no 0.
func raftID(n protocol.BrokerID) uint64 { return uint64(n) + 1 }

// read takes in what an earlier process left.
func (l *Log) read(haveSnapshot bool) (Opened, error) {
	var found Opened
	var snap snapshot
	if haveSnapshot {
		b, err := vfs.ReadFile(l.cfg.FS, l.path(snapshotName), fileBytesMax)
		if err != nil {
			return found, err
		}
		if snap, err = parseSnapshot(b); err != nil {
			return found, err
		}
		found.Snapshot = snap.data
		l.saved = snapshotAt{at: snap.at, members: snap.members, bytes: int64(len(b))}
	}
	b, err := vfs.ReadFile(l.cfg.FS, l.path(logName), fileBytesMax)
	if err != nil {
		return found, err
	}
	if l.file, err = l.cfg.FS.Open(l.path(logName)); err != nil {
		return found, err
	}
	c, err := parseLog(b)
	if err != nil {
		return found, err
	}
	if c.base.index > firstIndex && snap.at.index < c.base.index {
		return found, fmt.Errorf("%w: the log begins behind entry %d, and no snapshot reaches so far", ErrDamaged, c.base.index)
	}
	if err := l.know(c, snap); err != nil {
		return found, err
	}
	found.Cut = int64(len(b) - c.valid)
	return found, l.adopt(c, snap, &found)
}

// know finds out who this node is in the quorum, and whether the folder is its own.
func (l *Log) know(c contents, snap snapshot) error {
	if l.self = c.self; l.self.raft != 0 {
		if l.self.node >= 0 && l.cfg.Node >= 0 && l.self.node != l.cfg.Node {
			return fmt.Errorf("the folder belongs to node %d, this is node %d", l.self.node, l.cfg.Node)
		}
		return nil
	}
	l.self = self{raft: raftID(l.cfg.Node), node: l.cfg.Node}
	members := c.members
	if snap.at.index > c.base.index {
		members = snap.members
	}
	if !contains(members, l.self.raft) {
		return fmt.Errorf("the folder belongs to node %v, this is node %d", nodesOf(members.GetVoters()), l.cfg.Node)
	}
	return nil
}

func nodesOf(ids []uint64) []protocol.BrokerID {
	nodes := make([]protocol.BrokerID, len(ids))
	for i, id := range ids {
		nodes[i] = protocol.BrokerID(id - 1)
	}
	return nodes
}

// adopt makes c and snap this log's contents.
func (l *Log) adopt(c contents, snap snapshot, found *Opened) error {
	if found.Cut > 0 {
		l.cfg.Logger.Info("metadata log had a torn end, which nobody had been told of", "bytes", found.Cut)
		if err := l.file.Truncate(int64(c.valid)); err != nil {
			return err
		}
	}
	// What was read may be in the page cache only, if a process was killed between writing and syncing. It is about to be
	// taken as promised, so it is synced now; if it has been before, this costs nothing.
	if err := l.file.Sync(); err != nil {
		return err
	}
	l.size, l.base = int64(c.valid), c.base
	l.last = c.last()
	l.synced = l.last
	at, entries, members := c.base, c.entries, c.members
	if snap.at.index > at.index { // the log was not yet cut when the process stopped, or it is, exactly here
		at, members = snap.at, snap.members
		kept := c.reaches(snap.at)
		if entries = nil; kept {
			entries = c.entries[snap.at.index-c.base.index:]
		}
		l.members = []membersAt{{at.index, members}}
		if !kept { // the snapshot is another node's, and the log was about to be replaced
			if err := l.swapLog(at, nil, c.state); err != nil {
				return err
			}
		}
	}
	l.members = []membersAt{{at.index, members}}
	found.SnapshotIndex = int64(at.index)
	l.fill(at, entries, c.state)
	return nil
}

// reaches says that the log has the entry at a place, with the same term.
func (c *contents) reaches(at position) bool {
	if at.index < c.base.index || at.index > c.last() {
		return false
	}
	return at.index == c.base.index || c.entries[at.index-c.base.index-1].GetTerm() == at.term
}

// fill gives the Raft library what is on disk.
func (l *Log) fill(at position, entries []*pb.Entry, state *pb.HardState) {
	l.store = &store{
		state: sane(state, at), base: l.conf(), dummy: at, entries: slices.Clip(entries), snapshot: l.snapshotToSend,
	}
}

// sane is the state, no older than what is known otherwise, or the library would refuse to start.
func sane(state *pb.HardState, at position) *pb.HardState {
	if state == nil {
		state = &pb.HardState{}
	}
	term, vote, commit := max(state.GetTerm(), at.term), state.GetVote(), max(state.GetCommit(), at.index)
	if term != state.GetTerm() {
		vote = 0
	}
	return &pb.HardState{Term: &term, Vote: &vote, Commit: &commit}
}

// persist makes durable what rd's messages and commits depend on.
func (l *Log) persist(rd raft.Ready, out *Ready) error {
	state := l.store.state
	if !raft.IsEmptyHardState(rd.HardState) {
		state = rd.HardState
	}
	if !raft.IsEmptySnap(rd.Snapshot) {
		if err := l.install(rd.Snapshot, state, out); err != nil {
			return err
		}
	}
	if err := l.write(rd, state); err != nil {
		return err
	}
	if rd.MustSync && !l.forgettable(rd) {
		if err := l.sync(); err != nil {
			return err
		}
	}
	l.store.add(rd.Entries)
	l.store.state = state
	return nil
}

// write appends rd to the file, in the order that frame.go explains.
func (l *Log) write(rd raft.Ready, state *pb.HardState) error {
	var b []byte
	if len(rd.Entries) > 0 {
		if first := rd.Entries[0].GetIndex(); first <= l.last {
			b = appendCut(b, first)
			l.last = first - 1
			l.synced = min(l.synced, l.last)
		}
	}
	if !raft.IsEmptyHardState(rd.HardState) {
		b = appendState(b, state, l.synced)
	}
	for _, e := range rd.Entries {
		if e.GetType() == pb.EntryConfChangeV2 && l.ordinary() {
			b = appendSelf(b, l.self) // it is about to be no ordinary folder any more
		}
		b = appendEntry(b, e)
		l.last = e.GetIndex()
	}
	if len(b) == 0 {
		return nil
	}
	if _, err := l.file.WriteAt(b, l.size); err != nil {
		return err
	}
	l.size += int64(len(b))
	l.dirty = true
	return nil
}

// forgettable says that nobody would miss rd after a crash. That is so for the beginning of a leadership in a quorum of
// one: the vote is the node's own, and the entry is empty. The next entry's sync takes it along, which makes a start one
// or two syncs shorter.
func (l *Log) forgettable(rd raft.Ready) bool {
	if !l.onlyMember() {
		return false
	}
	for _, e := range rd.Entries {
		if len(e.GetData()) > 0 || e.GetType() != pb.EntryNormal {
			return false
		}
	}
	return true
}

func (l *Log) sync() error {
	if !l.dirty {
		return nil
	}
	if err := l.file.Sync(); err != nil {
		return err
	}
	l.dirty, l.synced = false, l.last
	return nil
}

// SaveSnapshot replaces all entries up to index, which Process has returned, by data.
//
// The snapshot is in place before the log is cut, so that at every moment the two together are complete.
func (l *Log) SaveSnapshot(index int64, data []byte) error {
	if l.broken != nil {
		return l.broken
	}
	if err := l.saveSnapshot(uint64(index), data); err != nil {
		l.broken = fmt.Errorf("write metadata snapshot: %w", err)
		return l.broken
	}
	return nil
}

func (l *Log) saveSnapshot(index uint64, data []byte) error {
	if index >= l.dataTo { // what follows has no data: the state is that of the last entry applied, members included
		index = l.applied
	}
	if index <= l.saved.at.index || index < l.base.index {
		return nil // there is one that says as much
	}
	term, err := l.store.Term(index)
	if err != nil {
		return err
	}
	at, members := position{index: index, term: term}, l.confAt(index)
	b := appendSnapshot([]byte(snapshotMagic), at, members, data)
	if err := vfs.WriteFile(l.cfg.FS, l.path(snapshotName), b); err != nil {
		return err
	}
	l.saved = snapshotAt{at: at, members: members, bytes: int64(len(b))}
	var entries []*pb.Entry
	if last := l.store.last(); last > index {
		if entries, err = l.store.Entries(index+1, last+1, 1<<62); err != nil {
			return err
		}
	}
	l.forgetMembers(index)
	if err := l.swapLog(at, entries, l.store.state); err != nil {
		return err
	}
	spare := uint64(0)
	if !l.onlyMember() {
		spare = l.cfg.spareBytes
	}
	l.store.trim(index, spare)
	return nil
}

// swapLog replaces the log file by one that begins behind at, where l.members begins too.
func (l *Log) swapLog(at position, entries []*pb.Entry, state *pb.HardState) error {
	b := appendBase([]byte(logMagic), at, l.members[0].conf)
	if !l.ordinary() {
		b = appendSelf(b, l.self)
	}
	for _, e := range entries {
		b = appendEntry(b, e)
	}
	if state != nil {
		b = appendState(b, state, state.GetCommit())
	}
	if err := vfs.WriteFile(l.cfg.FS, l.path(logName), b); err != nil {
		return err
	}
	file, err := l.cfg.FS.Open(l.path(logName))
	if err != nil {
		return err
	}
	if l.file != nil {
		_ = l.file.Close() // it has been replaced; nothing that it could say matters
	}
	l.file, l.size, l.dirty, l.base = file, int64(len(b)), false, at
	l.last = at.index + uint64(len(entries))
	l.synced = l.last
	return nil
}

// ordinary says that the folder is like those of older versions: of a node that is the only member and has drawn no id.
func (l *Log) ordinary() bool {
	return l.self.raft == raftID(l.self.node) && len(l.members) == 1 && only(l.members[0].conf, l.self.raft)
}

// install makes a snapshot from another member this log's beginning. It is in place before the log is replaced; a start that
// finds the one without the other ends the work.
func (l *Log) install(snap *pb.Snapshot, state *pb.HardState, out *Ready) error {
	meta := snap.GetMetadata()
	at := position{index: meta.GetIndex(), term: meta.GetTerm()}
	staged := l.in
	if staged == nil || staged.done == nil || staged.done.at != at {
		return errors.New("the Raft library wants a snapshot that has not come")
	}
	if err := staged.place(l); err != nil {
		return err
	}
	l.saved = snapshotAt{at: at, members: staged.done.members, bytes: staged.size}
	l.members = []membersAt{{at.index, staged.done.members}}
	if err := l.swapLog(at, nil, sane(state, at)); err != nil {
		return err
	}
	l.store.dummy, l.store.entries = at, nil
	l.applied, l.dataTo = at.index, at.index
	*out = Ready{
		Snapshot: &Snapshot{Index: int64(at.index), Data: staged.done.data}, Members: new(membersOf(l.conf())),
		Messages: out.Messages,
	}
	l.in = nil
	return nil
}

func (l *Log) path(name string) string { return path.Join(l.cfg.Dir, name) }
