package quorum

import (
	"errors"
	"fmt"
	"log/slog"
	"path"

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

// Config is what a Log needs to know.
type Config struct {
	FS     vfs.FS
	Dir    string            // DATA/quorum
	Node   protocol.BrokerID // this voter
	Logger *slog.Logger
}

// Log is this node's copy of the metadata log, and its part in the quorum. One goroutine may use it.
//
// The quorum has one voter, this node, so that it is its leader as soon as it is open, and no messages leave.
type Log struct {
	cfg  Config
	file vfs.File
	size int64 // of file

	raft    *raft.RawNode
	store   *raft.MemoryStorage // the entries since the snapshot, which are those in file
	members *pb.ConfState

	snapshotBytes int64
	last, synced  uint64 // index of the last entry in file, and of the last one that a sync has covered
	dirty         bool   // file has frames that no sync has covered
	broken        error
}

// Entry is a committed entry of the log.
type Entry struct {
	Index int64
	Data  []byte
}

// Opened is what Open found.
type Opened struct {
	Fresh         bool   // the folder was empty
	Snapshot      []byte // nil if there is none; entries before SnapshotIndex will not be seen again
	SnapshotIndex int64
	Cut           int64 // bytes of a torn tail that were cut off
}

// firstIndex is where a new log begins. What is before it does not exist, as if a snapshot of an empty state had been
// taken there, which is how the Raft library wants members to be given that are there from the beginning.
const firstIndex = 1

// Open opens or creates the log in cfg.Dir, and makes this node the leader. Committed entries come from Process.
func Open(cfg Config) (*Log, Opened, error) {
	l := &Log{cfg: cfg}
	found, err := l.open()
	if err != nil {
		if l.file != nil {
			_ = l.file.Close() // the first error says more
		}
		return nil, Opened{}, fmt.Errorf("open metadata log %s: %w", cfg.Dir, err)
	}
	return l, found, nil
}

func (l *Log) open() (Opened, error) {
	found, err := l.load()
	if err != nil {
		return found, err
	}
	id := raftID(l.cfg.Node)
	if len(l.members.GetVoters()) != 1 || l.members.GetVoters()[0] != id {
		return found, fmt.Errorf("the folder belongs to node %v, this is node %d", nodesOf(l.members.GetVoters()), l.cfg.Node)
	}
	last, err := l.store.LastIndex()
	if err != nil {
		return found, err
	}
	l.raft, err = raft.NewRawNode(&raft.Config{
		ID: id, Storage: l.store, Applied: uint64(found.SnapshotIndex),
		ElectionTick: 10, HeartbeatTick: 1, PreVote: true, CheckQuorum: true,
		MaxSizePerMsg: 1 << 20, MaxInflightMsgs: 256,
		Logger: raftLogger{l.cfg.Logger},
	})
	if err != nil {
		return found, err
	}
	if err := l.raft.Campaign(); err != nil {
		return found, err
	}
	l.cfg.Logger.Debug("metadata log opened", "entries", last, "snapshot", found.SnapshotIndex)
	return found, nil
}

// raftID is the node's id in the quorum: one more than Kafka's, because Raft has no 0.
func raftID(n protocol.BrokerID) uint64 { return uint64(n) + 1 }

func nodesOf(ids []uint64) []protocol.BrokerID {
	nodes := make([]protocol.BrokerID, len(ids))
	for i, id := range ids {
		nodes[i] = protocol.BrokerID(id - 1)
	}
	return nodes
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
	l.members = &pb.ConfState{Voters: []uint64{raftID(l.cfg.Node)}}
	if err := l.swapLog(position{index: firstIndex, term: 1}, nil, nil); err != nil {
		return err
	}
	return l.fill(position{index: firstIndex, term: 1}, nil, nil, nil)
}

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
		found.Snapshot, l.snapshotBytes = snap.data, int64(len(b))
	}
	b, err := vfs.ReadFile(l.cfg.FS, l.path(logName), fileBytesMax)
	if err != nil {
		return found, err
	}
	file, err := l.cfg.FS.Open(l.path(logName))
	if err != nil {
		return found, err
	}
	l.file = file
	c, err := parseLog(b)
	if err != nil {
		return found, err
	}
	if c.base.index != firstIndex && snap.at.index < c.base.index {
		return found, fmt.Errorf("%w: the log begins behind entry %d, and no snapshot reaches so far", ErrDamaged, c.base.index)
	}
	if found.Cut = int64(len(b) - c.valid); found.Cut > 0 {
		l.cfg.Logger.Info("metadata log had a torn end, which nobody had been told of", "bytes", found.Cut)
		if err := file.Truncate(int64(c.valid)); err != nil {
			return found, err
		}
	}
	// What was read may be in the page cache only, if a process was killed between writing and syncing. It is about to be
	// taken as committed, so it is synced now; if it has been before, this costs nothing.
	if err := file.Sync(); err != nil {
		return found, err
	}
	l.size, l.members = int64(c.valid), c.members
	l.last = max(c.last(), snap.at.index)
	l.synced = l.last
	at, entries := c.base, c.entries
	if snap.at.index > at.index { // the log was not yet cut when the process stopped, or it is, exactly here
		entries = entries[min(snap.at.index-at.index, uint64(len(entries))):]
		at, l.members = snap.at, snap.members
	}
	found.SnapshotIndex = int64(at.index)
	return found, l.fill(at, entries, c.state, found.Snapshot)
}

