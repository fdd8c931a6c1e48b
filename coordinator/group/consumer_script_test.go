package group

import (
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"moldau.io/moldau/internal/script"
	"moldau.io/moldau/protocol"
)

// fakeTopics is metadata that scripts change. Ids count up, so that the order of ids is that of making.
type fakeTopics struct {
	version int64
	made    byte
	topics  map[string]Topic
	racks   map[protocol.TopicID][]string // by partition, comma between brokers
}

func (f *fakeTopics) Now() Metadata                   { return f }
func (f *fakeTopics) Version() int64                  { return f.version }
func (f *fakeTopics) Topic(name string) (Topic, bool) { t, ok := f.topics[name]; return t, ok }
func (f *fakeTopics) Names() iter.Seq[string]         { return slices.Values(sortedKeys(f.topics)) }
func (f *fakeTopics) Racks(id protocol.TopicID, p int32) []string {
	if r := f.racks[id]; int(p) < len(r) {
		return strings.Split(r[p], ",")
	}
	return nil
}

func (f *fakeTopics) TopicByID(id protocol.TopicID) (Topic, bool) {
	for _, t := range f.topics {
		if t.ID == id {
			return t, true
		}
	}
	return Topic{}, false
}

// set makes a topic, grows it, or removes it when n is 0.
func (f *fakeTopics) set(name string, n int) {
	f.version++
	t, ok := f.topics[name]
	if n == 0 {
		delete(f.topics, name)
		return
	}
	if !ok {
		f.made++
		t = Topic{Name: name, ID: protocol.TopicID{0: f.made}}
	}
	t.Partitions = n
	if f.topics == nil {
		f.topics = map[string]Topic{}
	}
	f.topics[name] = t
}

// partitions reads t:0,1/u:2; "-" is the empty list, "" none at all.
func (b *bench) partitions(text string) []TopicPartitions {
	if text == "" {
		return nil
	}
	list := []TopicPartitions{}
	for _, part := range strings.Split(text, "/") {
		name, ps, _ := strings.Cut(part, ":")
		t, ok := b.topics.topics[name]
		if !ok {
			continue
		}
		tp := TopicPartitions{ID: t.ID}
		for _, p := range strings.Split(ps, ",") {
			n, _ := strconv.Atoi(p)
			tp.Partitions = append(tp.Partitions, int32(n))
		}
		list = append(list, tp)
	}
	return list
}

// showPartitions is t:0,1/u:2, with the epochs behind an @ where there are any.
func (b *bench) showPartitions(list []TopicPartitions) string {
	var parts []string
	for _, t := range list {
		name := fmt.Sprintf("%x", t.ID[:1])
		if known, ok := b.topics.TopicByID(t.ID); ok {
			name = known.Name
		}
		var ps []string
		for i, p := range t.Partitions {
			s := strconv.Itoa(int(p))
			if t.Epochs != nil {
				s += fmt.Sprintf("@%d", t.Epochs[i])
			}
			ps = append(ps, s)
		}
		parts = append(parts, name+":"+strings.Join(ps, ","))
	}
	if parts == nil {
		return "-"
	}
	return strings.Join(parts, "/")
}

