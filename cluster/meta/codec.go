package meta

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

// An entry of the metadata log, and a snapshot of an image, are a run of records in this form:
//
//	+---------+----------+-----+
//	| version | record 0 | ... |    version: one byte, formatVersion
//	+---------+----------+-----+
//
//	record:
//	+------+-----------------+--------+
//	| kind | length (varint) | fields |    kind: one byte, recordKind; length: bytes of fields
//	+------+-----------------+--------+
//
// The fields of each kind follow one another as written by appendFields below. Numbers are varints (zigzag where they may
// be negative), strings and lists have their length before them, ids are 16 bytes as they are. A later version of this
// program may add fields behind those that are there, so a reader stops where its own knowledge ends and skips to the
// next record; what changes the meaning of a record gets a new kind, and a reader that meets a kind it does not know must
// stop, since it would otherwise hold another image than the rest of the cluster.
const formatVersion = 1

var errCorrupt = errors.New("metadata record is cut short or damaged")

// AppendRecords encodes recs behind dst.
func AppendRecords(dst []byte, recs []Record) []byte {
	dst = append(dst, formatVersion)
	var fields []byte
	for _, r := range recs {
		fields = appendFields(fields[:0], r)
		dst = append(dst, byte(r.kind()))
		dst = binary.AppendUvarint(dst, uint64(len(fields)))
		dst = append(dst, fields...)
	}
	return dst
}

// DecodeRecords reads what AppendRecords wrote. Records may alias no part of b.
func DecodeRecords(b []byte) ([]Record, error) {
	if len(b) == 0 {
		return nil, errCorrupt
	}
	if b[0] != formatVersion {
		return nil, fmt.Errorf("metadata is written in format %d, this program reads format %d", b[0], formatVersion)
	}
	b = b[1:]
	var recs []Record
	for len(b) > 0 {
		kind := recordKind(b[0])
		n, w := binary.Uvarint(b[1:])
		if w <= 0 || n > uint64(len(b)-1-w) {
			return nil, errCorrupt
		}
		start := 1 + w
		r, err := decodeFields(kind, b[start:start+int(n)])
		if err != nil {
			return nil, err
		}
		recs = append(recs, r)
		b = b[start+int(n):]
	}
	return recs, nil
}

func appendFields(b []byte, r Record) []byte {
	switch r := r.(type) {
	case ClusterRecord:
		b = appendString(b, r.ID)
	case FeatureRecord:
		b = appendString(b, r.Name)
		b = binary.AppendVarint(b, int64(r.Level))
	case BrokerRecord:
		b = appendBroker(b, r.Broker)
	case TopicRecord:
		b = append(b, r.ID[:]...)
		b = appendString(b, r.Name)
	case PartitionsRecord:
		b = append(b, r.Topic[:]...)
		b = binary.AppendVarint(b, int64(r.First))
		b = binary.AppendUvarint(b, uint64(len(r.Partitions)))
		inFull := r.kind() == kindPartitionsInFull
		for i := range r.Partitions {
			b = appendPartition(b, &r.Partitions[i])
			if inFull {
				b = appendRest(b, &r.Partitions[i])
			}
		}
	case RemoveTopicRecord:
		b = append(b, r.Topic[:]...)
	case ConfigRecord:
		b = append(b, byte(r.Resource.Type))
		b = appendString(b, r.Resource.Name)
		b = appendString(b, r.Key)
		if r.Value == nil {
			b = append(b, 0)
		} else {
			b = append(b, 1)
			b = appendString(b, *r.Value)
		}
	case ProducerIDsRecord:
		b = binary.AppendVarint(b, r.Next)
	case BrokerElectionRecord:
		b = binary.AppendVarint(b, int64(r.Broker))
	default:
		return appendClusterFields(b, r)
	}
	return b
}

func appendBroker(b []byte, br Broker) []byte {
	b = binary.AppendVarint(b, int64(br.ID))
	b = binary.AppendVarint(b, br.Epoch)
	b = appendString(b, br.Rack)
	b = append(b, boolByte(br.Fenced))
	b = binary.AppendUvarint(b, uint64(len(br.Listeners)))
	for _, l := range br.Listeners {
		b = appendString(b, l.Name)
		b = appendString(b, l.Host)
		b = binary.AppendVarint(b, int64(l.Port))
		b = appendString(b, l.Protocol)
	}
	return appendBrokerRest(b, br)
}

