package quorum

import (
	"errors"
	"fmt"
	"io/fs"
	"path"

	pb "go.etcd.io/raft/v3/raftpb"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// ErrNoQuorum says that a folder has never belonged to a quorum.
var ErrNoQuorum = errors.New("the folder has never belonged to a metadata quorum")

// Inspection is what a folder says of a quorum, without anything being changed.
type Inspection struct {
	ID      uint64            // raft id
	Node    protocol.BrokerID // whose folder it is; -1: it does not say
	Members Members           // with the changes among the entries that it knows to be committed

	Term      uint64
	Committed int64 // up to here the entries are what the quorum agreed on, as far as this folder knows
	Last      int64 // up to here there are entries; those beyond Committed may or may not have been agreed on
}

// Recovered is what Recover has made.
type Recovered struct {
	Was  Inspection
	ID   uint64 // the new raft id
	Copy string // the folder with the old files
}

// folder is what both files of a quorum hold together.
type folder struct {
	at      position // the entry before the first
	members *pb.ConfState
	entries []*pb.Entry
	state   *pb.HardState
	self    self
	snap    *snapshot
}

func readFolder(fsys vfs.FS, dir string) (folder, error) {
	b, err := vfs.ReadFile(fsys, path.Join(dir, logName), fileBytesMax)
	if err != nil {
		return folder{}, err
	}
	c, err := parseLog(b)
	if err != nil {
		return folder{}, err
	}
	f := folder{at: c.base, members: c.members, entries: c.entries, state: c.state, self: c.self}
	b, err = vfs.ReadFile(fsys, path.Join(dir, snapshotName), fileBytesMax)
	switch {
	case errors.Is(err, fs.ErrNotExist) && c.base.index > firstIndex:
		return f, fmt.Errorf("%w: the log begins behind entry %d, and there is no snapshot", ErrDamaged, c.base.index)
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return f, err
	default:
		s, err := parseSnapshot(b)
		if err != nil {
			return f, err
		}
		if s.at.index < c.base.index && c.base.index > firstIndex {
			return f, fmt.Errorf("%w: the log begins behind entry %d, and no snapshot reaches so far", ErrDamaged, c.base.index)
		}
		f.snap = &s
		if s.at.index > c.base.index {
			f.at, f.members, f.entries = s.at, s.members, nil
			if c.reaches(s.at) {
				f.entries = c.entries[s.at.index-c.base.index:]
			}
		}
	}
	f.state = sane(f.state, f.at)
	if len(f.members.GetVoters()) == 0 {
		return f, ErrNoQuorum
	}
	if f.self.raft == 0 { // an older version's: the node is the only member
		f.self = self{raft: f.members.GetVoters()[0], node: protocol.BrokerID(f.members.GetVoters()[0]) - 1}
	}
	return f, nil
}

func (f *folder) last() uint64 { return f.at.index + uint64(len(f.entries)) }

// Inspect reads the folder of a quorum that is not running.
func Inspect(fsys vfs.FS, dir string) (Inspection, error) {
	f, err := readFolder(fsys, dir)
	if err != nil {
		return Inspection{}, fmt.Errorf("read metadata log %s: %w", dir, err)
	}
	return f.inspect()
}

func (f *folder) inspect() (Inspection, error) {
	i := Inspection{
		ID: f.self.raft, Node: f.self.node, Term: f.state.GetTerm(),
		Committed: int64(f.state.GetCommit()), Last: int64(f.last()),
	}
	conf := f.members
	for _, e := range f.entries {
		if e.GetIndex() > f.state.GetCommit() || e.GetType() != pb.EntryConfChangeV2 {
			continue
		}
		next, err := changed(conf, e)
		if err != nil {
			return i, err
		}
		conf = next
	}
	i.Members = membersOf(conf)
	return i, nil
}

// termsSkipped is how many terms Recover leaves out, for those of leaders that this folder has never heard of.
const termsSkipped = 1000

// Recover rewrites the folder of a quorum whose majority is gone for good, so that its node is the only voter, with a new raft
// id: messages of those who come back after all are not for it. The old files are kept in a folder beside them.
//
// All entries are kept, those too of which nobody knows whether they were agreed on. What is lost is what others had agreed on
// and this folder never had; that cannot be seen here. So it is for the member whose term and then whose last entry is the
// highest. The others must begin anew, with no folder "quorum".
//
// If it stops half way it can be run again.
func Recover(fsys vfs.FS, dir string, id uint64) (Recovered, error) {
	r, err := recoverFolder(fsys, dir, id)
	if err != nil {
		return r, fmt.Errorf("recover metadata log %s: %w", dir, err)
	}
	return r, nil
}

func recoverFolder(fsys vfs.FS, dir string, id uint64) (Recovered, error) {
	if id == 0 || id > idMax {
		return Recovered{}, fmt.Errorf("no member can have the id %d", id)
	}
	f, err := readFolder(fsys, dir)
	if err != nil {
		return Recovered{}, err
	}
	r := Recovered{ID: id}
	if r.Was, err = f.inspect(); err != nil {
		return r, err
	}
	if r.Copy, err = keepOld(fsys, dir); err != nil {
		return r, err
	}
	alone := &pb.ConfState{Voters: []uint64{id}}
	if f.snap != nil {
		b := appendSnapshot([]byte(snapshotMagic), f.snap.at, alone, f.snap.data)
		if err := vfs.WriteFile(fsys, path.Join(dir, snapshotName), b); err != nil {
			return r, err
		}
	}
	b := appendBase([]byte(logMagic), f.at, alone)
	b = appendSelf(b, self{raft: id, node: f.self.node})
	for _, e := range f.entries {
		if e.GetType() != pb.EntryNormal { // the members that it is about are no more
			e = newEntry(position{e.GetIndex(), e.GetTerm()}, nil)
		}
		b = appendEntry(b, e)
	}
	b = appendState(b, &pb.HardState{Term: new(f.state.GetTerm() + termsSkipped), Commit: new(f.last())}, f.last())
	return r, vfs.WriteFile(fsys, path.Join(dir, logName), b)
}

// keepOld copies the two files into a new folder.
func keepOld(fsys vfs.FS, dir string) (string, error) {
	var to string
	for n := 1; ; n++ {
		to = path.Join(dir, fmt.Sprintf("before-recover-%d", n))
		_, err := fsys.Stat(to)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return "", err
		}
	}
	if err := fsys.MkdirAll(to); err != nil {
		return "", err
	}
	for _, name := range []string{logName, snapshotName} {
		b, err := vfs.ReadFile(fsys, path.Join(dir, name), fileBytesMax)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		if err := vfs.WriteFile(fsys, path.Join(to, name), b); err != nil {
			return "", err
		}
	}
	return to, nil
}
