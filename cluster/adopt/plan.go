package adopt

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// What may be left behind: the values of the key moldau.adopt.ignore.
const (
	IgnoreACLs    = "acls"
	IgnoreSCRAM   = "scram"
	IgnoreQuotas  = "quotas"
	IgnoreTokens  = "tokens"
	IgnoreMissing = "missing" // partitions whose records are not here: they begin empty
	IgnoreLagging = "lagging" // partitions of which others may have more
)

// Log is a partition's log as it is in the data folder.
type Log struct {
	Topic protocol.TopicID // zero where the folder does not say
	Epoch protocol.Epoch   // the latest in it; -1 for none
}

// Here is what there is on this node.
type Here struct {
	ClusterID   string
	Node        protocol.BrokerID
	Directories []string // the ids of the data folders, as Kafka writes them
	Logs        map[protocol.TopicPartition]Log
	// NextProducerID is larger than every producer id in the logs.
	NextProducerID int64
	Ignore         []string
}

// producerIDGap is how far above Kafka's our producer ids begin. Kafka does not learn which ones we give out; were it started
// again on the folder and gave out the same, it would take a new producer's records for repeats of another's.
const producerIDGap = 1 << 40

// faultsNamed is how many partitions are named for one fault.
const faultsNamed = 5

// plan is a Plan in the making.
type plan struct {
	m    *Metadata
	here Here
	out  meta.Adopt

	elsewhere, lost, behind, foreign []string // partitions, by what is wrong with them
	notes                            []string
	ways                             []string // what would have to be ignored to go on
}

// Plan is what to take over. notes name what is not taken, one sentence each. The error names everything that stands in
// the way at once, with the ways out.
func (m *Metadata) Plan(here Here) (out meta.Adopt, notes []string, err error) {
	p := &plan{m: m, here: here}
	p.out.ClusterID = here.ClusterID
	p.out.Features = []meta.Feature{{Name: groupVersion, Level: m.features[groupVersion]}} // 0 where it is not finalized
	p.out.NextProducerID = max(m.nextPID+producerIDGap, here.NextProducerID)
	byName := slices.SortedFunc(maps.Values(m.topics), func(a, b *topic) int { return strings.Compare(a.name, b.name) })
	faults := p.security()
	for _, t := range byName {
		if err := p.topic(t); err != nil {
			faults = append(faults, err)
		}
	}
	p.configs()
	faults = append(faults, p.partitionFaults()...)
	if level := m.features["metadata.version"]; level > newestMetadataVersion {
		p.notes = append(p.notes, fmt.Sprintf("the folder's metadata.version is %d, newer than the %d that is known here", level,
			newestMetadataVersion))
	}
	if len(p.ways) > 0 {
		faults = append(faults, fmt.Errorf("to go on all the same, say --set moldau.adopt.ignore=%s%s", strings.Join(p.ways, ","),
			p.warning()))
	}
	return p.out, p.notes, errors.Join(faults...)
}

// warning says what ignoring costs where that is not plain.
func (p *plan) warning() string {
	if slices.Contains(p.ways, IgnoreMissing) {
		return " (partitions that are not here then begin empty)"
	}
	return ""
}

// groupVersion is the feature that stays as Kafka had it: whether there are consumer groups is the cluster's choice.
const groupVersion = "group.version"

// newestMetadataVersion is that of Apache Kafka 4.4.
const newestMetadataVersion = 33

func (p *plan) ignores(what string) bool { return slices.Contains(p.here.Ignore, what) }

