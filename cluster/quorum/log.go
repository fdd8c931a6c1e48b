package quorum

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"

	"go.etcd.io/raft/v3"
	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

var (
	// ErrNotLeader says that this node cannot put anything into the log now: another member leads, nobody does, or this
	// node does not know yet all that earlier leaders have committed.
	ErrNotLeader = errors.New("this node does not lead the metadata quorum")

	// ErrBusy says that too much waits for the other voters already.
	ErrBusy = errors.New("the metadata quorum is behind with what it has to commit")

	// ErrClosed says that the log is closed.
	ErrClosed = errors.New("the metadata log is closed")
)

// Time is counted in ticks, which come every TickInterval.
const (
	TickInterval = 100 // milliseconds

	// electionTicks is how long a leader may be silent: between this and twice this, by lot, members look for another. A
	// leader that hears of no majority for as long gives up.
	electionTicks = 10

	// askTicks is how long no leader talks to a member until it asks whether it still is one.
	askTicks = 20
)

// What may be on its way.
const (
	entryBytesMax       = 32 << 20 // one entry
	inflightMessagesMax = 64       // to one member, not acknowledged
	inflightBytesMax    = 64 << 20 // likewise
	uncommittedBytesMax = 64 << 20
)

// Config is what a Log needs to know.
type Config struct {
	FS  vfs.FS
	Dir string // DATA/quorum

	// Node is the broker whose folder this is.
	Node protocol.BrokerID

	// Raft is this node's id in the quorum if the folder is new: drawn by lot, so that a node whose disk was lost is a new
	// member and not one that has forgotten what it promised. A folder that is there keeps its own. 0: Node + 1.
	Raft uint64

	// Join says that a new folder is not the beginning of a quorum: a leader somewhere will make it a member.
	Join bool

	Logger *slog.Logger

	// Tests make these small.
	pieceBytes   uint64 // of a snapshot, in one message
	spareBytes   uint64 // what is kept in memory of entries that a snapshot covers, for members that are a little behind
	messageBytes uint64 // entries in one message, unless it is one entry
}

// Log is this node's copy of the metadata log, and its part in the quorum. One goroutine may use it. It has no clock, no
// socket and no goroutine: Tick, Step and what Process returns are its time and its network.
type Log struct {
	cfg  Config
	self self

	file vfs.File
	size int64 // of file
	base position

	raft  *raft.RawNode
	store *store // the entries since the snapshot, which are those in file, and some before it

	members []membersAt // by index: as of base, and each change since
	saved   snapshotAt  // the snapshot file
	out     map[uint64]*outgoing
	in      *incoming
	wanted  bool // a member needs a snapshot that is newer than saved
	alone   bool // to begin as leader, being the only voter, once all that is committed has been applied
	removed bool // others have said that this node is no member any more

	campaignIn int  // ticks until this node looks for votes, by its rank among the voters; 0: not
	retried    bool // it has done so once since there was a leader

	leader    Leadership
	applied   uint64
	dataTo    uint64 // the last entry with data that has been returned
	tail      uint64 // the last entry, those included that wait for Process
	changeAt  uint64 // the last change of members that this node has begun as leader
	now       int64  // ticks
	followed  int64  // ticks when a leader was heard of last
	contacts  map[uint64]contact
	lastReady Leadership

	tickets, confirmed uint64 // of Confirm

	begun   *raft.Ready // of which Early has sent a part
	replies []Message   // that do not come from the library
	claim   *claim      // from a member, while nobody leads

	last, synced uint64 // index of the last entry in file, and of the last one that a sync has covered
	dirty        bool   // file has frames that no sync has covered
	broken       error
}

// Entry is a committed entry of the log.
type Entry struct {
	Index int64
	Term  uint64
	Data  []byte
}

// Snapshot is the state after the entry at Index.
type Snapshot struct {
	Index int64
	Data  []byte
}

// Message is for another member. It may be lost, come twice or late; a connection that keeps the order is faster.
type Message struct {
	To   uint64 // raft id
	Data []byte
}

// Leadership is who leads.
type Leadership struct {
	Leader uint64 // raft id; 0: nobody that this node knows of
	Term   uint64

	// Leading says that this node leads, and that all that earlier leaders have committed has been returned by Process.
	Leading bool
}

// Ready is what Process has brought about. All of it is on stable storage.
type Ready struct {
	// Snapshot, if there is one, comes before Entries and replaces all that was before it.
	Snapshot *Snapshot

	// Entries have become committed, in order: those that have data. Applied counts the others too. So what Append has put
	// at an index up to Applied and was not in Entries with its term is lost for ever, unless a Snapshot went over it.
	Entries []Entry
	Applied int64

	Messages []Message
	Members  *Members // nil: as before

	Leadership Leadership
	Changed    bool // Leadership is another than the last time

	// Removed says that this node was a member and is none any more; its own log may not say so. It stays so unless a
	// leader adds it again.
	Removed bool

	// Confirmed is the highest ticket of Confirm for which a majority has answered.
	Confirmed uint64

	// SnapshotWanted asks for SaveSnapshot: a member is too far behind, or too new, for the one that is there.
	SnapshotWanted bool
}