// consumer runs the commands of consumer groups. The client's name is its member id unless id= says otherwise.
func (b *bench) consumer(c script.Command, who, grp string) bool {
	switch c.Name {
	case "cjoin", "chb":
		epoch, rebalance, owned := b.gens[who], "-1ms", c.Opt("owned", "")
		if c.Name == "cjoin" {
			epoch, rebalance, owned = 0, "60s", "-"
		}
		r := &ConsumerHeartbeat{
			Group: grp, Member: c.Opt("id", who), Epoch: b.number(c, "epoch", epoch), Instance: optional(c, "instance"),
			Rack: optional(c, "rack"), Rebalance: b.duration(c, "rebalance", rebalance), Regex: optional(c, "regex"),
			Assignor: optional(c, "assignor"), Owned: b.partitions(c.Opt("owned", owned)), ClientID: c.Opt("client", who),
			ClientHost: "/h", MemberIDRequired: b.number(c, "v", 1) > 0,
		}
		if topics, ok := c.Opts["topics"]; ok {
			r.Topics = []string{}
			if topics != "-" {
				r.Topics = strings.Split(topics, ",")
			}
		}
		b.handle(who, r)
	case "cleave":
		b.handle(who, &ConsumerHeartbeat{
			Group: grp, Member: c.Opt("id", who), Epoch: b.number(c, "epoch", -1), Instance: optional(c, "instance"),
			Rebalance: unchangedRebalance, MemberIDRequired: true,
		})
	case "cbeat": // time passes while these send heartbeats
		end := b.now.Add(b.duration(c, "for", "1m"))
		out := b.out
		for b.now.Before(end) {
			b.advance(b.duration(c, "every", "5s"))
			for _, name := range c.Args {
				b.handle(name, &ConsumerHeartbeat{
					Group: grp, Member: name, Epoch: b.gens[name], Rebalance: unchangedRebalance, ClientID: name, ClientHost: "/h",
				})
			}
		}
		if !c.Has("tell") {
			b.out = out
		}
	case "cdescribe":
		b.handle(who, &ConsumerDescribe{Group: grp})
	case "cconfig":
		b.cfg.ConsumerMaxSize = int(b.number(c, "max-size", 1<<31-1))
		b.cfg.Migration = map[string]Migration{
			"disabled": 0, "upgrade": Upgrade, "downgrade": Downgrade, "bidirectional": Upgrade | Downgrade,
		}[c.Opt("migration", "bidirectional")]
		b.cfg.Consumer.Session = b.duration(c, "session", "45s")
		b.cfg.Consumer.AssignmentInterval = b.duration(c, "interval", "1s")
		b.m.cfg = b.cfg
	default:
		return false
	}
	return true
}

func (b *bench) showConsumer(who string, resp Response) string {
	switch r := resp.(type) {
	case *ConsumerHeartbeatResult:
		if r.Code != protocol.None {
			return strings.TrimSpace(r.Code.Error() + " " + r.Message)
		}
		b.gens[who], b.ids[who] = r.Epoch, r.Member
		s := fmt.Sprintf("epoch=%d", r.Epoch)
		if r.Member != who {
			s = fmt.Sprintf("member=%s %s", r.Member, s)
		}
		if r.HasAssignment {
			s += " assigned=" + b.showPartitions(withoutEpochs(r.Assigned))
		}
		return s
	case *ConsumerDescribeResult:
		if r.Code != protocol.None {
			return strings.TrimSpace(r.Code.Error() + " " + r.Message)
		}
		s := fmt.Sprintf("%s epoch=%d target=%d assignor=%s", r.State, r.Epoch, r.AssignmentEpoch, r.Assignor)
		for _, m := range r.Members {
			classic := ""
			if m.Classic {
				classic = "classic "
			}
			s += fmt.Sprintf(" %s(%sepoch=%d topics=%s has=%s target=%s)", b.name(m.Member), classic, m.Epoch, strings.Join(m.Topics, ","),
				b.showPartitions(m.Assigned), b.showPartitions(m.Target))
		}
		return s
	}
	return fmt.Sprintf("%T", resp)
}

func (b *bench) showConsumerRecord(r Record) string {
	s := map[Kind]string{
		KindEpoch: "epoch", KindMember: "member", KindTarget: "target", KindMemberTarget: "member-target",
		KindCurrent: "current", KindRegex: "regex", KindPartitions: "partitions",
	}[r.Kind] + " " + strings.TrimSpace(r.Group+" "+b.name(r.Name))
	switch v := r.Value.(type) {
	case nil:
		s = "remove " + s
	case *Epoch:
		s += fmt.Sprintf(" %d", v.Epoch)
	case *Member:
		s += " topics=" + strings.Join(v.Topics, ",")
		if p := v.pattern(); p != "" {
			s += " regex=" + p
		}
		if v.Instance != nil {
			s += " instance=" + *v.Instance
		}
	case *Target:
		s += fmt.Sprintf(" %d", v.Epoch)
	case *MemberTarget:
		s += " " + b.showPartitions(v.Topics)
	case *Current:
		state := map[MemberState]string{MemberStable: "stable", MemberUnrevoked: "unrevoked", MemberUnreleased: "unreleased"}[v.State]
		s += fmt.Sprintf(" epoch=%d previous=%d %s has=%s", v.Epoch, v.PreviousEpoch, state, b.showPartitions(v.Assigned))
		if len(v.Revoking) > 0 {
			s += " revoking=" + b.showPartitions(v.Revoking)
		}
	case *Regex:
		s += " topics=" + strings.Join(v.Topics, ",")
	}
	return s
}

