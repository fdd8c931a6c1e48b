package group

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/internal/script"
	"moldau.io/moldau/protocol"
)

// bench is a machine with a log in memory and clients that are known by short names: the name stands for the member id
// that the client was given, and for its client id.
type bench struct {
	t      *testing.T
	cfg    Config
	m      *Machine
	now    time.Time
	log    []Record
	ticket Ticket
	owner  map[Ticket]string // who asked
	ids    map[string]string // name -> member id
	gens   map[string]int32  // name -> generation it was last told
	out    []string
	full   protocol.Code // the log refuses with this
	topics *fakeTopics
	events []string // since they were last asked for

	remember bool     // keep the member ids that are given out
	issued   []string // those
}

func newBench(t *testing.T) *bench {
	b := &bench{
		t: t, cfg: DefaultConfig(), now: time.UnixMilli(1_700_000_000_000).UTC(),
		owner: map[Ticket]string{}, ids: map[string]string{}, gens: map[string]int32{}, topics: &fakeTopics{},
	}
	b.restart()
	return b
}

// restart makes a new machine from the log. Nobody waits for answers any more.
func (b *bench) restart() {
	b.owner = map[Ticket]string{}
	b.m = New(b.cfg, b.topics, rand.New(rand.NewPCG(1, uint64(len(b.log)))))
	for _, r := range b.log {
		b.m.Apply(r)
	}
	b.settle(b.m.Loaded(b.now))
}

// handle gives one request to the machine in the name of who.
func (b *bench) handle(who string, req Request) {
	b.ticket++
	b.owner[b.ticket] = who
	b.settle(b.m.Handle(b.now, b.ticket, req))
}

// settle does what a shell does: append, apply, answer.
func (b *bench) settle(eff Effects) {
	b.happened(eff, false)
	if b.full != protocol.None && len(eff.Records) > 0 {
		eff = b.m.Rejected(b.now, eff, b.full)
		b.happened(eff, false)
		if len(eff.Records) > 0 {
			b.t.Fatalf("a refused batch asked for records: %+v", eff.Records)
		}
	}
	b.happened(eff, true)
	for _, r := range eff.Records {
		b.log = append(b.log, r)
		b.m.Apply(r)
		b.out = append(b.out, "log: "+showRecord(b, r))
	}
	for _, r := range eff.Replies {
		who, ok := b.owner[r.To]
		if !ok {
			b.t.Fatalf("ticket %d is answered twice, or was never given", r.To)
		}
		delete(b.owner, r.To)
		if j, ok := r.Resp.(*JoinResult); ok && b.remember && j.Member != "" && len(b.issued) < 8 {
			b.issued = append(b.issued, j.Member)
		}
		b.out = append(b.out, who+": "+b.show(who, r.Resp))
	}
	check(b.t, b.m)
}

func (b *bench) advance(d time.Duration) {
	end := b.now.Add(d)
	for ticks := 0; ; ticks++ {
		at := b.m.Deadline()
		if at.After(end) {
			break
		}
		if ticks > 100_000 {
			b.t.Fatalf("the machine wants to be ticked without end at %v", at)
		}
		b.now = at
		b.settle(b.m.Tick(b.now))
	}
	b.now = end
}

// name is the client that has the member id.
func (b *bench) name(id string) string {
	for who, known := range b.ids {
		if known == id {
			return who
		}
	}
	return id
}