// Opened is what Open found.
type Opened struct {
	Fresh         bool    // the folder was empty
	ID            uint64  // raft id of this node
	Members       Members // as of the snapshot; entries may change them
	Snapshot      []byte  // nil if there is none; entries before SnapshotIndex will not be seen again
	SnapshotIndex int64
	Cut           int64 // bytes of a torn tail that were cut off
}

// firstIndex is where a new log begins. What is before it does not exist, as if a snapshot of an empty state had been
// taken there, which is how the Raft library wants members to be given that are there from the beginning.
const firstIndex = 1

// Open opens or creates the log in cfg.Dir. Where this node is the only voter it leads from the first Process on. Committed
// entries come from Process.
func Open(cfg Config) (*Log, Opened, error) {
	cfg.pieceBytes = cmp.Or(cfg.pieceBytes, 256<<10)
	cfg.spareBytes = cmp.Or(cfg.spareBytes, 1<<20)
	cfg.messageBytes = cmp.Or(cfg.messageBytes, 1<<20)
	l := &Log{cfg: cfg, out: map[uint64]*outgoing{}, contacts: map[uint64]contact{}}
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
	l.applied, l.dataTo, l.tail = uint64(found.SnapshotIndex), uint64(found.SnapshotIndex), l.store.last()
	l.raft, err = raft.NewRawNode(&raft.Config{
		ID: l.self.raft, Storage: l.store, Applied: l.applied,
		ElectionTick: electionTicks, HeartbeatTick: 1, PreVote: true, CheckQuorum: true, StepDownOnRemoval: true,
		MaxSizePerMsg: l.cfg.messageBytes, MaxInflightMsgs: inflightMessagesMax, MaxInflightBytes: inflightBytesMax,
		MaxUncommittedEntriesSize: uncommittedBytesMax, DisableProposalForwarding: true,
		Logger: raftLogger{l.cfg.Logger},
	})
	if err != nil {
		return found, err
	}
	l.alone = true
	found.ID, found.Members = l.self.raft, membersOf(l.conf())
	l.cfg.Logger.Debug("metadata log opened", "entries", l.store.last(), "snapshot", found.SnapshotIndex)
	return found, nil
}

// Tick says that TickInterval has passed. A quorum of one needs none.
func (l *Log) Tick() {
	if l.broken != nil {
		return
	}
	l.now++
	l.guard(func() {
		l.tickTransfers()
		if l.removed {
			return // its calls for a vote would only disturb the others
		}
		l.raft.Tick()
		l.seek()
		l.ask()
	})
}

// Unreachable says that messages to a member could not be sent, so that fewer are until it answers again.
func (l *Log) Unreachable(id uint64) {
	l.guard(func() { l.raft.ReportUnreachable(id) })
}

// Append puts data behind the log's last entry. It is not on disk before Process, and not lost nor kept for certain before
// Process says so: the entry at index has the term, or another has taken its place.
func (l *Log) Append(data []byte) (index int64, term uint64, err error) {
	switch {
	case l.broken != nil:
		return 0, 0, l.broken
	case len(data) == 0:
		return 0, 0, errors.New("an entry of the metadata log is never empty")
	case len(data) > entryBytesMax:
		return 0, 0, fmt.Errorf("an entry of the metadata log has at most %d bytes, not %d", entryBytesMax, len(data))
	case !l.leads():
		return 0, 0, ErrNotLeader
	}
	l.guard(func() { err = l.raft.Propose(data) })
	if err = l.refusal(err); err != nil {
		return 0, 0, err
	}
	l.tail++
	return int64(l.tail), l.leader.Term, nil
}

// leads says that this node led when Process returned, and still does.
func (l *Log) leads() bool {
	if !l.leader.Leading {
		return false
	}
	st := l.raft.BasicStatus()
	return st.RaftState == raft.StateLeader && st.GetTerm() == l.leader.Term
}

func (l *Log) refusal(err error) error {
	switch {
	case l.broken != nil:
		return l.broken
	case errors.Is(err, raft.ErrProposalDropped) && l.raft.BasicStatus().LeadTransferee != raft.None:
		return ErrNotLeader
	case errors.Is(err, raft.ErrProposalDropped):
		return ErrBusy
	}
	return err
}

// Early is what a leader may tell the others before its own disk has it: entries and heartbeats. To send them and then call
// Process lets all disks sync at the same time. A leader counts itself among those that have an entry only once it is synced.
func (l *Log) Early() []Message {
	var out []Message
	l.guard(func() {
		st := l.raft.BasicStatus()
		if l.begun != nil || st.RaftState != raft.StateLeader || l.onlyMember() || !l.raft.HasReady() {
			return
		}
		// What makes it a leader is durable: it has counted its own vote.
		if st.GetTerm() != l.store.state.GetTerm() || st.GetVote() != l.store.state.GetVote() {
			return
		}
		rd := l.raft.Ready()
		l.begun = &rd
		var later []*pb.Message
		for _, m := range rd.Messages {
			if typ := m.GetType(); typ != pb.MsgApp && typ != pb.MsgHeartbeat {
				later = append(later, m)
				continue
			}
			data, err := encodeRaft(m)
			if err != nil {
				l.broken = err
				return
			}
			out = append(out, Message{To: m.GetTo(), Data: data})
		}
		rd.Messages = later
	})
	return out
}

