package meta

import (
	"encoding/binary"
	"fmt"
	"math"

	"moldau.io/moldau/protocol"
)

// What clusters of several brokers have added to the format.

// Bits of a broker.
const (
	bitFenced   = 1 << 0
	bitStopping = 1 << 1
	bitDraining = 1 << 2
)

func appendClusterFields(b []byte, r Record) []byte {
	switch r := r.(type) {
	case PartitionChangesRecord:
		b = append(b, r.Topic[:]...)
		b = binary.AppendUvarint(b, uint64(len(r.Changes)))
		for i := range r.Changes {
			b = appendChange(b, &r.Changes[i])
		}
	case BrokerChangeRecord:
		b = binary.AppendVarint(b, int64(r.ID))
		b = binary.AppendVarint(b, r.Epoch)
		b = append(b, boolByte(r.Fenced)*bitFenced|boolByte(r.Stopping)*bitStopping|boolByte(r.Draining)*bitDraining)
	case RemoveBrokerRecord:
		b = binary.AppendVarint(b, int64(r.ID))
		b = binary.AppendVarint(b, r.Epoch)
	case BrokerEpochsRecord:
		b = binary.AppendVarint(b, r.Last)
	case NodeRecord:
		b = binary.AppendVarint(b, int64(r.Node.ID))
		b = appendString(b, r.Node.Cluster)
		b = binary.AppendUvarint(b, r.Node.Quorum)
	default:
		panic(fmt.Sprintf("record %T has no encoding", r))
	}
	return b
}

// appendChange writes the number of the partition, which fields follow, its new epoch, and those fields in the order of
// their bits.
func appendChange(b []byte, c *PartitionChange) []byte {
	b = binary.AppendUvarint(b, uint64(c.Partition))
	b = append(b, byte(c.Fields))
	b = binary.AppendVarint(b, int64(c.To.Epoch))
	if c.Fields&FieldReplicas != 0 {
		b = appendIDs(b, c.To.Replicas)
	}
	if c.Fields&FieldISR != 0 {
		b = appendIDs(b, c.To.ISR)
	}
	if c.Fields&FieldLeader != 0 {
		b = binary.AppendVarint(b, int64(c.To.Leader))
		b = binary.AppendVarint(b, int64(c.To.LeaderEpoch))
	}
	if c.Fields&FieldELR != 0 {
		b = appendIDs(b, c.To.ELR)
	}
	if c.Fields&FieldLastKnownELR != 0 {
		b = appendIDs(b, c.To.LastKnownELR)
	}
	if c.Fields&FieldAdding != 0 {
		b = appendIDs(b, c.To.Adding)
	}
	if c.Fields&FieldRemoving != 0 {
		b = appendIDs(b, c.To.Removing)
	}
	if c.Fields&FieldRecovering != 0 {
		b = append(b, boolByte(c.To.Recovering))
	}
	return b
}

// appendRest writes what a partition of a single broker has not: the fields that are set, and their values.
func appendRest(b []byte, p *Partition) []byte {
	rest := changeTo(0, &Partition{Replicas: p.Replicas, ISR: p.ISR, Leader: p.Leader, LeaderEpoch: p.LeaderEpoch}, p)
	return appendChange(b, &rest)
}

// appendBrokerRest writes what a broker of a single one's folder has not, where there is any of it.
func appendBrokerRest(b []byte, br Broker) []byte {
	if br.Incarnation.IsZero() && !br.Stopping && !br.Draining && br.Cluster == "" && br.Quorum == 0 && br.Version == "" &&
		len(br.Features) == 0 {
		return b
	}
	b = append(b, br.Incarnation[:]...)
	b = append(b, boolByte(br.Stopping)*bitStopping|boolByte(br.Draining)*bitDraining)
	b = appendString(b, br.Cluster)
	b = binary.AppendUvarint(b, br.Quorum)
	b = appendString(b, br.Version)
	b = binary.AppendUvarint(b, uint64(len(br.Features)))
	for _, f := range br.Features {
		b = appendString(b, f.Name)
		b = binary.AppendVarint(b, int64(f.Min))
		b = binary.AppendVarint(b, int64(f.Max))
	}
	return b
}

// clusterFields is nil for a kind that is not known.
func (d *decoder) clusterFields(kind recordKind) Record {
	switch kind {
	case kindPartitionChanges:
		r := PartitionChangesRecord{Topic: d.id()}
		r.Changes = make([]PartitionChange, d.count(3)) // a change takes at least three bytes
		for i := range r.Changes {
			d.change(&r.Changes[i])
		}
		return r
	case kindBrokerChange:
		r := BrokerChangeRecord{ID: protocol.BrokerID(d.int32()), Epoch: d.int64()}
		bits := d.byte()
		r.Fenced, r.Stopping, r.Draining = bits&bitFenced != 0, bits&bitStopping != 0, bits&bitDraining != 0
		return r
	case kindRemoveBroker:
		return RemoveBrokerRecord{ID: protocol.BrokerID(d.int32()), Epoch: d.int64()}
	case kindBrokerEpochs:
		return BrokerEpochsRecord{Last: d.int64()}
	case kindNode:
		return NodeRecord{Node: Node{ID: protocol.BrokerID(d.int32()), Cluster: d.string(), Quorum: d.uint64()}}
	default:
		return nil
	}
}

func (d *decoder) change(c *PartitionChange) {
	n := d.uint64()
	if n > math.MaxInt32 {
		d.fail()
		return
	}
	c.Partition = int32(n)
	c.Fields = PartitionFields(d.byte())
	c.To.Epoch = d.int32()
	if c.Fields&FieldReplicas != 0 {
		c.To.Replicas = d.ids()
	}
	if c.Fields&FieldISR != 0 {
		c.To.ISR = d.ids()
	}
	if c.Fields&FieldLeader != 0 {
		c.To.Leader = protocol.BrokerID(d.int32())
		c.To.LeaderEpoch = protocol.Epoch(d.int32())
	}
	if c.Fields&FieldELR != 0 {
		c.To.ELR = d.ids()
	}
	if c.Fields&FieldLastKnownELR != 0 {
		c.To.LastKnownELR = d.ids()
	}
	if c.Fields&FieldAdding != 0 {
		c.To.Adding = d.ids()
	}
	if c.Fields&FieldRemoving != 0 {
		c.To.Removing = d.ids()
	}
	if c.Fields&FieldRecovering != 0 {
		c.To.Recovering = d.byte() != 0
	}
}

// rest reads what appendRest wrote.
func (d *decoder) rest(p *Partition) {
	var c PartitionChange
	d.change(&c)
	p.ELR, p.LastKnownELR, p.Adding, p.Removing, p.Recovering =
		c.To.ELR, c.To.LastKnownELR, c.To.Adding, c.To.Removing, c.To.Recovering
}

func (d *decoder) brokerRest(b *Broker) {
	b.Incarnation = d.id()
	bits := d.byte()
	b.Stopping, b.Draining = bits&bitStopping != 0, bits&bitDraining != 0
	b.Cluster, b.Quorum, b.Version = d.string(), d.uint64(), d.string()
	for range d.count(3) {
		b.Features = append(b.Features, FeatureRange{
			Name: d.string(), Min: int16(d.int(math.MinInt16, math.MaxInt16)), Max: int16(d.int(math.MinInt16, math.MaxInt16)),
		})
	}
}

func (d *decoder) int64() int64 { return d.int(math.MinInt64, math.MaxInt64) }

func (d *decoder) uint64() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}