func (b *bench) show(who string, resp Response) string {
	switch r := resp.(type) {
	case *JoinResult:
		if r.Member != "" && (r.Code == protocol.None || r.Code == protocol.MemberIDRequired) {
			b.ids[who] = r.Member
		}
		if r.Code != protocol.None {
			return r.Code.Error()
		}
		b.gens[who] = r.Generation
		s := fmt.Sprintf("joined generation=%d protocol=%s leader=%s", r.Generation, deref(r.Protocol), b.name(r.Leader))
		if r.SkipAssignment {
			s += " skip-assignment"
		}
		for _, m := range r.Members {
			s += fmt.Sprintf(" %s(%s)", b.name(m.Member), text(m.Metadata))
		}
		return s
	case *SyncResult:
		if r.Code != protocol.None {
			return r.Code.Error()
		}
		if list, _, ok := readAssignment(r.Assignment); ok {
			return fmt.Sprintf("synced v%d %s", r.Assignment[1], showNamed(list))
		}
		return fmt.Sprintf("synced %q", r.Assignment)
	case *HeartbeatResult:
		return r.Code.Error()
	case *LeaveResult:
		if r.Code != protocol.None {
			return r.Code.Error()
		}
		return "left " + codes(r.Codes)
	case *CommitResult:
		s := "committed"
		for _, p := range r.Partitions {
			s += fmt.Sprintf(" %s-%d=%s", p.Topic, p.Partition, p.Code.Error())
		}
		return s
	case *FetchResult:
		s := strings.TrimPrefix(r.Code.Error()+" ", "NONE ") + "offsets"
		for _, t := range r.Topics {
			for _, p := range t.Partitions {
				s += fmt.Sprintf(" %s-%d=%d/%d/%q", t.Topic, p.Partition, p.Offset, p.LeaderEpoch, p.Metadata)
			}
		}
		return s
	case *DescribeResult:
		s := fmt.Sprintf("%s %s type=%q protocol=%q", r.Code.Error(), r.State, r.Type, r.Protocol)
		for _, m := range r.Members {
			s += fmt.Sprintf(" %s(%s,%s,%s)", b.name(m.Member), m.ClientID, text(m.Metadata), textOf(m.Assignment))
		}
		return s
	case *ListResult:
		s := "groups"
		for _, g := range r.Groups {
			s += fmt.Sprintf(" %s/%s/%s", g.Group, g.ProtocolType, g.State)
		}
		return s
	case *DeleteResult:
		return r.Code.Error()
	case *DeleteOffsetsResult:
		s := r.Code.Error()
		for _, p := range r.Partitions {
			s += fmt.Sprintf(" %s-%d=%s", p.Topic, p.Partition, p.Code.Error())
		}
		return s
	case *ForgetResult:
		return r.Code.Error()
	}
	return b.showConsumer(who, resp)
}

func showRecord(b *bench, r Record) string {
	switch v := r.Value.(type) {
	case *Commit:
		s := fmt.Sprintf("commit %s %s-%d=%d", r.Group, r.Topic, r.Partition, v.Offset)
		if v.Expires >= 0 {
			s += " expires"
		}
		return s
	case *Saved:
		s := fmt.Sprintf("save %s generation=%d", r.Group, v.Generation)
		for _, m := range v.Members {
			s += fmt.Sprintf(" %s(%s,%s)", b.name(m.Member), text(m.Metadata), textOf(m.Assignment))
		}
		return s
	}
	if r.Kind == KindCommit {
		return fmt.Sprintf("remove %s %s-%d", r.Group, r.Topic, r.Partition)
	}
	if r.Kind == KindSaved {
		return "remove " + r.Group
	}
	return b.showConsumerRecord(r)
}

func codes(cs []protocol.Code) string {
	var all []string
	for _, c := range cs {
		all = append(all, c.Error())
	}
	return strings.Join(all, " ")
}

func deref(s *string) string {
	if s == nil {
		return "-"
	}
	return *s
}

// check holds what must be true of a machine at any time.
func check(t *testing.T, m *Machine) {
	t.Helper()
	if s := broken(m); s != "" {
		t.Fatal(s)
	}
}

// broken says what does not hold that must hold at any time; "" if all does.
func broken(m *Machine) string {
	for _, id := range slices.Sorted(maps.Keys(m.groups)) {
		if s := m.groups[id].broken(); s != "" {
			return "group " + id + " " + s
		}
	}
	return brokenConsumers(m)
}

func (g *group) broken() string {
	waiting := 0
	for _, mem := range g.members {
		if g.byID[mem.id] != mem {
			return fmt.Sprintf("does not find member %s by its id", mem.id)
		}
		if mem.joinTicket != 0 {
			waiting++
		}
		if mem.instance != nil && g.static[*mem.instance] != mem {
			return fmt.Sprintf("has instance %s, which is not member %s", *mem.instance, mem.id)
		}
	}
	switch {
	case waiting != g.awaiting:
		return fmt.Sprintf("has %d members that wait to join, counted are %d", waiting, g.awaiting)
	case len(g.byID) != len(g.members):
		return fmt.Sprintf("has %d members, %d ids", len(g.members), len(g.byID))
	case g.state == Empty && len(g.members) > 0:
		return "is empty and has members"
	case (g.state == Stable || g.state == CompletingRebalance) && !g.complete():
		return fmt.Sprintf("is %s without a leader or a protocol", g.state)
	case (g.state == Stable || g.state == CompletingRebalance) && waiting > 0:
		return fmt.Sprintf("is %s and members wait to join", g.state)
	}
	return ""
}

// start is a fresh bench for one script.
func start(t *testing.T) func(script.Command) string {
	b := newBench(t)
	return func(c script.Command) string {
		b.out = nil
		b.do(c)
		return strings.Join(b.out, "\n")
	}
}

