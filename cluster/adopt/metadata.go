// Package adopt reads the metadata that Apache Kafka keeps in __cluster_metadata, and says what of it a moldau that is
// started on the same data folder takes over. It is given the records one by one and reads no file.
//
// Invariant: a plan is made of everything or of nothing: what this node cannot honour is a fault, unless it was said that
// it may be left behind.
package adopt

import (
	"fmt"
	"slices"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/fields"
)

// The kinds of metadata records, by their apiKey (kafka-metadata 4.4).
const (
	kindRegisterBroker   = 0
	kindUnregisterBroker = 1
	kindTopic            = 2
	kindPartition        = 3
	kindConfig           = 4
	kindPartitionChange  = 5
	kindFenceBroker      = 7
	kindUnfenceBroker    = 8
	kindRemoveTopic      = 9
	kindToken            = 10
	kindScram            = 11
	kindFeature          = 12
	kindQuota            = 14
	kindProducerIDs      = 15
	kindBrokerChange     = 17
	kindACL              = 18
	kindRemoveACL        = 19
	kindNoOp             = 20
	kindZkMigration      = 21
	kindRemoveScram      = 22
	kindBegin            = 23
	kindEnd              = 24
	kindAbort            = 25
	kindRemoveToken      = 26
	kindController       = 27
	kindClearELR         = 28
	kindRemoveController = 29
)

// passed over are the kinds that say nothing which is taken.
var passedOver = []int{kindFenceBroker, kindUnfenceBroker, kindBrokerChange, kindNoOp, kindZkMigration, kindController,
	kindClearELR, kindRemoveController}

// directory is a data folder's id. The first hundred stand for special cases and name no folder.
type directory [16]byte

func (d directory) named() bool {
	for _, b := range d[:len(d)-1] {
		if b != 0 {
			return true
		}
	}
	return d[len(d)-1] >= 100
}

type partition struct {
	replicas, isr []int32
	elr           []int32     // may lead although not in sync: they have everything that is committed (KIP-966)
	directories   []directory // of the replicas, in their order; may be missing
	leaderEpoch   int32
	epoch         int32
}

type topic struct {
	name       string
	id         protocol.TopicID
	partitions map[int32]*partition
}

// Metadata is what Kafka's records have said so far.
type Metadata struct {
	topics   map[protocol.TopicID]*topic
	configs  map[meta.Resource]map[string]string
	brokers  map[int32]bool
	nextPID  int64
	features map[string]int16

	// What moldau has nothing for: who may do what, and how much. By name, so that removals can be followed.
	acls, scram, quotas, tokens map[string]bool

	inTransaction bool     // of the controller's: what it says counts when it is ended
	pending       [][]byte // records of it
}

// New is the metadata before the first record.
func New() *Metadata {
	return &Metadata{
		topics: map[protocol.TopicID]*topic{}, configs: map[meta.Resource]map[string]string{}, brokers: map[int32]bool{},
		features: map[string]int16{},
		acls:     map[string]bool{}, scram: map[string]bool{}, quotas: map[string]bool{}, tokens: map[string]bool{},
	}
}

// Apply takes the value of one record. An error means that it cannot be read: it is damaged, or of a later Kafka.
func (m *Metadata) Apply(value []byte) error {
	in := fields.NewReader(value, true)
	frame, kind, version := in.Uvarint(), int(in.Uvarint()), int(in.Uvarint())
	switch {
	case in.Bad():
		return fmt.Errorf("a metadata record of %d bytes is cut short", len(value))
	case frame != 1:
		return fmt.Errorf("a metadata record has frame version %d, only 1 is known", frame)
	}
	switch kind {
	case kindBegin:
		m.inTransaction, m.pending = true, nil
		return nil
	case kindAbort:
		m.inTransaction, m.pending = false, nil
		return nil
	case kindEnd:
		records := m.pending
		m.inTransaction, m.pending = false, nil
		for _, r := range records {
			if err := m.Apply(r); err != nil {
				return err
			}
		}
		return nil
	}
	if m.inTransaction {
		m.pending = append(m.pending, slices.Clone(value))
		return nil
	}
	if slices.Contains(passedOver, kind) {
		return nil
	}
	known, err := m.apply(kind, version, in)
	switch {
	case !known:
		return fmt.Errorf("a metadata record is of kind %d, which this version does not know", kind)
	case err != nil:
		return err
	case in.Bad():
		return fmt.Errorf("a metadata record of kind %d, version %d, is damaged", kind, version)
	}
	return nil
}