// security refuses what somebody's safety may rest on.
func (p *plan) security() (faults []error) {
	for _, s := range []struct {
		what, key string
		count     int
		without   string
	}{
		{"ACLs", IgnoreACLs, len(p.m.acls), "everybody would be let in"},
		{"SCRAM credentials", IgnoreSCRAM, len(p.m.scram), "nobody would be asked for a password"},
		{"client quotas", IgnoreQuotas, len(p.m.quotas), "nobody would be held back"},
		{"delegation tokens", IgnoreTokens, len(p.m.tokens), "their holders would not be let in by them"},
	} {
		switch {
		case s.count == 0:
		case p.ignores(s.key):
			p.notes = append(p.notes, fmt.Sprintf("%s (%d)", s.what, s.count))
		default:
			faults = append(faults, fmt.Errorf("the cluster has %s (%d), which moldau cannot honour yet: %s", s.what, s.count,
				s.without))
			p.ways = append(p.ways, s.key)
		}
	}
	return faults
}

func (p *plan) topic(t *topic) error {
	if t.name == "__cluster_metadata" {
		return nil
	}
	out := meta.Topic{Name: t.name, ID: t.id, Partitions: make([]meta.Partition, len(t.partitions))}
	for i := range out.Partitions {
		part := t.partitions[int32(i)]
		if part == nil {
			return fmt.Errorf("topic %s has %d partitions, but none of the number %d", t.name, len(t.partitions), i)
		}
		out.Partitions[i] = p.partition(protocol.TopicPartition{Topic: t.name, Partition: int32(i)}, t, part)
	}
	p.out.Topics = append(p.out.Topics, out)
	return nil
}

// partition is a partition with this node as its only replica. Its leader epoch goes on above all that was ever so.
func (p *plan) partition(tp protocol.TopicPartition, t *topic, part *partition) meta.Partition {
	node := int32(p.here.Node)
	log, have := p.here.Logs[tp]
	at := slices.Index(part.replicas, node)
	switch {
	case have && !log.Topic.IsZero() && log.Topic != t.id:
		p.foreign = append(p.foreign, fmt.Sprintf("%s (of the topic id %s, the cluster's is %s)", tp, log.Topic, t.id))
	case at < 0:
		p.elsewhere = append(p.elsewhere, tp.String())
	case !have && p.keptElsewhere(part, at):
		p.lost = append(p.lost, tp.String())
	case len(part.replicas) > 1 && !slices.Contains(part.isr, node) && !slices.Contains(part.elr, node):
		p.behind = append(p.behind, tp.String())
	}
	epoch := max(protocol.Epoch(part.leaderEpoch), -1)
	if have {
		epoch = max(epoch, log.Epoch)
	}
	self := []protocol.BrokerID{p.here.Node}
	return meta.Partition{
		Replicas: self, ISR: self, Leader: p.here.Node, LeaderEpoch: epoch + 1, Epoch: max(part.epoch, 0) + 1,
	}
}

// keptElsewhere says whether the partition's log was made, in a data folder that is not among those given.
func (p *plan) keptElsewhere(part *partition, at int) bool {
	if at >= len(part.directories) || !part.directories[at].named() {
		return false
	}
	return !slices.Contains(p.here.Directories, protocol.TopicID(part.directories[at]).String())
}

func (p *plan) partitionFaults() (faults []error) {
	if len(p.foreign) > 0 {
		faults = append(faults, fmt.Errorf("folders of deleted topics are in the way: %s; move them out of the data folder",
			some(p.foreign)))
	}
	missing := append(slices.Clone(p.elsewhere), p.lost...)
	switch {
	case len(missing) == 0:
	case p.ignores(IgnoreMissing):
		p.notes = append(p.notes, fmt.Sprintf("the records of %d partitions are not here; they begin empty: %s", len(missing),
			some(missing)))
	default:
		if len(p.elsewhere) > 0 {
			faults = append(faults, fmt.Errorf("%d partitions have no replica on node %d: %s; let Kafka reassign them to this "+
				"node first (kafka-reassign-partitions)", len(p.elsewhere), p.here.Node, some(p.elsewhere)))
		}
		if len(p.lost) > 0 {
			faults = append(faults, fmt.Errorf("%d partitions lie in a data folder that was not named: %s; name all folders of "+
				"log.dirs in --data", len(p.lost), some(p.lost)))
		}
		p.ways = append(p.ways, IgnoreMissing)
	}
	if len(p.behind) > 0 && !p.ignores(IgnoreLagging) {
		faults = append(faults, fmt.Errorf("%d partitions are not in sync on node %d, so that others may have records that "+
			"are not here: %s; let Kafka bring them in sync first", len(p.behind), p.here.Node, some(p.behind)))
		p.ways = append(p.ways, IgnoreLagging)
	} else if len(p.behind) > 0 {
		p.notes = append(p.notes, fmt.Sprintf("%d partitions were not in sync here: %s", len(p.behind), some(p.behind)))
	}
	return faults
}

