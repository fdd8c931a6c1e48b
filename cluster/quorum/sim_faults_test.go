package quorum

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	pb "go.etcd.io/raft/v3/raftpb"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

func int32ID(i int) protocol.BrokerID { return protocol.BrokerID(i) }

// open starts a node on its disk. The machine may stop meanwhile.
func (w *world) open(s *simNode) error {
	s.left = nil
	if w.faults && w.rng.IntN(10) == 0 {
		s.crashIn = 1 + w.rng.IntN(12)
	}
	fs := vfs.WithFaults(s.disk, func(op vfs.Op) error {
		if s.left != nil {
			return errCrash
		}
		if w.plants.lazy && op.Kind == "Sync" && strings.HasSuffix(op.Name, "/log") && w.rng.IntN(3) == 0 {
			return nil
		}
		switch op.Kind {
		case "ReadAt", "List", "Stat", "Open":
			return nil
		}
		if s.crashIn > 0 {
			if s.crashIn--; s.crashIn == 0 {
				s.left = w.clone(s.disk)
				return errCrash
			}
		}
		return nil
	})
	if w.plants.lazy {
		fs = lazyFS{fs, w}
	}
	log, found, err := Open(Config{
		FS: fs, Dir: "data/quorum", Node: s.node, Raft: s.id, Join: s.join, Logger: slog.New(slog.DiscardHandler),
		pieceBytes: 700, spareBytes: uint64(w.rng.IntN(2000)), messageBytes: 1500,
	})
	if s.left != nil {
		w.stop(s, s.left, "in Open")
		return nil
	}
	if err != nil {
		return fmt.Errorf("node %d: %w", s.node, err)
	}
	if found.ID != s.id {
		return fmt.Errorf("node %d has id %d and had %d", s.node, found.ID, s.id)
	}
	s.log, s.index, s.asked, s.held = log, found.SnapshotIndex, nil, [2]uint64{}
	s.tickets = map[uint64]committed{}
	s.load(found.Snapshot)
	w.say("node %d (%d) starts at %d", s.node, s.id, s.index)
	if err := w.checkState(s); err != nil {
		return fmt.Errorf("after a start: %w", err)
	}
	return nil
}

// lazyFS is a disk that says of every third sync of the log that it is done, and does nothing.
type lazyFS struct {
	vfs.FS
	w *world
}

func (f lazyFS) Open(name string) (vfs.File, error) {
	file, err := f.FS.Open(name)
	return lazyFile{file, f.w}, err
}

type lazyFile struct {
	vfs.File
	w *world
}

func (f lazyFile) Sync() error {
	if f.w.rng.IntN(3) == 0 {
		return nil
	}
	return f.File.Sync()
}

func (w *world) clone(disk *vfs.Mem) *vfs.Mem {
	return disk.CrashClone(w.rng, []int{0, 20, 50, 100}[w.rng.IntN(4)])
}

// stop ends a node; disk is what it finds when it starts again.
func (w *world) stop(s *simNode, disk *vfs.Mem, how string) {
	w.say("node %d (%d) stops %s", s.node, s.id, how)
	w.counts.crashes++
	s.log, s.disk, s.left, s.crashIn = nil, disk, nil, 0
	if w.plants.noVote || w.plants.noMembers {
		w.forget(s)
	}
}

// forget rewrites a folder as a log would leave it that does not keep the vote, or the changes of the members.
func (w *world) forget(s *simNode) {
	b, err := vfs.ReadFile(s.disk, "data/quorum/log", 1<<30)
	if err != nil {
		return
	}
	c, err := parseLog(b)
	if err != nil {
		return
	}
	out := appendBase([]byte(logMagic), c.base, c.members)
	out = appendSelf(out, c.self)
	for _, e := range c.entries {
		if w.plants.noMembers && e.GetType() != pb.EntryNormal && w.rng.IntN(2) == 0 {
			e = newEntry(position{e.GetIndex(), e.GetTerm()}, nil)
		}
		out = appendEntry(out, e)
	}
	if c.state != nil {
		if w.plants.noVote {
			c.state.Vote = new(uint64(0))
		}
		out = appendState(out, c.state, c.state.GetCommit())
	}
	_ = vfs.WriteFile(s.disk, "data/quorum/log", out)
}

