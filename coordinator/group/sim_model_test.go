package group

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// simModel is what the records of a log say, by the rule that the last record of a key counts and nothing else. It knows
// nothing of how the machine reads them.
type simModel struct{ groups map[string]*simModelGroup }

type simModelGroup struct {
	saved   *Saved
	epoch   *Epoch
	target  *Target
	members map[string]*Member
	targets map[string]*MemberTarget
	current map[string]*Current
	regexes map[string]*Regex
	offsets map[string]map[int32]*Commit // by topic
}

func foldModel(entries []simEntry) *simModel {
	m := &simModel{groups: map[string]*simModelGroup{}}
	for _, e := range entries {
		m.apply(e.Record)
	}
	return m
}

// of is the group; one that does not exist is empty.
func (m *simModel) of(id string) *simModelGroup {
	g := m.groups[id]
	if g == nil {
		g = &simModelGroup{
			members: map[string]*Member{}, targets: map[string]*MemberTarget{}, current: map[string]*Current{},
			regexes: map[string]*Regex{}, offsets: map[string]map[int32]*Commit{},
		}
		m.groups[id] = g
	}
	return g
}

func (m *simModel) apply(r Record) {
	g := m.of(r.Group)
	switch r.Kind {
	case KindCommit:
		c, _ := r.Value.(*Commit)
		if c == nil {
			delete(g.offsets[r.Topic], r.Partition)
			return
		}
		if g.offsets[r.Topic] == nil {
			g.offsets[r.Topic] = map[int32]*Commit{}
		}
		g.offsets[r.Topic][r.Partition] = c
	case KindSaved:
		g.saved, _ = r.Value.(*Saved)
	case KindEpoch:
		g.epoch, _ = r.Value.(*Epoch)
	case KindTarget:
		g.target, _ = r.Value.(*Target)
	case KindMember:
		put(g.members, r.Name, r.Value)
	case KindMemberTarget:
		put(g.targets, r.Name, r.Value)
	case KindCurrent:
		put(g.current, r.Name, r.Value)
	case KindRegex:
		put(g.regexes, r.Name, r.Value)
	}
}

func put[V any](in map[string]*V, key string, value any) {
	if v, ok := value.(*V); ok && v != nil {
		in[key] = v
		return
	}
	delete(in, key)
}

func (g *simModelGroup) commit(topic string, partition int32) *Commit {
	return g.offsets[topic][partition]
}

// empty says that nothing of a group is left.
func (g *simModelGroup) empty() bool {
	for _, of := range g.offsets {
		if len(of) > 0 {
			return false
		}
	}
	return g.saved == nil && g.epoch == nil && g.target == nil && len(g.members)+len(g.targets)+len(g.current)+len(g.regexes) == 0
}

// simKey is what compaction goes by.
type simKey struct {
	kind        Kind
	group, name string
	topic       string
	partition   int32
}

func keyOf(r Record) simKey { return simKey{r.Kind, r.Group, r.Name, r.Topic, r.Partition} }

// compacted is the log as a cleaner leaves it that has come as far as upTo: of each key the last record, and no
// tombstones where these were dropped too.
func (l *simLog) compacted(upTo int, dropTombstones bool) []simEntry {
	last := map[simKey]int{}
	for i, e := range l.entries[:upTo] {
		last[keyOf(e.Record)] = i
	}
	var kept []simEntry
	for i, e := range l.entries[:upTo] {
		if last[keyOf(e.Record)] == i && (e.Value != nil || !dropTombstones) {
			kept = append(kept, e)
		}
	}
	return append(kept, l.entries[upTo:]...)
}

