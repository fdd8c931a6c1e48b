package meta

import (
	"fmt"
	"slices"

	"moldau.io/moldau/protocol"
)

// applyChanges copies the topic's partitions once, however many of them change.
func (e *edit) applyChanges(r PartitionChangesRecord) error {
	t, err := e.own(r.Topic)
	if err != nil {
		return err
	}
	for i := range r.Changes {
		c := &r.Changes[i]
		if c.Partition < 0 || int(c.Partition) >= len(t.Partitions) {
			return fmt.Errorf("partition %d of %q changes, which has %d", c.Partition, t.Name, len(t.Partitions))
		}
		old := &t.Partitions[c.Partition]
		now := c.applied(*old)
		if err := checkPartition(old, now); err != nil {
			return fmt.Errorf("partition %d of %q: %w", c.Partition, t.Name, err)
		}
		*old = now
	}
	return nil
}

// applied is p after the change.
func (c *PartitionChange) applied(p Partition) Partition {
	p.Epoch = c.To.Epoch
	if c.Fields&FieldReplicas != 0 {
		p.Replicas = c.To.Replicas
	}
	if c.Fields&FieldISR != 0 {
		p.ISR = c.To.ISR
	}
	if slices.Equal(p.Replicas, p.ISR) {
		p.ISR = p.Replicas // the usual case, and one slice the less
	}
	if c.Fields&FieldLeader != 0 {
		p.Leader, p.LeaderEpoch = c.To.Leader, c.To.LeaderEpoch
	}
	if c.Fields&FieldELR != 0 {
		p.ELR = c.To.ELR
	}
	if c.Fields&FieldLastKnownELR != 0 {
		p.LastKnownELR = c.To.LastKnownELR
	}
	if c.Fields&FieldAdding != 0 {
		p.Adding = c.To.Adding
	}
	if c.Fields&FieldRemoving != 0 {
		p.Removing = c.To.Removing
	}
	if c.Fields&FieldRecovering != 0 {
		p.Recovering = c.To.Recovering
	}
	return p
}

// changeTo is the change that makes to out of was.
func changeTo(partition int32, was, to *Partition) PartitionChange {
	c := PartitionChange{Partition: partition, To: Partition{Epoch: to.Epoch}}
	if !slices.Equal(was.Replicas, to.Replicas) {
		c.Fields, c.To.Replicas = c.Fields|FieldReplicas, orNil(to.Replicas)
	}
	if !slices.Equal(was.ISR, to.ISR) {
		c.Fields, c.To.ISR = c.Fields|FieldISR, orNil(to.ISR)
	}
	if was.Leader != to.Leader || was.LeaderEpoch != to.LeaderEpoch {
		c.Fields, c.To.Leader, c.To.LeaderEpoch = c.Fields|FieldLeader, to.Leader, to.LeaderEpoch
	}
	if !slices.Equal(was.ELR, to.ELR) {
		c.Fields, c.To.ELR = c.Fields|FieldELR, orNil(to.ELR)
	}
	if !slices.Equal(was.LastKnownELR, to.LastKnownELR) {
		c.Fields, c.To.LastKnownELR = c.Fields|FieldLastKnownELR, orNil(to.LastKnownELR)
	}
	if !slices.Equal(was.Adding, to.Adding) {
		c.Fields, c.To.Adding = c.Fields|FieldAdding, orNil(to.Adding)
	}
	if !slices.Equal(was.Removing, to.Removing) {
		c.Fields, c.To.Removing = c.Fields|FieldRemoving, orNil(to.Removing)
	}
	if was.Recovering != to.Recovering {
		c.Fields, c.To.Recovering = c.Fields|FieldRecovering, to.Recovering
	}
	return c
}

func orNil(ids []protocol.BrokerID) []protocol.BrokerID {
	if len(ids) == 0 {
		return nil
	}
	return ids
}

func (e *edit) applyBrokerChange(r BrokerChangeRecord) error {
	i, ok := slices.BinarySearchFunc(e.im.brokers, r.ID, compareBroker)
	if !ok {
		return fmt.Errorf("broker %d changes, which is not registered", r.ID)
	}
	b := *e.im.brokers[i]
	if b.Epoch != r.Epoch {
		return fmt.Errorf("broker %d changes as of epoch %d, and is registered under %d", r.ID, r.Epoch, b.Epoch)
	}
	b.Fenced, b.Stopping, b.Draining = r.Fenced, r.Stopping, r.Draining
	bs := slices.Clone(e.im.brokers)
	bs[i] = &b
	e.im.brokers = bs
	return nil
}

func (e *edit) applyRemoveBroker(r RemoveBrokerRecord) error {
	epoch := int64(-1)
	i, ok := slices.BinarySearchFunc(e.im.brokers, r.ID, compareBroker)
	if ok {
		epoch = e.im.brokers[i].Epoch
	}
	if epoch != r.Epoch {
		return fmt.Errorf("broker %d is removed as of epoch %d, and is registered under %d", r.ID, r.Epoch, epoch)
	}
	if ok {
		e.im.brokers = slices.Delete(slices.Clone(e.im.brokers), i, i+1)
	}
	if i, ok := slices.BinarySearchFunc(e.im.nodes, r.ID, compareNode); ok {
		e.im.nodes = slices.Delete(slices.Clone(e.im.nodes), i, i+1)
	}
	return nil
}

func (e *edit) applyNode(r NodeRecord) {
	ns := slices.Clone(e.im.nodes)
	i, ok := slices.BinarySearchFunc(ns, r.Node.ID, compareNode)
	if ok {
		ns[i] = r.Node
	} else {
		ns = slices.Insert(ns, i, r.Node)
	}
	e.im.nodes = ns
}