// some names the first few.
func some(names []string) string {
	if len(names) <= faultsNamed {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:faultsNamed], ", "), len(names)-faultsNamed)
}

// configs takes what is set on topics, groups, client metrics, this node and on all nodes.
func (p *plan) configs() {
	for _, r := range slices.SortedFunc(maps.Keys(p.m.configs), func(a, b meta.Resource) int {
		if a.Type != b.Type {
			return int(a.Type) - int(b.Type)
		}
		return strings.Compare(a.Name, b.Name)
	}) {
		values := p.m.configs[r]
		switch {
		case len(values) == 0:
		case r.Type == config.BrokerResource && r.Name != "" && r.Name != strconv.Itoa(int(p.here.Node)):
			p.notes = append(p.notes, fmt.Sprintf("%d settings of broker %s are not taken", len(values), r.Name))
		case r.Type == config.TopicResource, r.Type == config.BrokerResource, r.Type == config.GroupResource,
			r.Type == config.ClientMetricsResource:
			p.out.Configs = append(p.out.Configs, meta.AdoptedConfigs{Resource: r, Values: values})
		default:
			p.notes = append(p.notes, fmt.Sprintf("%d settings of %q, a resource of type %d, are not taken", len(values), r.Name,
				r.Type))
		}
	}
}

// Topics are the ids of all topics, to know the next time which of them Kafka has deleted since.
func (m *Metadata) Topics() []protocol.TopicID {
	ids := slices.Collect(maps.Keys(m.topics))
	slices.SortFunc(ids, func(a, b protocol.TopicID) int { return strings.Compare(string(a[:]), string(b[:])) })
	return ids
}

// FromLogs is a plan without metadata: topics, ids and numbers of partitions are those of the logs; everything else is as
// for new topics. notes and the error are as for Plan.
func FromLogs(here Here) (out meta.Adopt, notes []string, err error) {
	m := New()
	for tp, log := range here.Logs {
		if log.Topic.IsZero() {
			notes = append(notes, fmt.Sprintf("%s is left alone: its partition.metadata does not say the topic's id", tp))
			continue
		}
		t := m.topics[log.Topic]
		if t == nil {
			t = &topic{name: tp.Topic, id: log.Topic, partitions: map[int32]*partition{}}
			m.topics[log.Topic] = t
		}
		node := []int32{int32(here.Node)}
		t.partitions[tp.Partition] = &partition{replicas: node, isr: node, leaderEpoch: -1, epoch: -1}
	}
	var faults []error
	names := map[string]protocol.TopicID{}
	for _, id := range m.Topics() {
		t := m.topics[id]
		if other, twice := names[t.name]; twice {
			faults = append(faults, fmt.Errorf("the folders of %s say two topic ids, %s and %s; move those of the deleted topic "+
				"out of the data folder", t.name, other, id))
		}
		names[t.name] = id
		last := slices.Max(slices.Collect(maps.Keys(t.partitions)))
		for i := range last {
			if t.partitions[i] != nil {
				continue
			}
			none := &partition{replicas: []int32{-1}, leaderEpoch: -1, epoch: -1}
			t.partitions[i] = none
		}
	}
	out, more, err := m.Plan(here)
	slices.Sort(notes)
	return out, append(notes, more...), errors.Join(append(faults, err)...)
}