func TestScripts(t *testing.T) { script.RunAll(t, "testdata/*.txt", start) }

func run(t *testing.T, name string) { script.Run(t, "testdata/"+name+".txt", start(t)) }

// The rules, by the script that shows them.

func TestRule087_WhatAJoinIsRefusedFor(t *testing.T)             { run(t, "join") }
func TestRule088_ProtocolsAreSharedAndVotedFor(t *testing.T)     { run(t, "join") }
func TestRule089_TheFirstRebalanceWaits(t *testing.T)            { run(t, "initial_delay") }
func TestRule090_Sync(t *testing.T)                              { run(t, "sync_heartbeat_leave") }
func TestRule091_Heartbeat(t *testing.T)                         { run(t, "sync_heartbeat_leave") }
func TestRule092_StaticMembers(t *testing.T)                     { run(t, "static") }
func TestRule093_Leave(t *testing.T)                             { run(t, "sync_heartbeat_leave") }
func TestRule094_WhoMayCommit(t *testing.T)                      { run(t, "offsets") }
func TestRule095_WhatIsNotCommittedIsMinusOne(t *testing.T)      { run(t, "offsets") }
func TestRule096_ToDescribeAGroupThatIsNot(t *testing.T)         { run(t, "admin") }
func TestRule097_FiltersOfTheList(t *testing.T)                  { run(t, "admin") }
func TestRule098_ToDeleteGroupsAndOffsets(t *testing.T)          { run(t, "admin") }
func TestRule099_OffsetsExpire(t *testing.T)                     { run(t, "expiry") }
func TestC78_CommitsMayGoBackwards(t *testing.T)                 { run(t, "offsets") }
func TestC81_OneGenerationARebalance(t *testing.T)               { run(t, "rebalance") }
func TestC84_PendingSyncTimeout(t *testing.T)                    { run(t, "timeouts") }
func TestC85_AGroupThatWasNotStableRebalancesAgain(t *testing.T) { run(t, "restart") }
func TestC95_AConsumerWithoutAGroupCommits(t *testing.T)         { run(t, "offsets") }

func (b *bench) duration(c script.Command, name, otherwise string) time.Duration {
	d, err := time.ParseDuration(c.Opt(name, otherwise))
	if err != nil {
		b.t.Fatalf("%s: %v", c.Line, err)
	}
	return d
}

func (b *bench) number(c script.Command, name string, otherwise int32) int32 {
	n, err := strconv.ParseInt(c.Opt(name, strconv.Itoa(int(otherwise))), 10, 32)
	if err != nil {
		b.t.Fatalf("%s: %v", c.Line, err)
	}
	return int32(n)
}

func optional(c script.Command, name string) *string {
	if v, ok := c.Opts[name]; ok {
		return &v
	}
	return nil
}

