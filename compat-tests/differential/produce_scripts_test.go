//go:build compat

package differential

import (
	"bytes"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var produceScripts = []script{
	{"produce-versions", scriptProduceVersions},
	{"produce-batches", scriptProduceBatches},
	{"produce-stumbles", scriptProduceStumbles},
	{"produce-acks", scriptProduceAcks},
	{"produce-codecs", scriptProduceCodecs},
	{"produce-times", scriptProduceTimes},
	{"produce-limits", scriptProduceLimits},
	{"produce-idempotent", scriptIdempotent},
}

func scriptProduceVersions(s *session) {
	name, id := s.topic("t", 2)
	s.each(0, func(v int16) {
		s.ask("good", produceTo(v, name, id, 0, simple(2).bytes()))
		s.ask("unknown topic", produceTo(v, s.name("none"), [16]byte{5}, 0, simple(1).bytes()))
		s.ask("zero id or empty name", produceTo(v, "", [16]byte{}, 0, simple(1).bytes()))
		s.ask("unknown partition", produceTo(v, name, id, 2, simple(1).bytes()))
		s.ask("negative partition", produceTo(v, name, id, -1, simple(1).bytes()))
		two := produceTo(v, name, id, 0, simple(1).bytes())
		two.Topics[0].Partitions = append(two.Topics[0].Partitions,
			produceTo(v, name, id, 1, simple(3).bytes()).Topics[0].Partitions...)
		two.Topics = append(two.Topics, produceTo(v, s.name("none"), [16]byte{6}, 0, simple(1).bytes()).Topics...)
		s.ask("two partitions and an unknown topic", two)
		twice := produceTo(v, name, id, 0, simple(1).bytes())
		twice.Topics[0].Partitions = append(twice.Topics[0].Partitions, twice.Topics[0].Partitions[0])
		s.ask("same partition twice", twice)
		s.ask("where the log ends", listOffsets(4, name, 0, -1))
		empty := produceTo(v, name, id, 0, simple(1).bytes())
		empty.Topics = nil
		s.ask("no topics", empty)
		s.ask("bad crc", produceTo(v, name, id, 0, fakeBatch{crcXor: 1}.bytes()))
	})
	s.ask("all of it", fetch(12, name, id, 0, 0))
}

// scriptProduceBatches sends every kind of damaged batch, and reads at the end what was taken.
func scriptProduceBatches(s *session) {
	name, id := s.topic("t", 1)
	good := simple(2).bytes()
	cut := func(n int) []byte { return good[:len(good)-n] }
	with := func(f func(b []byte)) []byte {
		b := bytes.Clone(good)
		f(b)
		return b
	}
	cases := []struct {
		label string
		batch []byte
	}{
		{"no bytes", []byte{}},
		{"one byte", []byte{0}},
		{"a header's worth of zeros", make([]byte, 61)},
		{"two batches", append(bytes.Clone(good), good...)},
		{"magic 0", fakeBatch{magic: -128}.bytes()},
		{"magic 1", fakeBatch{magic: 1}.bytes()},
		{"magic 3", fakeBatch{magic: 3}.bytes()},
		{"magic 127", fakeBatch{magic: 127}.bytes()},
		{"bad crc", fakeBatch{crcXor: 0x80}.bytes()},
		{"one byte short", cut(1)},
		{"half", cut(len(good) / 2)},
		{"three bytes of junk after", append(bytes.Clone(good), 1, 2, 3)},
		{"twenty bytes of junk after", append(bytes.Clone(good), make([]byte, 20)...)},
		{"length 0", with(func(b []byte) { copy(b[8:], []byte{0, 0, 0, 0}) })},
		{"length -1", with(func(b []byte) { copy(b[8:], []byte{255, 255, 255, 255}) })},
		{"length 48", with(func(b []byte) { copy(b[8:], []byte{0, 0, 0, 48}) })},
		{"base offset 5", fakeBatch{base: 5}.bytes()},
		{"base offset -1", fakeBatch{base: -1}.bytes()},
		{"leader epoch 77", fakeBatch{epoch: 77}.bytes()},
		{"leader epoch -1", fakeBatch{epoch: -1}.bytes()},
		{"count 0, no records", fakeBatch{count: ptr[int32](0), lastDelta: ptr[int32](0), body: []byte{}}.bytes()},
		{"count 0, last delta -1", fakeBatch{count: ptr[int32](0), lastDelta: ptr[int32](-1), body: []byte{}}.bytes()},
		{"count one too large", fakeBatch{count: ptr[int32](2)}.bytes()},
		{"count and last delta one too large", fakeBatch{count: ptr[int32](2), lastDelta: ptr[int32](1)}.bytes()},
		{"count -1", fakeBatch{count: ptr[int32](-1)}.bytes()},
		{"count largest", fakeBatch{count: ptr[int32](1<<31 - 1), lastDelta: ptr[int32](1<<31 - 2)}.bytes()},
		{"last delta too large", fakeBatch{lastDelta: ptr[int32](9)}.bytes()},
		{"last delta -1", fakeBatch{lastDelta: ptr[int32](-1)}.bytes()},
		{"records after the count", fakeBatch{records: simple(3).records, count: ptr[int32](2),
			lastDelta: ptr[int32](1)}.bytes()},
		{"control bit", fakeBatch{attrs: 0x20}.bytes()},
		{"transactional bit without an id", fakeBatch{attrs: 0x10}.bytes()},
		{"transactional bit with a producer", fakeBatch{attrs: 0x10, pid: 4444}.bytes()},
		{"append time bit", fakeBatch{attrs: 0x08}.bytes()},
		{"delete horizon bit", fakeBatch{attrs: 0x40}.bytes()},
		{"unknown attribute bits", fakeBatch{attrs: 0x0080}.bytes()},
		{"codec 5", fakeBatch{attrs: 5}.bytes()},
		{"codec 7", fakeBatch{attrs: 7}.bytes()},
		{"gzip that is none", fakeBatch{attrs: 1}.bytes()},
		{"snappy that is none", fakeBatch{attrs: 2}.bytes()},
		{"lz4 that is none", fakeBatch{attrs: 3}.bytes()},
		{"zstd that is none", fakeBatch{attrs: 4}.bytes()},
		{"offset delta wrong", fakeBatch{records: []rec{{value: []byte("a")}, {value: []byte("b"), skew: 5}}}.bytes()},
		{"null key and value", fakeBatch{records: []rec{{}}}.bytes()},
		{"body of zeros", fakeBatch{body: make([]byte, 10)}.bytes()},
		{"record of negative length", fakeBatch{body: []byte{1, 0, 0, 0, 1, 1, 0}}.bytes()},
		{"record longer than the batch", fakeBatch{body: []byte{0xfe, 0x7f, 0, 0, 0, 1, 1, 0}}.bytes()},
		{"many headers declared", fakeBatch{body: []byte{16, 0, 0, 0, 1, 1, 0xfe, 0x7f, 0}}.bytes()},
		{"varint without an end", fakeBatch{body: bytes.Repeat([]byte{0xff}, 20)}.bytes()},
	}
	for _, v := range []int16{3, 7, 9, 12} {
		for _, c := range cases {
			s.ask(c.label, produce(v, name, 0, c.batch))
		}
	}
	s.ask("what was taken", fetch(12, name, id, 0, 0))
}

// scriptProduceStumbles sends what an exception of Kafka's own answers: see knownTable.
func scriptProduceStumbles(s *session) {
	name, _ := s.topic("t", 1)
	long := simple(2).bytes()
	copy(long[8:], []byte{0x7f, 255, 255, 255})
	s.ask("length too large", produce(9, name, 0, long))
	skewed := []rec{{value: []byte("a")}, {value: []byte("b"), skew: 5}}
	s.ask("offset delta wrong, gzip", produce(9, name, 0, fakeBatch{codec: 1, records: skewed}.bytes()))
}

func scriptProduceAcks(s *session) {
	name, id := s.topic("t", 1)
	for _, v := range []int16{3, 9, 13} {
		for _, acks := range []int16{1, -1, 2, -2, 32767} {
			req := produceTo(v, name, id, 0, simple(1).bytes())
			req.Acks = acks
			s.ask("acks", req)
		}
		silent := produceTo(v, name, id, 0, simple(1).bytes())
		silent.Acks = 0
		s.noAnswer("acks 0", silent)
		bad := produceTo(v, s.name("none"), [16]byte{4}, 0, simple(1).bytes())
		bad.Acks = 0
		s.noAnswer("acks 0 that fails", bad)
		broken := produceTo(v, name, id, 0, fakeBatch{crcXor: 1}.bytes())
		broken.Acks = 0
		s.noAnswer("acks 0 with a bad batch", broken)
	}
	internal, iid := "__consumer_offsets", [16]byte{}
	coordinator := kmsg.NewPtrFindCoordinatorRequest()
	coordinator.CoordinatorKey = s.name("g")
	s.until("offsets topic", coordinator,
		func(r kmsg.Response) bool { return r.(*kmsg.FindCoordinatorResponse).ErrorCode == 0 })
	s.ask("internal topic", produceTo(9, internal, iid, 0, simple(1).bytes()))
	s.until("the acks 0 ones", listOffsets(4, name, 0, -1), func(r kmsg.Response) bool {
		return r.(*kmsg.ListOffsetsResponse).Topics[0].Partitions[0].Offset == 9
	})
}

func scriptProduceCodecs(s *session) {
	for _, target := range []string{"producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"} {
		name, id := s.topic(target, 1, "compression.type="+target)
		for codec := range 5 {
			for _, v := range []int16{3, 6, 7, 12} {
				b := simple(3)
				b.codec = codec
				s.ask("codec", produce(v, name, 0, b.bytes()))
			}
		}
		if target == "producer" || target == "uncompressed" {
			s.ask("what was stored", fetch(12, name, id, 0, 0))
		} else {
			// Two programs compress to different bytes; that they can be read is compared by offsets and counts.
			s.ask("where the log ends", listOffsets(4, name, 0, -1))
		}
		if target == "producer" {
			s.ask("with a version that has no zstd", fetch(9, name, id, 0, 0))
			s.ask("zstd only, with a version that has no zstd", fetch(9, name, id, 0, 48))
		}
	}
}

func scriptProduceTimes(s *session) {
	now := s.began.UnixMilli()
	for _, kind := range []string{"CreateTime", "LogAppendTime"} {
		name, id := s.topic(kind, 1, "message.timestamp.type="+kind)
		for _, at := range []int64{-1, 0, 1, someTime, now, now + 10*60_000, now + 2*3600_000, 1<<62 - 1, -2, -1 << 40} {
			for _, codec := range []int{0, 1} {
				b := fakeBatch{time: at, codec: codec, records: []rec{{value: []byte("x")}}}
				raw := b.bytes()
				s.ask("time", produce(9, name, 0, raw))
			}
		}
		b := fakeBatch{time: someTime, maxTime: someTime + 99_999,
			records: []rec{{value: []byte("x")}, {time: 3, value: []byte("y")}, {time: 1, value: []byte("z")}}}
		s.ask("max time that is not the records'", produce(9, name, 0, b.bytes()))
		b.attrs = 8
		s.ask("append time bit", produce(9, name, 0, b.bytes()))
		if kind == "CreateTime" {
			s.ask("what was stored", fetch(12, name, id, 0, 0))
		}
		s.ask("where the log ends", listOffsets(4, name, 0, -1))
	}
	old, oid := s.topic("old", 1, "message.timestamp.before.max.ms=1000", "message.timestamp.after.max.ms=1000")
	for _, v := range []int16{3, 7, 8, 9} {
		s.ask("too old", produceTo(v, old, oid, 0, simple(3).bytes()))
		b := fakeBatch{time: now, records: []rec{{value: []byte("x")}, {time: 60_000, value: []byte("y")},
			{time: -60_000, value: []byte("z")}}}
		s.ask("one too new, one too old", produceTo(v, old, oid, 0, b.bytes()))
	}
}

func scriptProduceLimits(s *session) {
	name, id := s.topic("small", 1, "max.message.bytes=1000")
	for _, v := range []int16{3, 8, 12} {
		for _, n := range []int{900, 931, 932, 933, 1000, 5000} {
			b := fakeBatch{records: []rec{{value: bytes.Repeat([]byte{'x'}, n-10)}}}
			s.ask("batch of about that size", produceTo(v, name, id, 0, b.bytes()))
		}
		squeezed := fakeBatch{codec: 1, records: []rec{{value: make([]byte, 50_000)}}}
		s.ask("large records, small batch", produceTo(v, name, id, 0, squeezed.bytes()))
	}
	compacted, cid := s.topic("compact", 1, "cleanup.policy=compact,delete")
	for _, v := range []int16{3, 7, 8, 9, 12} {
		b := fakeBatch{records: []rec{{key: []byte("k"), value: []byte("v")}, {value: []byte("v")},
			{key: []byte{}, value: nil}, {value: []byte("v")}}}
		s.ask("records without keys", produceTo(v, compacted, cid, 0, b.bytes()))
		b.codec = 4
		if v >= 7 {
			s.ask("records without keys, zstd", produceTo(v, compacted, cid, 0, b.bytes()))
		}
	}
	segment, sid := s.topic("segment", 1, "segment.bytes=1048576", "max.message.bytes=3000000")
	s.ask("larger than a segment", produceTo(9, segment, sid, 0,
		fakeBatch{records: []rec{{value: make([]byte, 1_100_000)}}}.bytes()))
	s.ask("just a segment", produceTo(9, segment, sid, 0,
		fakeBatch{records: []rec{{value: make([]byte, 1_048_400)}}}.bytes()))
	decompressed, did := s.topic("bomb", 1, "max.decompressed.message.bytes=10000")
	s.ask("record that grows too large", produceTo(9, decompressed, did, 0,
		fakeBatch{codec: 1, records: []rec{{value: make([]byte, 20_000)}}}.bytes()))
	s.ask("record that grows", produceTo(9, decompressed, did, 0,
		fakeBatch{codec: 1, records: []rec{{value: make([]byte, 9_000)}}}.bytes()))
	minimum, mid := s.topic("isr", 1, "min.insync.replicas=2")
	s.ask("more in-sync replicas wanted than there are replicas", produceTo(9, minimum, mid, 0, simple(1).bytes()))
}

func scriptIdempotent(s *session) {
	name, id := s.topic("t", 1)
	put := func(label string, pid int64, epoch int16, sequence int32, n int) {
		b := simple(n)
		b.pid, b.pidEpoch, b.sequence = pid, epoch, sequence
		s.ask(label, produceTo(9, name, id, 0, b.bytes()))
	}
	const p, q, r = 500_001, 500_002, 500_003
	put("first sequence of an unknown producer", p, 0, 7, 2)
	put("next", p, 0, 9, 1)
	put("gap", p, 0, 11, 1)
	put("next after the gap", p, 0, 10, 3)
	put("repeat of the last", p, 0, 10, 3)
	put("repeat of the first", p, 0, 7, 2)
	put("part of a batch", p, 0, 7, 1)
	put("overlap", p, 0, 12, 3)
	for i := range int32(6) {
		put("six more", p, 0, 13+i, 1)
	}
	put("repeat that has left the window", p, 0, 10, 3)
	put("oldest in the window", p, 0, 14, 1)
	put("just out of the window", p, 0, 13, 1)
	put("new epoch not at 0", p, 1, 19, 1)
	put("new epoch", p, 1, 0, 1)
	put("old epoch", p, 0, 19, 1)
	put("repeat within the new epoch", p, 1, 0, 1)
	put("epoch -1", p, -1, 1, 1)
	put("sequence -1", p, 1, -1, 1)
	put("newest sequence", q, 0, 1<<31-2, 2)
	put("sequence that wraps", q, 0, 0, 1)
	put("wraps inside a batch", r, 0, 1<<31-1, 3)
	put("after the wrap", r, 0, 2, 1)
	put("producer 0 with epoch 5", 500_009, 5, 0, 1)
	s.ask("what was stored", fetch(12, name, id, 0, 0))
	req := kmsg.NewPtrDescribeProducersRequest()
	t := kmsg.NewDescribeProducersRequestTopic()
	t.Topic, t.Partitions = name, []int32{0, 1}
	u := kmsg.NewDescribeProducersRequestTopic()
	u.Topic, u.Partitions = s.name("none"), []int32{0}
	req.Topics = append(req.Topics, t, u)
	s.ask("producers", req)
	s.each(22, func(v int16) {
		init := kmsg.NewPtrInitProducerIDRequest()
		init.Version, init.TransactionTimeoutMillis, init.ProducerID, init.ProducerEpoch = v, 60_000, -1, -1
		s.until("a producer id", init, func(r kmsg.Response) bool { return r.(*kmsg.InitProducerIDResponse).ErrorCode == 0 })
		s.ask("fresh id", init)
		s.ask("another", init)
		if v >= 3 {
			init.ProducerID, init.ProducerEpoch = 12345, 3
			s.ask("with an id and epoch", init)
			init.ProducerID, init.ProducerEpoch = 12345, -1
			s.ask("with an id, no epoch", init)
			init.ProducerID, init.ProducerEpoch = -1, 3
			s.ask("with an epoch, no id", init)
		}
		init.ProducerID, init.ProducerEpoch, init.TransactionTimeoutMillis = -1, -1, -5
		s.ask("negative timeout", init)
	})
}