// brokenConsumers holds what is derived against what it is derived from, and that no partition has two owners. It says what
// is wrong, or nothing.
func brokenConsumers(m *Machine) string {
	for _, id := range sortedKeys(m.consumers) {
		g := m.consumers[id]
		if m.groups[id] != nil {
			return fmt.Sprintf("group %s is of both kinds", id)
		}
		topics, patterns, assignors := topicCounts{}, map[string]int{}, map[string]int{}
		owners, settled, instances := map[ownedPartition]string{}, 0, 0
		for _, name := range g.memberIDs() {
			mem := g.members[name]
			topics.addAll(mem.desc.Topics, subscriptions{names: 1})
			if p := mem.pattern(); p != "" {
				patterns[p]++
			}
			if mem.desc.Assignor != nil {
				assignors[*mem.desc.Assignor]++
			}
			if mem.settledAt(g.targetEpoch) {
				settled++
			}
			if mem.desc.Instance != nil {
				instances++
				if g.static[*mem.desc.Instance] != mem {
					return fmt.Sprintf("group %s: instance %s is not member %s", id, *mem.desc.Instance, name)
				}
			}
			for _, tp := range slices.Concat(mem.cur.Assigned, mem.cur.Revoking) {
				for _, p := range tp.Partitions {
					key := ownedPartition{tp.ID, p}
					if other, ok := owners[key]; ok {
						return fmt.Sprintf("group %s: partition %v has two owners, %s and %s", id, key, other, name)
					}
					owners[key] = name
					if g.owners[key] != mem {
						return fmt.Sprintf("group %s: partition %v is not noted as that of %s", id, key, name)
					}
				}
			}
			if mem.cur.Epoch > g.epoch || mem.cur.Epoch > max(g.targetEpoch, 0) {
				return fmt.Sprintf("group %s: member %s is in epoch %d, the group in %d", id, name, mem.cur.Epoch, g.epoch)
			}
			if mem.alarms.session.at.IsZero() || mem.cur.State == MemberUnrevoked && mem.cur.Epoch >= 0 && mem.desc.Classic == nil &&
				mem.alarms.rebalance.at.IsZero() {
				return fmt.Sprintf("group %s: member %s has no deadline", id, name)
			}
		}
		for _, name := range sortedKeys(g.alarms) {
			if g.members[name] == nil && g.alarms[name].session.at.IsZero() {
				return fmt.Sprintf("group %s: alarms are kept of member %s, who is gone", id, name)
			}
		}
		for _, re := range g.regexes {
			topics.addAll(re.Topics, subscriptions{patterns: 1})
		}
		switch {
		case settled != g.settled:
			return fmt.Sprintf("group %s: %d members are settled, counted are %d", id, settled, g.settled)
		case len(owners) != len(g.owners) || len(g.static) != instances:
			return fmt.Sprintf("group %s: something of a member that is gone is kept", id)
		case fmt.Sprint(topics, patterns, assignors) != fmt.Sprint(g.topics, g.patterns, g.assignors):
			return fmt.Sprintf("group %s: counts are %v, not %v", id, fmt.Sprint(g.topics, g.patterns, g.assignors),
				fmt.Sprint(topics, patterns, assignors))
		case g.targetEpoch > g.epoch:
			return fmt.Sprintf("group %s: target of epoch %d, group of epoch %d", id, g.targetEpoch, g.epoch)
		}
	}
	return ""
}
