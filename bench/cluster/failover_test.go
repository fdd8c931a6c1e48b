//go:build bench

package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
)

// failover kills the leader of a partition and takes the time until another acknowledges a record with acks=all. Every second
// time the leader is the controller too. The client asks the two that are left who leads, again and again, and sends.
func (b *bench) failover(round int) {
	controller := round%2 == 1
	topic, partition, victim := b.victim(round, controller)
	var others []*harness.Broker
	for _, x := range b.Brokers {
		if x != victim {
			others = append(others, x)
		}
	}
	batch := oneRecord()
	b.until("a produce before the failover", func() bool { return b.produceOnce(b.Brokers, topic, partition, batch) == nil })
	victim.Kill(b.t)
	began := time.Now()
	b.until("a produce is acknowledged", func() bool {
		for b.produceOnce(others, topic, partition, batch) != nil {
			if time.Since(began) > 4*time.Minute {
				return false
			}
			rest(b.t.Context(), 2*time.Millisecond)
		}
		return true
	})
	took := float64(time.Since(began).Microseconds()) / 1000
	b.t.Logf("%s: %.1f ms (the controller too: %v)", b.Kind, took, controller)
	if controller {
		b.add("  where it is the controller too", took)
	} else {
		b.add("failover of a leader, until a produce is acknowledged", took)
	}
	slowest := "  slowest"
	b.column[slowest] = []float64{max(took, median(b.column[slowest]))}
	victim.Run(b.t)
	b.AwaitBrokers(b.t, 3)
	b.whole(topic)
	b.remove(topic)
}

// victim is a broker and a partition that it leads.
func (b *bench) victim(round int, controller bool) (topic string, partition int32, victim *harness.Broker) {
	b.t.Helper()
	topic = fmt.Sprintf("failover-%d", round)
	b.make(topic, 12)
	wanted := b.controller()
	resp, err := b.Brokers[0].Metadata(b.t.Context(), harness.AnswerLimit, topic)
	if err != nil {
		b.t.Fatal(err)
	}
	at := map[int32]*harness.Broker{}
	for _, m := range resp.Brokers {
		at[m.NodeID] = b.At(m.Host, m.Port)
	}
	for _, p := range resp.Topics[0].Partitions {
		if (p.Leader == wanted) == controller && at[p.Leader] != nil {
			return topic, p.Partition, at[p.Leader]
		}
	}
	b.t.Fatalf("%s: no leader is the controller (%v), which is %d", b.Kind, controller, wanted)
	return "", 0, nil
}

func (b *bench) controller() (id int32) {
	b.t.Helper()
	b.until("there is a controller", func() bool {
		leader, _, err := b.Brokers[0].Quorum(harness.AnswerLimit)
		id = leader
		return err == nil
	})
	return id
}

var errNoLeader = errors.New("no leader is named")

// attemptLimit is how long one attempt of the client may take: a broker that is gone refuses at once.
const attemptLimit = 500 * time.Millisecond

// produceOnce asks one of the brokers who leads, and sends it a batch.
func (b *bench) produceOnce(brokers []*harness.Broker, topic string, partition int32, batch []byte) error {
	var errs error
	for _, x := range brokers {
		resp, err := x.Metadata(b.t.Context(), attemptLimit, topic)
		if err != nil || len(resp.Topics) == 0 {
			errs = errors.Join(errs, err)
			continue
		}
		for _, p := range resp.Topics[0].Partitions {
			if p.Partition != partition || p.Leader < 0 {
				continue
			}
			for _, m := range resp.Brokers {
				if leader := b.At(m.Host, m.Port); m.NodeID == p.Leader && leader != nil {
					return produceTo(leader, topic, partition, batch)
				}
			}
		}
	}
	return errors.Join(errs, errNoLeader)
}

func produceTo(leader *harness.Broker, topic string, partition int32, batch []byte) error {
	c, err := harness.Dial(leader.Addr)
	if err != nil {
		return err
	}
	defer c.Close()
	req := kmsg.NewPtrProduceRequest()
	req.Version = 9 // by name, which every broker takes
	req.Acks, req.TimeoutMillis = -1, int32(attemptLimit.Milliseconds())
	t, p := kmsg.NewProduceRequestTopic(), kmsg.NewProduceRequestTopicPartition()
	t.Topic, p.Partition, p.Records = topic, partition, batch
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	resp, err := c.Ask(req, 2*attemptLimit)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0].ErrorCode)
}

// oneRecord is a batch of one record of 1 KB.
func oneRecord() []byte {
	now := time.Now().UnixMilli()
	record := kmsg.Record{Value: make([]byte, 1000)}
	record.Length = int32(len(record.AppendTo(nil)) - 1) // a length of 0 takes one byte
	b := kmsg.RecordBatch{PartitionLeaderEpoch: -1, Magic: 2, FirstTimestamp: now, MaxTimestamp: now, ProducerID: -1,
		ProducerEpoch: -1, FirstSequence: -1, NumRecords: 1, Records: record.AppendTo(nil)}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}