// client has a leader take lines.
func (w *world) client(s *simNode) {
	if !s.log.leads() || w.rng.IntN(3) > 0 {
		return
	}
	if ticket, err := s.log.Confirm(); err == nil && len(w.log) > 0 {
		s.tickets[ticket] = w.log[len(w.log)-1]
	}
	for range 1 + w.rng.IntN(3) {
		w.lines++
		size := w.rng.IntN(60)
		if w.rng.IntN(10) == 0 {
			size = w.rng.IntN(1500)
		}
		line := fmt.Sprintf("line-%d-%s", w.lines, strings.Repeat("x", size))
		index, term, err := s.log.Append([]byte(line))
		if err == nil {
			s.asked = append(s.asked, proposal{index, term, line})
		}
	}
}

// mischief is what happens to the quorum in a tick.
func (w *world) mischief() error {
	if w.rng.IntN(w.cutting) == 0 {
		w.cutOrHeal()
	}
	for _, s := range w.nodes {
		if s.log == nil {
			if w.rng.IntN(15) == 0 {
				if err := w.open(s); err != nil {
					return err
				}
			}
			continue
		}
		switch w.rng.IntN(w.stops) {
		case 0, 1:
			w.stop(s, w.clone(s.disk), "")
		case 2:
			w.counts.kills++
			w.stop(s, s.disk.KillClone(), "killed")
		case 3, 4:
			s.crashIn = 1 + w.rng.IntN(10)
		case 5:
			w.wipe(s)
		case 6:
			s.log.Campaign()
		case 7:
			s.log.Unreachable(w.nodes[w.rng.IntN(len(w.nodes))].id)
		case 8:
			s.log.ForgetLeader(s.log.leader.Leader)
		}
	}
	if w.rng.IntN(w.storming) == 0 {
		if err := w.beginStorm(); err != nil {
			return err
		}
	}
	if w.rng.IntN(12) == 0 {
		return w.operate()
	}
	return nil
}

// beginStorm has two voters look for votes at once, all having forgotten their leader, while the others start anew again and
// again.
func (w *world) beginStorm() error {
	l := w.leading()
	if l == nil {
		return nil
	}
	var able []*simNode
	for _, o := range w.nodes {
		if o.log != nil && slices.Contains(l.log.conf().GetVoters(), o.id) {
			able = append(able, o)
		}
	}
	if len(able) < 3 {
		return nil
	}
	w.say("two look for votes, and voters start anew")
	w.storm, w.storms = 16, w.storms+1
	clear(w.queue) // or the leader would still be heard
	w.stop(l, w.clone(l.disk), "")
	if err := w.open(l); err != nil {
		return err
	}
	w.rng.Shuffle(len(able), func(i, j int) { able[i], able[j] = able[j], able[i] })
	w.candidates = [2]*simNode{able[0], able[1]}
	for _, o := range w.nodes {
		if o.log != nil {
			_ = o.log.raft.ForgetLeader() // it cannot fail: nobody leads
		}
	}
	for _, c := range w.candidates {
		if c.log != nil {
			c.log.Campaign()
		}
	}
	return nil
}

// blow starts a node anew in a storm.
func (w *world) blow(s *simNode) error {
	if w.storm == 0 || s.log == nil || s == w.candidates[0] || s == w.candidates[1] || w.rng.IntN(5) > 0 {
		return nil
	}
	w.stop(s, w.clone(s.disk), "in a storm")
	return w.open(s)
}

func (w *world) cutOrHeal() {
	if len(w.cut) > 0 && w.rng.IntN(2) == 0 {
		w.say("healed")
		clear(w.cut)
		return
	}
	w.counts.cuts++
	side := w.rng.IntN(1 << len(w.nodes))
	oneWay := w.rng.IntN(4) == 0
	for i := range w.nodes {
		for j := range w.nodes {
			if side>>i&1 != side>>j&1 && (!oneWay || side>>i&1 == 1) {
				w.cut[[2]int{i, j}] = true
			}
		}
	}
	w.say("cut %b, one way %v", side, oneWay)
}

