package group

import (
	"cmp"
	"maps"
	"slices"
)

// pendingOffsets are offsets that were committed inside transactions which are not decided (TxnOffsetCommit, KIP-98). They
// count once the transaction's marker says so, and make their partitions unstable until then (KIP-447).
type pendingOffsets struct {
	of         map[string]map[string]map[int32][]pendingCommit // by group, topic and partition; in the order of the log
	byProducer map[int64]map[pendingAt]struct{}
}

type pendingAt struct {
	group, topic string
	partition    int32
}

// pendingCommit is what one transaction would commit. A nil commit was overtaken: something that is in the log behind it
// counts already, so the marker must not bring it back.
type pendingCommit struct {
	producer int64
	commit   *Commit
}

func newPendingOffsets() pendingOffsets {
	return pendingOffsets{
		of: map[string]map[string]map[int32][]pendingCommit{}, byProducer: map[int64]map[pendingAt]struct{}{},
	}
}

// any says that a transaction over offsets of the group is open.
func (p *pendingOffsets) any(group string) bool { return len(p.of[group]) > 0 }

// unstable says that a transaction over the partition is open.
func (p *pendingOffsets) unstable(group, topic string, partition int32) bool {
	return len(p.of[group][topic][partition]) > 0
}

// add takes a commit inside a transaction. A transaction's later commit of a partition replaces its earlier one.
func (p *pendingOffsets) add(producer int64, r Record, c *Commit) {
	at := pendingAt{r.Group, r.Topic, r.Partition}
	topics := p.of[at.group]
	if topics == nil {
		topics = map[string]map[int32][]pendingCommit{}
		p.of[at.group] = topics
	}
	if topics[at.topic] == nil {
		topics[at.topic] = map[int32][]pendingCommit{}
	}
	list := slices.DeleteFunc(topics[at.topic][at.partition], func(o pendingCommit) bool { return o.producer == producer })
	topics[at.topic][at.partition] = append(list, pendingCommit{producer, c})
	if p.byProducer[producer] == nil {
		p.byProducer[producer] = map[pendingAt]struct{}{}
	}
	p.byProducer[producer][at] = struct{}{}
}

// overtake is called when an offset of the partition counts that stands behind all that is pending.
func (p *pendingOffsets) overtake(group, topic string, partition int32) {
	list := p.of[group][topic][partition]
	for i := range list {
		list[i].commit = nil
	}
}

// forget drops all that is pending for a partition whose offset was removed.
func (p *pendingOffsets) forget(at pendingAt) {
	for _, c := range p.of[at.group][at.topic][at.partition] {
		p.dropProducer(c.producer, at)
	}
	p.drop(at)
}

func (p *pendingOffsets) drop(at pendingAt) {
	topics := p.of[at.group]
	delete(topics[at.topic], at.partition)
	if len(topics[at.topic]) == 0 {
		delete(topics, at.topic)
	}
	if len(topics) == 0 {
		delete(p.of, at.group)
	}
}

func (p *pendingOffsets) dropProducer(producer int64, at pendingAt) {
	delete(p.byProducer[producer], at)
	if len(p.byProducer[producer]) == 0 {
		delete(p.byProducer, producer)
	}
}

// end closes the transaction of a producer. What it committed is passed to commit, in a fixed order.
func (p *pendingOffsets) end(producer int64, commit func(at pendingAt, c *Commit)) {
	places := slices.SortedFunc(maps.Keys(p.byProducer[producer]), comparePending)
	delete(p.byProducer, producer)
	for _, at := range places {
		list := p.of[at.group][at.topic][at.partition]
		i := slices.IndexFunc(list, func(c pendingCommit) bool { return c.producer == producer })
		c := list[i].commit
		if c != nil && commit != nil {
			for j := range list[:i] { // these stand before it in the log
				list[j].commit = nil
			}
			commit(at, c)
		}
		if list = slices.Delete(list, i, i+1); len(list) > 0 {
			p.of[at.group][at.topic][at.partition] = list
			continue
		}
		p.drop(at)
	}
}

func comparePending(a, b pendingAt) int {
	return cmp.Or(cmp.Compare(a.group, b.group), cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
}

// each calls f for every partition of the group with something pending, in a fixed order.
func (p *pendingOffsets) each(group string, f func(topic string, partition int32, list []pendingCommit)) {
	for _, topic := range slices.Sorted(maps.Keys(p.of[group])) {
		for _, partition := range slices.Sorted(maps.Keys(p.of[group][topic])) {
			f(topic, partition, p.of[group][topic][partition])
		}
	}
}

// ApplyInTransaction is Apply for a record that a producer wrote inside a transaction: an offset that counts once
// EndTransaction says that the transaction committed.
func (m *Machine) ApplyInTransaction(producer int64, r Record) {
	c, ok := r.Value.(*Commit)
	if !ok {
		m.Apply(r) // a tombstone removes what is pending, too
		return
	}
	m.knowsOffsets(r.Group)
	m.pending.add(producer, r, c)
}

// EndTransaction is Apply for the marker that ends the transaction of a producer.
func (m *Machine) EndTransaction(producer int64, committed bool) {
	if !committed {
		m.pending.end(producer, nil)
		return
	}
	m.pending.end(producer, func(at pendingAt, c *Commit) {
		m.knowsOffsets(at.group)
		m.setOffset(at.group, at.topic, at.partition, c)
	})
}

// knowsOffsets makes the group if need be: one that only ever stored offsets has no record of its own.
func (m *Machine) knowsOffsets(group string) {
	if m.groups[group] == nil && m.consumers[group] == nil {
		m.groups[group] = newGroup(group)
	}
}
