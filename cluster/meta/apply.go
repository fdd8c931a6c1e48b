package meta

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"moldau.io/moldau/protocol"
)

// With is the image at offset, after recs. The receiver is untouched, and shares with the new image all that recs leave
// alone. An error means that recs cannot follow this image: the log is not the one that the image came from.
func (im *Image) With(offset int64, recs ...Record) (*Image, error) {
	if offset <= im.offset {
		return nil, fmt.Errorf("metadata offset %d does not come after %d", offset, im.offset)
	}
	e := edit{
		im:      *im,
		byName:  im.byName.edit(),
		byID:    im.byID.edit(),
		configs: im.configs.edit(),
		fresh:   map[protocol.TopicID]*Topic{},
	}
	for i, r := range recs {
		if err := e.apply(r); err != nil {
			return nil, fmt.Errorf("metadata offset %d, record %d: %w", offset, i, err)
		}
	}
	return e.finish(offset), nil
}

// edit is an image in the making.
type edit struct {
	im      Image
	byName  *shardsEdit[string, *Topic]
	byID    *shardsEdit[protocol.TopicID, *Topic]
	configs *shardsEdit[Resource, map[string]string]

	fresh   map[protocol.TopicID]*Topic // topics made or copied by this edit: only these may be changed in place
	removed bool
}

func (e *edit) apply(r Record) error {
	switch r := r.(type) {
	case ClusterRecord:
		e.im.clusterID = r.ID
	case FeatureRecord:
		e.applyFeature(r)
	case BrokerRecord:
		e.applyBroker(r)
	case TopicRecord:
		return e.applyTopic(r)
	case PartitionsRecord:
		return e.applyPartitions(r)
	case RemoveTopicRecord:
		return e.applyRemoveTopic(r)
	case ConfigRecord:
		e.applyConfig(r)
	case ProducerIDsRecord:
		if r.Next < e.im.nextPID {
			return fmt.Errorf("producer ids go back from %d to %d", e.im.nextPID, r.Next)
		}
		e.im.nextPID = r.Next
	case BrokerElectionRecord:
		e.applyBrokerElection(r)
	case PartitionChangesRecord:
		return e.applyChanges(r)
	case BrokerChangeRecord:
		return e.applyBrokerChange(r)
	case RemoveBrokerRecord:
		return e.applyRemoveBroker(r)
	case BrokerEpochsRecord:
		e.im.lastEpoch = max(e.im.lastEpoch, r.Last)
	case NodeRecord:
		e.applyNode(r)
	default:
		return fmt.Errorf("record of unknown type %T", r)
	}
	return nil
}

func (e *edit) applyFeature(r FeatureRecord) {
	fs := slices.Clone(e.im.features)
	i, ok := slices.BinarySearchFunc(fs, r.Name, func(f Feature, name string) int { return strings.Compare(f.Name, name) })
	switch {
	case ok && r.Level == 0:
		fs = slices.Delete(fs, i, i+1)
	case ok:
		fs[i].Level = r.Level
	case r.Level != 0:
		fs = slices.Insert(fs, i, Feature(r))
	}
	e.im.features = fs
}

func (e *edit) applyBroker(r BrokerRecord) {
	bs := slices.Clone(e.im.brokers)
	i, ok := slices.BinarySearchFunc(bs, r.Broker.ID, compareBroker)
	b := r.Broker
	if ok {
		bs[i] = &b
	} else {
		bs = slices.Insert(bs, i, &b)
	}
	e.im.brokers = bs
	e.im.lastEpoch = max(e.im.lastEpoch, b.Epoch)
}

func (e *edit) applyTopic(r TopicRecord) error {
	if _, ok := e.byName.get(r.Name); ok {
		return fmt.Errorf("topic %q is already there", r.Name)
	}
	if _, ok := e.byID.get(r.ID); ok {
		return fmt.Errorf("topic id %s is already there", r.ID)
	}
	t := &Topic{Name: r.Name, ID: r.ID}
	e.put(t)
	return nil
}

func (e *edit) put(t *Topic) {
	e.fresh[t.ID] = t
	e.byName.set(t.Name, t)
	e.byID.set(t.ID, t)
}

// own is the topic in a copy that this edit may change.
func (e *edit) own(id protocol.TopicID) (*Topic, error) {
	if t := e.fresh[id]; t != nil {
		return t, nil
	}
	old, ok := e.byID.get(id)
	if !ok {
		return nil, fmt.Errorf("topic id %s is unknown", id)
	}
	t := &Topic{Name: old.Name, ID: id, Partitions: slices.Clone(old.Partitions)}
	e.put(t)
	return t, nil
}

func (e *edit) applyPartitions(r PartitionsRecord) error {
	t, err := e.own(r.Topic)
	if err != nil {
		return err
	}
	if r.First < 0 || int(r.First) > len(t.Partitions) {
		return fmt.Errorf("partitions of %q from %d on would leave a gap after %d", t.Name, r.First, len(t.Partitions))
	}
	for i, p := range r.Partitions {
		var old *Partition
		if at := int(r.First) + i; at < len(t.Partitions) {
			old = &t.Partitions[at]
		}
		if err := checkPartition(old, p); err != nil {
			return fmt.Errorf("partition %d of %q: %w", int(r.First)+i, t.Name, err)
		}
	}
	before := len(t.Partitions)
	if more := int(r.First) + len(r.Partitions) - before; more > 0 {
		t.Partitions = append(t.Partitions, make([]Partition, more)...)
	}
	copy(t.Partitions[r.First:], r.Partitions)
	e.im.partitions += len(t.Partitions) - before
	return nil
}