// fill gives the Raft library what is on disk.
func (l *Log) fill(at position, entries []*pb.Entry, state *pb.HardState, data []byte) error {
	l.store = raft.NewMemoryStorage()
	err := l.store.ApplySnapshot(&pb.Snapshot{Data: data, Metadata: &pb.SnapshotMetadata{
		Index: &at.index, Term: &at.term, ConfState: l.members,
	}})
	if err != nil {
		return err
	}
	if err := l.store.Append(entries); err != nil {
		return err
	}
	// The state must not be older than what is known otherwise, or the library refuses to start.
	if state == nil {
		state = &pb.HardState{}
	}
	term, vote, commit := max(state.GetTerm(), at.term), state.GetVote(), max(state.GetCommit(), at.index)
	if term != state.GetTerm() {
		vote = 0
	}
	return l.store.SetHardState(&pb.HardState{Term: &term, Vote: &vote, Commit: &commit})
}

// Append puts data behind the log's last entry. It is not on disk before Process, and not lost nor kept for certain before
// Process returns it.
func (l *Log) Append(data []byte) error {
	if l.broken != nil {
		return l.broken
	}
	if len(data) == 0 {
		return errors.New("an entry of the metadata log is never empty")
	}
	return l.raft.Propose(data)
}

// Process does what is due: it writes, syncs, and returns the entries that have become committed, in order. After an error
// the log is of no more use.
func (l *Log) Process() ([]Entry, error) {
	var committed []Entry
	for l.broken == nil && l.raft.HasReady() {
		rd := l.raft.Ready()
		if err := l.persist(rd); err != nil {
			l.broken = fmt.Errorf("write metadata log: %w", err)
			break
		}
		for _, e := range rd.CommittedEntries {
			if e.GetType() != pb.EntryNormal {
				l.broken = fmt.Errorf("metadata log: entry %d changes the quorum's members, which this version cannot do", e.GetIndex())
				break
			}
			if len(e.GetData()) > 0 { // an empty one only marks the beginning of a leadership
				committed = append(committed, Entry{Index: int64(e.GetIndex()), Data: e.GetData()})
			}
		}
		l.raft.Advance(rd)
	}
	return committed, l.broken
}

// persist makes durable what rd's messages and commits depend on.
func (l *Log) persist(rd raft.Ready) error {
	if len(rd.Messages) > 0 || !raft.IsEmptySnap(rd.Snapshot) {
		return errors.New("a quorum of one has nobody to talk to")
	}
	var b []byte
	for _, e := range rd.Entries {
		b = appendEntry(b, e)
		l.last = e.GetIndex()
	}
	l.synced = min(l.synced, l.last)
	if st := rd.HardState; !raft.IsEmptyHardState(st) {
		// A commit is written down only for entries that a sync has covered, which is what parseLog builds on.
		commit := min(st.GetCommit(), l.synced)
		b = appendState(b, &pb.HardState{Term: st.Term, Vote: st.Vote, Commit: &commit})
	}
	if len(b) > 0 {
		if _, err := l.file.WriteAt(b, l.size); err != nil {
			return err
		}
		l.size += int64(len(b))
		l.dirty = true
	}
	if rd.MustSync && !forgettable(rd) {
		if err := l.sync(); err != nil {
			return err
		}
	}
	if err := l.store.Append(rd.Entries); err != nil {
		return err
	}
	if raft.IsEmptyHardState(rd.HardState) {
		return nil
	}
	return l.store.SetHardState(rd.HardState)
}

// forgettable says that nobody would miss rd after a crash. That is so for the beginning of a leadership in a quorum of
// one: the vote is the node's own, and the entry is empty. The next entry's sync takes it along, which makes a start one
// or two syncs shorter.
func forgettable(rd raft.Ready) bool {
	for _, e := range rd.Entries {
		if len(e.GetData()) > 0 {
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

// Bytes is the size of the log on disk, and of the snapshot before it.
func (l *Log) Bytes() (log, snapshot int64) { return l.size, l.snapshotBytes }

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
	term, err := l.store.Term(index)
	if err != nil {
		return err
	}
	at := position{index: index, term: term}
	b := appendSnapshot([]byte(snapshotMagic), at, l.members, data)
	if err := vfs.WriteFile(l.cfg.FS, l.path(snapshotName), b); err != nil {
		return err
	}
	l.snapshotBytes = int64(len(b))
	if _, err := l.store.CreateSnapshot(index, l.members, data); err != nil {
		return err
	}
	if err := l.store.Compact(index); err != nil {
		return err
	}
	state, _, err := l.store.InitialState()
	if err != nil {
		return err
	}
	last, err := l.store.LastIndex()
	if err != nil {
		return err
	}
	var entries []*pb.Entry
	if last > index {
		if entries, err = l.store.Entries(index+1, last+1, 1<<62); err != nil {
			return err
		}
	}
	return l.swapLog(at, entries, state)
}

// swapLog replaces the log file by one that begins behind at.
func (l *Log) swapLog(at position, entries []*pb.Entry, state *pb.HardState) error {
	b := appendBase([]byte(logMagic), at, l.members)
	for _, e := range entries {
		b = appendEntry(b, e)
	}
	if state != nil {
		b = appendState(b, state)
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
	l.file, l.size, l.dirty = file, int64(len(b)), false
	l.last = at.index + uint64(len(entries))
	l.synced = l.last
	return nil
}

func (l *Log) path(name string) string { return path.Join(l.cfg.Dir, name) }

// Close syncs and closes the log.
func (l *Log) Close() error {
	var err error
	if l.broken == nil {
		err = l.sync()
		l.broken = errors.New("the metadata log is closed")
	}
	return errors.Join(err, l.file.Close())
}