// Process does what is due: it writes, syncs, and returns what has come of it. After an error the log is of no more use.
func (l *Log) Process() (Ready, error) {
	var out Ready
	l.guard(func() {
		if err := l.process(&out); err != nil && l.broken == nil {
			l.broken = err
		}
	})
	out.Applied, out.Leadership = int64(l.applied), l.leader
	out.Changed = l.leader != l.lastReady
	l.lastReady = l.leader
	out.Messages = append(out.Messages, l.replies...)
	l.replies = nil
	out.SnapshotWanted, l.wanted = l.wanted, false
	out.Confirmed, out.Removed = l.confirmed, l.isRemoved()
	return out, l.broken
}

func (l *Log) process(out *Ready) error {
	for {
		for l.begun != nil || l.raft.HasReady() {
			rd := l.next()
			if err := l.persist(rd, out); err != nil {
				return fmt.Errorf("write metadata log: %w", err)
			}
			if err := l.take(rd, out); err != nil {
				return err
			}
			l.raft.Advance(rd)
		}
		if l.claim != nil {
			if err := l.believe(); err != nil {
				return err
			}
			continue
		}
		if !l.alone || !l.onlyVoter() {
			break
		}
		l.alone = false
		if err := l.raft.Campaign(); err != nil {
			return err
		}
	}
	l.alone, l.tail = false, l.last
	if l.in != nil && l.in.done != nil {
		l.dropIncoming() // the log had what the snapshot says
	}
	l.settle()
	return nil
}

// next is what Early has begun, or the next that there is.
func (l *Log) next() raft.Ready {
	if l.begun == nil {
		return l.raft.Ready()
	}
	rd := *l.begun
	l.begun = nil
	return rd
}

// take puts what rd says into out.
func (l *Log) take(rd raft.Ready, out *Ready) error {
	for _, e := range rd.CommittedEntries {
		l.applied = e.GetIndex()
		switch {
		case e.GetType() == pb.EntryConfChangeV2:
			if err := l.applyChange(e, out); err != nil {
				return err
			}
		case len(e.GetData()) > 0: // an empty one only marks the beginning of a leadership
			l.dataTo = l.applied
			out.Entries = append(out.Entries, Entry{Index: int64(l.applied), Term: e.GetTerm(), Data: e.GetData()})
		}
	}
	for _, rs := range rd.ReadStates {
		if r := (reader{b: rs.RequestCtx}); len(r.b) > 0 {
			l.confirmed = max(l.confirmed, r.uvarint())
		}
	}
	for _, m := range rd.Messages {
		if m.GetType() == pb.MsgSnap {
			l.beginTransfer(m)
			continue
		}
		data, err := encodeRaft(m)
		if err != nil {
			return err
		}
		out.Messages = append(out.Messages, Message{To: m.GetTo(), Data: data})
	}
	return nil
}

// settle looks at who leads, now that nothing is left to do.
func (l *Log) settle() {
	st := l.raft.BasicStatus()
	now := Leadership{Leader: st.Lead, Term: st.GetTerm()}
	if st.RaftState == raft.StateLeader {
		// An entry of its own term has been applied, so all before it has.
		term, err := l.store.Term(l.applied)
		now.Leading = err == nil && term == now.Term
	} else {
		l.dropTransfers()
	}
	if st.RaftState != raft.StateLeader || now.Term != l.leader.Term {
		clear(l.contacts)
	}
	l.leader = now
}

// guard runs f, which goes into the Raft library. The library panics where its state has become impossible, which bytes from
// a broken member may bring about, or a disk that has lost what it had kept. Then this log is of no more use, and the
// process goes on to say so.
func (l *Log) guard(f func()) {
	if l.broken != nil {
		return
	}
	defer func() {
		if p := recover(); p != nil {
			l.broken = fmt.Errorf("%w: %v", ErrImpossible, p)
		}
	}()
	f()
}

// Bytes is the size of the log on disk, and of the snapshot before it.
func (l *Log) Bytes() (log, snapshot int64) { return l.size, l.saved.bytes }

// Close syncs and closes the log.
func (l *Log) Close() error {
	var err error
	l.dropTransfers()
	l.dropIncoming()
	if l.broken == nil {
		err = l.sync()
		l.broken = ErrClosed
	}
	return errors.Join(err, l.file.Close())
}

// encodeRaft is a message of the Raft library as it travels.
func encodeRaft(m *pb.Message) ([]byte, error) {
	return proto.MarshalOptions{}.MarshalAppend([]byte{byte(msgRaft)}, m)
}