// checkPartition says whether a partition can become p. What it refuses no controller writes: two leaders in one epoch, or
// a leader that may not have all records.
func checkPartition(old *Partition, p Partition) error {
	for i, id := range p.ISR {
		if !slices.Contains(p.Replicas, id) || slices.Contains(p.ISR[:i], id) {
			return fmt.Errorf("in-sync replicas %v of replicas %v", p.ISR, p.Replicas)
		}
	}
	for i, id := range p.ELR {
		if !slices.Contains(p.Replicas, id) || slices.Contains(p.ELR[:i], id) || slices.Contains(p.ISR, id) {
			return fmt.Errorf("eligible replicas %v beside in-sync replicas %v of replicas %v", p.ELR, p.ISR, p.Replicas)
		}
	}
	switch {
	case len(p.Replicas) == 0:
		return errors.New("no replicas")
	case p.Leader != -1 && !slices.Contains(p.Replicas, p.Leader):
		return fmt.Errorf("leader %d is not among replicas %v", p.Leader, p.Replicas)
	case old == nil:
		return nil
	case p.LeaderEpoch < old.LeaderEpoch || p.LeaderEpoch == old.LeaderEpoch && p.Leader != old.Leader:
		return fmt.Errorf("leader %d in epoch %d follows leader %d in epoch %d", p.Leader, p.LeaderEpoch, old.Leader, old.LeaderEpoch)
	case p.Epoch <= old.Epoch:
		return fmt.Errorf("epoch %d follows epoch %d", p.Epoch, old.Epoch)
	}
	return nil
}

func (e *edit) applyRemoveTopic(r RemoveTopicRecord) error {
	t, ok := e.byID.get(r.Topic)
	if !ok {
		return fmt.Errorf("topic id %s is unknown", r.Topic)
	}
	delete(e.fresh, t.ID)
	e.byName.remove(t.Name)
	e.byID.remove(t.ID)
	e.configs.remove(topicResource(t.Name))
	e.im.partitions -= len(t.Partitions)
	e.removed = true
	return nil
}

func (e *edit) applyConfig(r ConfigRecord) {
	old, _ := e.configs.get(r.Resource)
	m := maps.Clone(old)
	if r.Value != nil {
		if m == nil {
			m = make(map[string]string, 1)
		}
		m[r.Key] = *r.Value
	} else {
		delete(m, r.Key)
	}
	if len(m) == 0 {
		e.configs.remove(r.Resource)
		return
	}
	e.configs.set(r.Resource, m)
}

func (e *edit) applyBrokerElection(r BrokerElectionRecord) {
	var led []protocol.TopicID
	for id, t := range e.byID.s.each() {
		if slices.ContainsFunc(t.Partitions, func(p Partition) bool { return p.Leader == r.Broker }) {
			led = append(led, id)
		}
	}
	for _, id := range led {
		t, err := e.own(id)
		if err != nil {
			panic(err) // it was there a moment ago
		}
		for i := range t.Partitions {
			if p := &t.Partitions[i]; p.Leader == r.Broker {
				p.LeaderEpoch++
				p.Epoch++
			}
		}
	}
}

// finish sorts what the edit touched into the list of all topics, which costs one copy of that list.
func (e *edit) finish(offset int64) *Image {
	im := e.im
	im.offset = offset
	im.byName, im.byID, im.configs = e.byName.done(), e.byID.done(), e.configs.done()
	if len(e.fresh) == 0 && !e.removed {
		return &im
	}
	fresh := make([]*Topic, 0, len(e.fresh))
	for _, t := range e.fresh {
		fresh = append(fresh, t)
	}
	slices.SortFunc(fresh, byTopicName)
	sorted := make([]*Topic, 0, im.byName.len())
	for _, t := range im.sorted {
		for len(fresh) > 0 && fresh[0].Name < t.Name {
			sorted, fresh = append(sorted, fresh[0]), fresh[1:]
		}
		if len(fresh) > 0 && fresh[0].Name == t.Name {
			continue // its new form follows
		}
		if e.removed {
			if now, ok := im.byID.get(t.ID); !ok || now.Name != t.Name {
				continue
			}
		}
		sorted = append(sorted, t)
	}
	im.sorted = append(sorted, fresh...)
	return &im
}

// Records are what makes im out of an empty image, in an order in which they can be applied. Two equal images give the
// same records.
func (im *Image) Records() []Record {
	recs := []Record{ClusterRecord{ID: im.clusterID}}
	for _, f := range im.features {
		recs = append(recs, FeatureRecord(f))
	}
	last := int64(0)
	for _, b := range im.brokers {
		recs = append(recs, BrokerRecord{Broker: *b})
		last = max(last, b.Epoch)
	}
	if im.lastEpoch > last {
		recs = append(recs, BrokerEpochsRecord{Last: im.lastEpoch})
	}
	for _, n := range im.nodes {
		recs = append(recs, NodeRecord{Node: n})
	}
	for _, t := range im.sorted {
		recs = append(recs, TopicRecord{Name: t.Name, ID: t.ID})
		if len(t.Partitions) > 0 {
			recs = append(recs, PartitionsRecord{Topic: t.ID, Partitions: t.Partitions})
		}
	}
	var rs []Resource
	for r := range im.configs.each() {
		rs = append(rs, r)
	}
	slices.SortFunc(rs, compareResources)
	for _, r := range rs {
		m, _ := im.configs.get(r)
		for _, k := range slices.Sorted(maps.Keys(m)) {
			v := m[k]
			recs = append(recs, ConfigRecord{Resource: r, Key: k, Value: &v})
		}
	}
	if im.nextPID != 0 {
		recs = append(recs, ProducerIDsRecord{Next: im.nextPID})
	}
	return recs
}