// clone shares nothing with r: a machine that changes what it was given must not change the log.
func (r Record) clone() Record {
	switch v := r.Value.(type) {
	case *Commit:
		c := *v
		r.Value = &c
	case *Saved:
		c := *v
		c.Protocol, c.Leader = cloneString(v.Protocol), cloneString(v.Leader)
		c.Members = slices.Clone(v.Members)
		for i := range c.Members {
			m := &c.Members[i]
			m.Instance, m.Metadata, m.Assignment = cloneString(m.Instance), slices.Clone(m.Metadata), slices.Clone(m.Assignment)
		}
		r.Value = &c
	case *Epoch:
		c := *v
		r.Value = &c
	case *Target:
		c := *v
		r.Value = &c
	case *Member:
		c := *v
		c.Instance, c.Rack, c.Regex, c.Assignor = cloneString(v.Instance), cloneString(v.Rack), cloneString(v.Regex), cloneString(v.Assignor)
		c.Topics = slices.Clone(v.Topics)
		if v.Classic != nil {
			c.Classic = &ClassicMember{SessionMillis: v.Classic.SessionMillis, Protocols: slices.Clone(v.Classic.Protocols)}
			for i := range c.Classic.Protocols {
				c.Classic.Protocols[i].Metadata = slices.Clone(c.Classic.Protocols[i].Metadata)
			}
		}
		r.Value = &c
	case *MemberTarget:
		r.Value = &MemberTarget{Topics: clonePartitions(v.Topics)}
	case *Current:
		c := *v
		c.Assigned, c.Revoking = clonePartitions(v.Assigned), clonePartitions(v.Revoking)
		r.Value = &c
	case *Regex:
		c := *v
		c.Topics = slices.Clone(v.Topics)
		r.Value = &c
	}
	return r
}

func cloneString(s *string) *string {
	if s == nil {
		return nil
	}
	c := *s
	return &c
}

func clonePartitions(ts []TopicPartitions) []TopicPartitions {
	c := slices.Clone(ts)
	for i := range c {
		c[i].Partitions, c[i].Epochs = slices.Clone(c[i].Partitions), slices.Clone(c[i].Epochs)
	}
	return c
}

func simSorted[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// simShow is a record as a history has it.
func simShow(r Record) string {
	switch v := r.Value.(type) {
	case nil:
		return fmt.Sprintf("%s: remove %d %s%s", r.Group, r.Kind, r.Name, r.Topic)
	case *Commit:
		return fmt.Sprintf("%s: commit %s-%d=%d", r.Group, r.Topic, r.Partition, v.Offset)
	case *Saved:
		s := fmt.Sprintf("%s: generation %d", r.Group, v.Generation)
		for _, m := range v.Members {
			s += fmt.Sprintf(" %s(%x)", simShort(m.Member), m.Assignment)
		}
		return s
	case *Epoch:
		return fmt.Sprintf("%s: epoch %d, metadata %x", r.Group, v.Epoch, v.MetadataHash)
	case *Target:
		return fmt.Sprintf("%s: target of epoch %d", r.Group, v.Epoch)
	case *Member:
		return fmt.Sprintf("%s: member %s instance %s topics %v regex %s classic %v", r.Group, simShort(r.Name),
			deref(v.Instance), v.Topics, deref(v.Regex), v.Classic != nil)
	case *MemberTarget:
		return fmt.Sprintf("%s: target of %s is %s", r.Group, simShort(r.Name), simParts(v.Topics))
	case *Current:
		return fmt.Sprintf("%s: %s is at epoch %d (before %d), state %d, has %s, gives back %s", r.Group, simShort(r.Name),
			v.Epoch, v.PreviousEpoch, v.State, simParts(v.Assigned), simParts(v.Revoking))
	case *Regex:
		return fmt.Sprintf("%s: %q is %v", r.Group, r.Name, v.Topics)
	}
	return fmt.Sprintf("%+v", r)
}

// simShort is a member id that a reader can tell from others.
func simShort(id string) string {
	if len(id) <= 12 {
		return id
	}
	name, rest, _ := strings.Cut(id, "-")
	return name + "-" + rest[:min(4, len(rest))]
}

func simParts(ts []TopicPartitions) string {
	s := ""
	for _, t := range ts {
		s += fmt.Sprintf(" %d:%v", t.ID[15], t.Partitions)
	}
	return "[" + strings.TrimSpace(s) + "]"
}