func (m *Metadata) apply(kind, version int, in *fields.Reader) (known bool, err error) {
	switch kind {
	case kindRegisterBroker:
		m.brokers[in.Int32()] = true
	case kindUnregisterBroker:
		delete(m.brokers, in.Int32())
	case kindTopic:
		t := &topic{name: in.String(), id: in.UUID(), partitions: map[int32]*partition{}}
		m.topics[t.id] = t
	case kindRemoveTopic:
		id := protocol.TopicID(in.UUID())
		if t := m.topics[id]; t != nil {
			delete(m.configs, meta.Resource{Type: config.TopicResource, Name: t.name})
		}
		delete(m.topics, id)
	case kindPartition:
		return true, m.applyPartition(version, in)
	case kindPartitionChange:
		return true, m.applyChange(in)
	case kindConfig:
		m.applyConfig(in)
	case kindProducerIDs:
		in.Int32()
		in.Int64()
		m.nextPID = max(m.nextPID, in.Int64())
	case kindFeature:
		name := in.String()
		m.features[name] = in.Int16()
	default:
		return m.applySecurity(kind, in), nil
	}
	return true, nil
}

func (m *Metadata) applyPartition(version int, in *fields.Reader) error {
	number, id := in.Int32(), protocol.TopicID(in.UUID())
	p := &partition{replicas: in.Int32s(), isr: in.Int32s()}
	in.Int32s() // being removed
	in.Int32s() // being added
	in.Int32()  // the leader
	p.leaderEpoch, p.epoch = in.Int32(), in.Int32()
	if version >= 1 {
		p.directories = directories(in)
	}
	t := m.topics[id]
	if t == nil || number < 0 {
		return fmt.Errorf("a metadata record makes partition %d of topic %s, which is not there", number, id)
	}
	const tagELR = 1
	in.EndStruct(func(tag uint64, value []byte) {
		if tag == tagELR {
			p.elr = fields.NewReader(value, true).Int32s()
		}
	})
	t.partitions[number] = p
	return nil
}

func directories(in *fields.Reader) []directory {
	n := in.Count()
	if n < 0 || n > in.Left()/16 {
		return nil
	}
	out := make([]directory, n)
	for i := range out {
		out[i] = in.UUID()
	}
	return out
}

// applyChange is a PartitionChangeRecord: what changes stands in tagged fields.
func (m *Metadata) applyChange(in *fields.Reader) error {
	const (
		tagISR, tagLeader, tagReplicas, tagELR, tagDirectories = 0, 1, 2, 6, 8
		sameLeader                                             = -2
	)
	number, id := in.Int32(), protocol.TopicID(in.UUID())
	t := m.topics[id]
	if t == nil || t.partitions[number] == nil {
		return fmt.Errorf("a metadata record changes partition %d of topic %s, which is not there", number, id)
	}
	p := t.partitions[number]
	in.EndStruct(func(tag uint64, value []byte) {
		v := fields.NewReader(value, true)
		switch tag {
		case tagISR:
			p.isr = v.Int32s()
		case tagLeader:
			if v.Int32() != sameLeader {
				p.leaderEpoch++ // as PartitionRegistration.merge does
			}
		case tagReplicas:
			p.replicas = v.Int32s()
		case tagELR:
			p.elr = v.Int32s()
		case tagDirectories:
			p.directories = directories(v)
		}
	})
	p.epoch++
	return nil
}

func (m *Metadata) applyConfig(in *fields.Reader) {
	r := meta.Resource{Type: config.ResourceType(in.Int8()), Name: in.String()}
	key := in.String()
	value, isNull := in.Text()
	if in.Bad() {
		return
	}
	if isNull {
		delete(m.configs[r], key)
		return
	}
	if m.configs[r] == nil {
		m.configs[r] = map[string]string{}
	}
	m.configs[r][key] = value
}

// applySecurity follows what moldau has nothing for, as far as is needed to say that it is there.
func (m *Metadata) applySecurity(kind int, in *fields.Reader) (known bool) {
	switch kind {
	case kindACL:
		id := in.UUID()
		m.acls[string(id[:])] = true
	case kindRemoveACL:
		id := in.UUID()
		delete(m.acls, string(id[:]))
	case kindScram:
		m.scram[fmt.Sprintf("%s %d", in.String(), in.Int8())] = true
	case kindRemoveScram:
		delete(m.scram, fmt.Sprintf("%s %d", in.String(), in.Int8()))
	case kindToken:
		in.Span(0)
		m.tokens[lastString(in)] = true
	case kindRemoveToken:
		delete(m.tokens, in.String())
	case kindQuota:
		m.applyQuota(in)
	default:
		return false
	}
	return true
}

// lastString is the id of a DelegationTokenRecord, behind owner, requester, renewers and three times.
func lastString(in *fields.Reader) string {
	_, _ = in.String(), in.String()
	for n := in.Count(); n > 0 && !in.Bad(); n-- {
		_ = in.String()
	}
	in.Span(3 * 8)
	return in.String()
}

func (m *Metadata) applyQuota(in *fields.Reader) {
	entity := ""
	for n := in.Count(); n > 0 && !in.Bad(); n-- {
		kind := in.String()
		name, isNull := in.Text()
		if isNull {
			name = "<default>"
		}
		entity += kind + "=" + name + " "
		in.EndStruct(nil)
	}
	entity += in.String()
	in.Span(8)
	if in.Int8() != 0 {
		delete(m.quotas, entity)
		return
	}
	m.quotas[entity] = true
}