// wipe takes a node's disk, which then begins anew, if the members can bear it: no other member's is lost.
func (w *world) wipe(s *simNode) {
	l := w.leading()
	if l == nil || l == s || l.log.changeAt > l.log.applied {
		return
	}
	m := l.log.Status().Members
	if len(m.Outgoing) > 0 || slices.Contains(m.Voters, s.id) && len(m.Voters) < 3 {
		return
	}
	for id := range w.lost {
		if m.Has(id) {
			return
		}
	}
	for _, o := range w.nodes { // nobody may know of members that have lost another
		for _, c := range o.disk2members() {
			for id := range w.lost {
				if slices.Contains(c, id) {
					return
				}
			}
		}
	}
	w.counts.wiped++
	w.say("node %d (%d) loses its disk", s.node, s.id)
	if !w.plants.sameID {
		w.lost[s.id] = true
		s.id = w.newID()
	}
	s.disk, s.log, s.join, s.crashIn = vfs.NewMem(), nil, true, 0
}

// disk2members is the voters of all configurations that a running node may still count by.
func (s *simNode) disk2members() [][]uint64 {
	if s.log == nil {
		return nil
	}
	return [][]uint64{voters(s.log.conf())}
}

// operate changes the members by way of whoever leads.
func (w *world) operate() error {
	s := w.leading()
	if s == nil {
		return nil
	}
	m := s.log.Status().Members
	c := w.choose(s, m)
	if to := m.Voters[w.rng.IntN(len(m.Voters))]; w.rng.IntN(10) == 0 {
		w.say("node %d hands over to %d", s.node, to)
		s.log.Transfer(to)
		return nil
	}
	err := s.log.Change(c)
	switch {
	case err == nil:
		w.counts.changes++
		w.counts.removed += len(c.Remove)
		w.say("node %d begins %+v", s.node, c)
	case errors.Is(err, ErrChanging), errors.Is(err, ErrNotLeader), errors.Is(err, ErrBusy), errors.Is(err, ErrOwnVote):
	case len(m.Voters) <= 1+len(c.Remove)+len(c.Demote): // nobody would be left
	default:
		return fmt.Errorf("node %d: %+v of %+v: %w", s.node, c, m, err)
	}
	return nil
}

func (w *world) choose(s *simNode, m Members) MemberChange {
	var c MemberChange
	for _, id := range slices.Concat(m.Voters, m.Learners) {
		if w.lost[id] {
			c.Remove = append(c.Remove, id)
		}
	}
	var strangers, learners, others []uint64
	for _, n := range w.nodes {
		switch {
		case !m.Has(n.id):
			strangers = append(strangers, n.id)
		case slices.Contains(m.Learners, n.id):
			learners = append(learners, n.id)
		case n.id != s.id || w.rng.IntN(3) == 0:
			others = append(others, n.id)
		}
	}
	pick := func(ids []uint64) []uint64 {
		if len(ids) == 0 {
			return nil
		}
		return []uint64{ids[w.rng.IntN(len(ids))]}
	}
	switch k := w.rng.IntN(10); {
	case k < 3:
		c.AddLearners = pick(strangers)
	case k < 6:
		c.Promote = pick(learners)
	case k < 7 && len(m.Voters) > 2:
		c.Demote = pick(others)
	case k < 8 && len(m.Voters) > 2 && len(c.Remove) == 0:
		c.Remove = pick(others)
	case k < 9 && len(others) > 0 && len(learners) > 0:
		c.Promote, c.Demote = pick(learners), pick(others)
	case k < 10 && len(c.Remove) == 0 && len(others) > 0 && len(strangers) > 0:
		c.AddLearners, c.Remove = pick(strangers), pick(others)
	}
	return c
}
