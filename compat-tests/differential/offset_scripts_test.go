//go:build compat

package differential

import (
	"github.com/twmb/franz-go/pkg/kmsg"
)

var offsetScripts = []script{
	{"list-offsets", scriptListOffsets},
	{"offset-for-leader-epoch", scriptLeaderEpoch},
	{"delete-records", scriptDeleteRecords},
}

func scriptListOffsets(s *session) {
	name, _ := s.topic("t", 2)
	for i := range int64(4) {
		b := fakeBatch{time: someTime + 100*i, codec: int(i)}
		b.records = []rec{{time: 0, value: []byte("a")}, {time: 50, value: []byte("b")}, {time: 20, value: []byte("c")}}
		s.write(name, 0, b.bytes())
	}
	times := []int64{-1, -2, -3, -4, -5, -6, -7, -1 << 60, 0, 1, someTime, someTime + 1, someTime + 20, someTime + 50,
		someTime + 51, someTime + 100,
		someTime + 149, someTime + 320, someTime + 350, someTime + 351, 1 << 60}
	s.each(2, func(v int16) {
		for _, at := range times {
			s.ask("time", listOffsets(v, name, 0, at))
		}
		for _, at := range []int64{-1, -2, -3, 5} {
			s.ask("empty partition", listOffsets(v, name, 1, at))
		}
		s.ask("unknown topic", listOffsets(v, s.name("none"), 0, -1))
		s.ask("unknown partition", listOffsets(v, name, 2, -1))
		s.ask("bad name", listOffsets(v, "bad name", 0, -1))
		twice := listOffsets(v, name, 0, -1)
		twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, twice.Topics[0].Partitions[0])
		s.ask("twice", twice)
		both := listOffsets(v, name, 0, -1)
		both.Topics[0].Partitions = append(both.Topics[0].Partitions, listOffsets(v, name, 1, -2).Topics[0].Partitions...)
		if v >= 2 {
			both.IsolationLevel = 1
		}
		s.ask("both", both)
		if v >= 4 {
			for _, epoch := range []int32{-1, 0, 1, 50, -2} {
				req := listOffsets(v, name, 0, -1)
				req.Topics[0].Partitions[0].CurrentLeaderEpoch = epoch
				s.ask("leader epoch", req)
			}
		}
		for _, replica := range []int32{-2, 1, 5} {
			req := listOffsets(v, name, 0, -1)
			req.ReplicaID = replica
			s.ask("replica", req)
		}
	})
}

func scriptLeaderEpoch(s *session) {
	name, _ := s.topic("t", 2)
	s.write(name, 0, simple(3).bytes())
	s.each(23, func(v int16) {
		for _, current := range []int32{-1, 0, 1} {
			for _, epoch := range []int32{-1, 0, 1, 99} {
				req := kmsg.NewPtrOffsetForLeaderEpochRequest()
				req.Version, req.ReplicaID = v, -1
				for _, n := range []string{name, s.name("none")} {
					t := kmsg.NewOffsetForLeaderEpochRequestTopic()
					t.Topic = n
					for p := range int32(3) {
						tp := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
						tp.Partition, tp.CurrentLeaderEpoch, tp.LeaderEpoch = p, current, epoch
						t.Partitions = append(t.Partitions, tp)
					}
					req.Topics = append(req.Topics, t)
				}
				s.ask("epoch", req)
			}
		}
	})
}

func deleteRecords(v int16, topic string, partition int32, offset int64) *kmsg.DeleteRecordsRequest {
	req := kmsg.NewPtrDeleteRecordsRequest()
	req.Version, req.TimeoutMillis = v, 5000
	t := kmsg.NewDeleteRecordsRequestTopic()
	t.Topic = topic
	p := kmsg.NewDeleteRecordsRequestTopicPartition()
	p.Partition, p.Offset = partition, offset
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

func scriptDeleteRecords(s *session) {
	compacted, _ := s.topic("compact", 1, "cleanup.policy=compact")
	s.each(21, func(v int16) {
		name, id := s.topic("t"+string(rune('a'+v)), 2)
		for range 3 {
			s.write(name, 0, simple(4).bytes())
		}
		for _, offset := range []int64{0, 5, 3, -2, 13, 1 << 60} {
			s.ask("offset", deleteRecords(v, name, 0, offset))
			s.ask("start", listOffsets(7, name, 0, -2))
			s.ask("fetch at it", fetch(12, name, id, 0, 5))
			s.ask("fetch below", fetch(12, name, id, 0, 0))
		}
		s.ask("by time", listOffsets(7, name, 0, someTime))
		s.ask("largest time", listOffsets(7, name, 0, -3))
		s.ask("all", deleteRecords(v, name, 0, -1))
		s.ask("start", listOffsets(7, name, 0, -2))
		s.ask("by time", listOffsets(7, name, 0, someTime))
		s.ask("largest time", listOffsets(7, name, 0, -3))
		s.ask("empty partition", deleteRecords(v, name, 1, -1))
		s.ask("unknown topic", deleteRecords(v, s.name("none"), 0, 0))
		s.ask("unknown partition", deleteRecords(v, name, 9, 0))
		s.ask("compacted topic", deleteRecords(v, compacted, 0, 0))
		s.ask("goes on", produce(9, name, 0, simple(1).bytes()))
	})
}