// do runs one command. The first argument is the client, the group is "g" unless group= says otherwise.
func (b *bench) do(c script.Command) {
	who := ""
	if len(c.Args) > 0 {
		who = c.Args[0]
	}
	grp := c.Opt("group", "g")
	id := c.Opt("id", b.ids[who])
	switch c.Name {
	case "config":
		b.cfg.MaxSize = int(b.number(c, "max-size", 1<<31-1))
		b.cfg.InitialRebalanceDelay = b.duration(c, "delay", "3s")
		b.cfg.OffsetsRetention = b.duration(c, "retention", "168h")
		b.cfg.OffsetMetadataMax = int(b.number(c, "metadata", 4096))
		b.m.cfg = b.cfg
	case "join":
		var ps []Protocol
		for _, p := range strings.Split(c.Opt("protocols", "range:x"), ",") {
			name, meta, _ := strings.Cut(p, ":")
			if name != "" {
				ps = append(ps, Protocol{Name: name, Metadata: b.subscription(meta)})
			}
		}
		v := b.number(c, "v", 9)
		b.handle(who, &Join{
			Group: grp, Member: id, Instance: optional(c, "instance"), Type: c.Opt("type", "consumer"), Protocols: ps,
			Session: b.duration(c, "session", "10s"), Rebalance: b.duration(c, "rebalance", "60s"),
			ClientID: who, ClientHost: "/h", MemberIDRequired: v >= 4, CanSkipAssigning: v >= 9,
		})
	case "sync":
		req := &Sync{
			Group: grp, Member: id, Instance: optional(c, "instance"), Generation: b.number(c, "generation", b.gens[who]),
			Type: optional(c, "type"), Protocol: optional(c, "protocol"),
		}
		for _, a := range c.Args[1:] {
			name, data, _ := strings.Cut(a, ":")
			req.Assignments = append(req.Assignments, Assignment{Member: b.ids[name], Data: assignmentBytes(data)})
		}
		b.handle(who, req)
	case "heartbeat":
		b.handle(who, &Heartbeat{
			Group: grp, Member: id, Instance: optional(c, "instance"), Generation: b.number(c, "generation", b.gens[who]),
		})
	case "leave":
		req := &Leave{Group: grp}
		for _, a := range c.Args {
			if inst, ok := strings.CutPrefix(a, "@"); ok {
				req.Members = append(req.Members, LeavingMember{Instance: &inst})
				continue
			}
			req.Members = append(req.Members, LeavingMember{Member: b.known(a), Instance: optional(c, "instance")})
		}
		b.handle(who, req)
	case "commit":
		req := &CommitOffsets{
			Group: grp, Member: id, Instance: optional(c, "instance"), Generation: b.number(c, "generation", b.gens[who]),
			Retention: b.duration(c, "retention", "-1ms"), KnowsGroupNotFound: b.number(c, "v", 10) >= 9,
		}
		for _, a := range c.Args[1:] {
			topic, at, _ := strings.Cut(a, ":")
			n, _ := strconv.ParseInt(at, 10, 64)
			req.Partitions = append(req.Partitions, CommitPartition{
				Topic: topic, TopicID: b.topics.topics[topic].ID, Offset: protocol.Offset(n), LeaderEpoch: 7, Metadata: c.Opt("metadata", ""),
			})
		}
		b.handle(who, req)
	default:
		b.admin(c, who, grp)
	}
}

// admin runs the commands that are not of members.
func (b *bench) admin(c script.Command, who, grp string) {
	switch c.Name {
	case "offsets":
		req := &FetchOffsets{Group: grp, Epoch: b.number(c, "epoch", -1), Member: optional(c, "member"), All: len(c.Args) < 2}
		for _, topic := range c.Args[min(1, len(c.Args)):] {
			req.Topics = append(req.Topics, FetchTopic{Topic: topic, Partitions: []int32{0}})
		}
		b.handle(who, req)
	case "describe":
		b.handle(who, &Describe{Group: grp})
	case "list":
		req := &List{}
		for _, f := range c.Args[1:] {
			req.States = append(req.States, f)
		}
		if f, ok := c.Opts["types"]; ok {
			req.Types = strings.Split(f, ",")
		}
		b.handle(who, req)
	case "delete":
		b.handle(who, &Delete{Group: grp})
	case "delete-offsets":
		req := &DeleteOffsets{Group: grp}
		for _, topic := range c.Args[1:] {
			req.Partitions = append(req.Partitions, DeletePartition{Topic: topic})
		}
		b.handle(who, req)
	case "forget":
		b.handle(who, &ForgetTopics{Topics: []DeletedTopic{{Name: c.Args[1]}}})
	case "advance":
		d, err := time.ParseDuration(who)
		if err != nil {
			b.t.Fatalf("%s: %v", c.Line, err)
		}
		b.advance(d)
	case "beat": // time passes while these send heartbeats
		end := b.now.Add(b.duration(c, "for", "1m"))
		for b.now.Before(end) {
			b.advance(2 * time.Second)
			out := b.out
			for _, name := range c.Args {
				b.handle(name, &Heartbeat{Group: grp, Member: b.ids[name], Generation: b.gens[name]})
			}
			b.out = out
		}
	case "restart":
		b.restart()
	case "full":
		b.full = protocol.NotEnoughReplicas
	case "not-full":
		b.full = protocol.None
	case "forget-id": // the client starts anew
		delete(b.ids, who)
		delete(b.gens, who)
	case "reason":
		b.out = append(b.out, b.m.groups[grp].reason)
	case "events":
		b.out = append(b.out, b.events...)
		b.events = nil
	case "topic": // has so many partitions from now on
		b.topics.set(who, int(b.number(c, "partitions", 1)))
	case "waiting": // who has no answer yet
		var names []string
		for _, name := range b.owner {
			names = append(names, name)
		}
		slices.Sort(names)
		b.out = append(b.out, strings.Join(names, " "))
	default:
		if b.consumer(c, who, grp) {
			return
		}
		b.t.Fatalf("unknown command: %s", c.Line)
	}
}

// known is the member id of a client, or the word itself.
func (b *bench) known(name string) string {
	if id, ok := b.ids[name]; ok {
		return id
	}
	return name
}
