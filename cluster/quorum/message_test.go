package quorum

import (
	"errors"
	"slices"
	"testing"

	pb "go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"
)

// corpus is messages of all kinds that members of a group have sent each other, and the disks of the members then: a
// leader, two that follow it, and a stranger.
func corpus(t testing.TB) (messages [][]byte, g *group) {
	tt, ok := t.(*testing.T)
	if !ok {
		tt = &testing.T{}
	}
	g = newGroup(tt, 4)
	g.tap = func(m Message) { messages = append(messages, m.Data) }
	for _, m := range g.members[1:3] {
		g.change(MemberChange{AddLearners: []uint64{m.id}})
		g.change(MemberChange{Promote: []uint64{m.id}})
	}
	g.append("one")
	cut := g.members[2]
	g.cut[cut.id] = true
	g.run(3 * electionTicks)
	delete(g.cut, cut.id)
	g.append("two")
	g.leader().log.Transfer(cut.id)
	g.run(5)
	g.tap = nil
	return messages, g
}

// step gives b to a member as it stood on its disk, as if it had just started, and again after it has followed.
func stepAlone(t *testing.T, m *member, b []byte) {
	alone := &member{id: m.id, node: m.node, disk: m.disk.KillClone()}
	if err := alone.open(true); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		_, err := alone.process()
		if err == nil {
			err = alone.log.Step(b)
		}
		if err != nil {
			if !errors.Is(err, ErrMessage) && !errors.Is(err, ErrImpossible) {
				t.Fatal(err)
			}
			return
		}
		alone.log.Tick()
	}
	if _, err := alone.process(); err != nil && !errors.Is(err, ErrImpossible) {
		t.Fatal(err)
	}
}

// FuzzStep: whatever comes from the network, a member takes it, refuses it, or says that it cannot go on; it never panics.
func FuzzStep(f *testing.F) {
	messages, g := corpus(f)
	for _, m := range messages {
		f.Add(m)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range g.members {
			stepAlone(t, m, b)
			stepAlone(t, m, readdressed(b, m.id))
		}
	})
}

// readdressed is a message of the library for another member, so that a change elsewhere in it is looked at.
func readdressed(b []byte, to uint64) []byte {
	m := &pb.Message{}
	if len(b) == 0 || b[0] != byte(msgRaft) || proto.Unmarshal(b[1:], m) != nil {
		return b
	}
	m.To = new(to)
	out, err := encodeRaft(m)
	if err != nil {
		return b
	}
	return out
}

// TestMessagesThatCannotBeAreRefused: none of these would the library survive, and none costs the log anything.
func TestMessagesThatCannotBeAreRefused(t *testing.T) {
	g := grown(t, 3)
	g.append("one")
	g.run(2)
	lead := g.leader()
	follower := g.members[(slices.Index(g.members, lead)+1)%3]
	term := lead.log.Status().Term
	last := uint64(lead.log.Status().Last)
	entry := func(index, term uint64, typ pb.EntryType, data string) *pb.Entry {
		return &pb.Entry{Index: &index, Term: &term, Type: &typ, Data: []byte(data)}
	}
	for name, m := range map[string]*pb.Message{
		"a local message":        {Type: pb.MsgHup.Enum()},
		"a proposal":             {Type: pb.MsgProp.Enum()},
		"a storage answer":       {Type: pb.MsgStorageAppendResp.Enum()},
		"a snapshot":             {Type: pb.MsgSnap.Enum()},
		"unreachable":            {Type: pb.MsgUnreachable.Enum()},
		"no term":                {Type: pb.MsgHeartbeat.Enum(), Term: new(uint64(0))},
		"the last term":          {Type: pb.MsgHeartbeat.Enum(), Term: new(^uint64(0))},
		"from nobody":            {Type: pb.MsgHeartbeat.Enum(), From: new(uint64(0))},
		"from itself":            {Type: pb.MsgHeartbeat.Enum(), From: new(follower.id)},
		"from the append thread": {Type: pb.MsgAppResp.Enum(), From: new(^uint64(0))},
		"a gap": {Type: pb.MsgApp.Enum(), Index: new(last), LogTerm: new(term),
			Entries: []*pb.Entry{entry(last+2, term, pb.EntryNormal, "x")}},
		"terms that fall": {Type: pb.MsgApp.Enum(), Index: new(last), LogTerm: new(term),
			Entries: []*pb.Entry{entry(last+1, term-1, pb.EntryNormal, "x")}},
		"a term to come": {Type: pb.MsgApp.Enum(), Index: new(last), LogTerm: new(term),
			Entries: []*pb.Entry{entry(last+1, term+1, pb.EntryNormal, "x")}},
		"an old change": {Type: pb.MsgApp.Enum(), Index: new(last), LogTerm: new(term),
			Entries: []*pb.Entry{entry(last+1, term, pb.EntryConfChange, "")}},
		"a change that cannot be read": {Type: pb.MsgApp.Enum(), Index: new(last), LogTerm: new(term),
			Entries: []*pb.Entry{entry(last+1, term, pb.EntryConfChangeV2, "\xff\xff\xff")}},
	} {
		if m.To = new(follower.id); m.From == nil {
			m.From = new(lead.id)
		}
		if m.Term == nil {
			m.Term = new(term)
		}
		b, err := encodeRaft(m)
		if err != nil {
			t.Fatal(err)
		}
		if err := follower.log.Step(b); !errors.Is(err, ErrMessage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, b := range [][]byte{nil, {0}, {9, 1}, {byte(msgRaft), 0xff}, {byte(msgPiece)}, {byte(msgWant), 1}, {byte(msgKnown), 1}} {
		if err := follower.log.Step(b); !errors.Is(err, ErrMessage) {
			t.Errorf("% x: %v", b, err)
		}
	}
	claim, err := encodeRaft(&pb.Message{
		Type: pb.MsgAppResp.Enum(), To: new(lead.id), From: new(follower.id), Term: new(term), Index: new(last + 100),
	})
	if err == nil {
		err = lead.log.Step(claim)
	}
	if !errors.Is(err, ErrMessage) {
		t.Errorf("entries that do not exist: %v", err)
	}
	g.append("two")
	g.run(2)
	g.same("one", "two")
}

// TestALossOfPromisedEntriesIsSaid: a member whose disk has lost what it had acknowledged must not go on as if nothing were.
func TestALossOfPromisedEntriesIsSaid(t *testing.T) {
	g := grown(t, 3)
	lead := g.leader()
	other := g.members[(slices.Index(g.members, lead)+1)%3]
	before := other.disk.KillClone()
	g.append("one")
	g.run(2)
	other.log, other.disk = nil, before
	if err := other.open(true); err != nil {
		t.Fatal(err)
	}
	var err error
	for range 20 {
		lead.log.Tick()
		out, perr := lead.process()
		if perr != nil {
			t.Fatal(perr)
		}
		for _, m := range out {
			if m.To == other.id && err == nil {
				err = other.log.Step(m.Data)
			}
		}
	}
	if !errors.Is(err, ErrImpossible) {
		t.Fatal(err)
	}
	if _, err := other.log.Process(); !errors.Is(err, ErrImpossible) {
		t.Errorf("it goes on: %v", err)
	}
}