func appendPartition(b []byte, p *Partition) []byte {
	b = appendIDs(b, p.Replicas)
	b = appendIDs(b, p.ISR)
	b = binary.AppendVarint(b, int64(p.Leader))
	b = binary.AppendVarint(b, int64(p.LeaderEpoch))
	return binary.AppendVarint(b, int64(p.Epoch))
}

func appendIDs(b []byte, ids []protocol.BrokerID) []byte {
	b = binary.AppendUvarint(b, uint64(len(ids)))
	for _, id := range ids {
		b = binary.AppendVarint(b, int64(id))
	}
	return b
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

func decodeFields(kind recordKind, b []byte) (Record, error) {
	d := decoder{b: b}
	var r Record
	switch kind {
	case kindCluster:
		r = ClusterRecord{ID: d.string()}
	case kindFeature:
		r = FeatureRecord{Name: d.string(), Level: int16(d.int(math.MinInt16, math.MaxInt16))}
	case kindBroker:
		r = BrokerRecord{Broker: d.broker()}
	case kindTopic:
		id := d.id()
		r = TopicRecord{ID: id, Name: d.string()}
	case kindPartitions, kindPartitionsInFull:
		p := PartitionsRecord{Topic: d.id(), First: d.int32()}
		n := d.count(5) // a partition takes at least five bytes
		p.Partitions = make([]Partition, n)
		for i := range p.Partitions {
			p.Partitions[i] = d.partition()
			if kind == kindPartitionsInFull {
				d.rest(&p.Partitions[i])
			}
		}
		r = p
	case kindRemoveTopic:
		r = RemoveTopicRecord{Topic: d.id()}
	case kindConfig:
		c := ConfigRecord{Resource: Resource{Type: config.ResourceType(d.byte())}}
		c.Resource.Name = d.string()
		c.Key = d.string()
		if d.byte() != 0 {
			v := d.string()
			c.Value = &v
		}
		r = c
	case kindProducerIDs:
		r = ProducerIDsRecord{Next: d.int(0, math.MaxInt64)}
	case kindBrokerElection:
		r = BrokerElectionRecord{Broker: protocol.BrokerID(d.int32())}
	default:
		if r = d.clusterFields(kind); r == nil {
			return nil, fmt.Errorf("metadata record of kind %d is unknown here; it was written by a newer version", kind)
		}
	}
	if d.bad {
		return nil, errCorrupt
	}
	return r, nil
}

// decoder reads fields off b. After a fault every read gives a zero value, and bad is set.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() {
	d.bad, d.b = true, nil
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) int(low, high int64) int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 || v < low || v > high {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) int32() int32 { return int32(d.int(math.MinInt32, math.MaxInt32)) }

// count reads the length of a list whose items take at least size bytes each, so that a damaged length cannot ask for more
// memory than the record has bytes.
func (d *decoder) count(size int) int {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > uint64(len(d.b)-n)/uint64(size) {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return int(v)
}

func (d *decoder) string() string {
	n := d.count(1)
	if d.bad {
		return ""
	}
	s := string(d.b[:n])
	d.b = d.b[n:]
	return s
}

func (d *decoder) id() protocol.TopicID {
	var id protocol.TopicID
	if len(d.b) < len(id) {
		d.fail()
		return id
	}
	copy(id[:], d.b)
	d.b = d.b[len(id):]
	return id
}

func (d *decoder) ids() []protocol.BrokerID {
	n := d.count(1)
	if n == 0 {
		return nil
	}
	ids := make([]protocol.BrokerID, n)
	for i := range ids {
		ids[i] = protocol.BrokerID(d.int32())
	}
	return ids
}

func (d *decoder) broker() Broker {
	b := Broker{ID: protocol.BrokerID(d.int32()), Epoch: d.int(math.MinInt64, math.MaxInt64), Rack: d.string(), Fenced: d.byte() != 0}
	n := d.count(4)
	for range n {
		b.Listeners = append(b.Listeners, Listener{Name: d.string(), Host: d.string(), Port: d.int32(), Protocol: d.string()})
	}
	if len(d.b) > 0 { // builds of before there were clusters wrote no more
		d.brokerRest(&b)
	}
	return b
}

func (d *decoder) partition() Partition {
	p := Partition{Replicas: d.ids(), ISR: d.ids()}
	p.Leader = protocol.BrokerID(d.int32())
	p.LeaderEpoch = protocol.Epoch(d.int32())
	p.Epoch = d.int32()
	if sameIDs(p.Replicas, p.ISR) {
		p.ISR = p.Replicas // the usual case, and one slice the less for each of many partitions
	}
	return p
}

func sameIDs(a, b []protocol.BrokerID) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
