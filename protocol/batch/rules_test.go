package batch_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

// code is what a leader answers for records sent in a Produce of version 13.
func code(records []byte, r batch.Rules) protocol.Code {
	b, err := batch.One(records, 13)
	if err == nil {
		_, err = b.Validate(r)
	}
	return protocol.CodeOf(err)
}

// changed is a batch with bytes at a position replaced and the checksum made right.
func changed(b batch.Batch, at int, v ...byte) batch.Batch {
	c := bytes.Clone(b)
	copy(c[at:], v)
	return seal(c)
}

func want(t *testing.T, name string, got, want protocol.Code) {
	t.Helper()
	if got != want {
		t.Errorf("%s: %v, want %v", name, got, want)
	}
}

func TestRule026_ExactlyOneV2BatchPerPartition(t *testing.T) {
	b := build(batch.BuilderOptions{}, 2, 10)
	want(t, "one", code(b, rules()), protocol.None)
	want(t, "none", code(nil, rules()), protocol.InvalidRecord)
	want(t, "two", code(append(bytes.Clone(b), b...), rules()), protocol.InvalidRecord)
	want(t, "magic 0", code(changed(b, 16, 0), rules()), protocol.InvalidRecord)
	want(t, "magic 1", code(changed(b, 16, 1), rules()), protocol.InvalidRecord)
	want(t, "magic 3", code(changed(b, 16, 3), rules()), protocol.CorruptMessage)
	want(t, "truncated", code(b[:len(b)-1], rules()), protocol.InvalidRecord)
	want(t, "a torn one behind", code(append(bytes.Clone(b), b[:60]...), rules()), protocol.None)
	flipped := bytes.Clone(b)
	flipped[len(flipped)-1] ^= 1
	want(t, "checksum", code(flipped, rules()), protocol.CorruptMessage)
}

func TestRule027_BaseOffsetMustBeZero(t *testing.T) {
	b := build(batch.BuilderOptions{Base: 1}, 2, 10)
	want(t, "base offset 1", code(b, rules()), protocol.InvalidRecord)
}

func TestC39_LeaderEpochOfTheClientIsIgnored(t *testing.T) {
	for _, epoch := range []protocol.Epoch{-1, 0, 1 << 30} {
		want(t, fmt.Sprint(epoch), code(build(batch.BuilderOptions{LeaderEpoch: epoch}, 2, 10), rules()), protocol.None)
	}
}

func TestRule028_CountsMustAgree(t *testing.T) {
	for _, c := range codecs {
		b := build(batch.BuilderOptions{Codec: c}, 3, 10)
		want(t, "count 4", code(changed(b, 57, 0, 0, 0, 4), rules()), protocol.InvalidRecord)
		want(t, "delta 3", code(changed(b, 23, 0, 0, 0, 3), rules()), protocol.InvalidRecord)
		want(t, "both", code(changed(changed(b, 57, 0, 0, 0, 4), 23, 0, 0, 0, 3), rules()), protocol.InvalidRecord)
		want(t, "too few", code(changed(changed(b, 57, 0, 0, 0, 2), 23, 0, 0, 0, 1), rules()), protocol.InvalidRecord)
		want(t, "none", code(changed(changed(b, 57, 0, 0, 0, 0), 23, 0xff, 0xff, 0xff, 0xff), rules()), protocol.InvalidRecord)
	}
}

func TestRule028_WrongDeltasInACompressedBatchAreNumberedAgain(t *testing.T) {
	plain := build(batch.BuilderOptions{Codec: compress.None}, 3, 10)
	records := bytes.Clone(plain[batch.HeaderBytes:])
	records[3] = 40 // the first record's offset delta
	sent := batch.Batch(packed(t, plain, compress.Gzip, records))
	v, err := sent.Validate(rules())
	if err != nil || !v.Rebuilt {
		t.Fatalf("%+v, %v", v, err)
	}
	if got, want := dump(t, v.Batch), dump(t, plain); got != want || v.Batch.Codec() != compress.Gzip {
		t.Fatalf("got\n%s\nwant\n%s", got, want)
	}
	// The uncompressed path does not look at them.
	sent = packed(t, plain, compress.None, records)
	if v, err := sent.Validate(rules()); err != nil || v.Rebuilt {
		t.Fatalf("%+v, %v", v, err)
	}
}

func TestRule029_AttributeBitsOfAClient(t *testing.T) {
	b := build(batch.BuilderOptions{}, 2, 10)
	want(t, "control", code(changed(b, 22, 0x20), rules()), protocol.InvalidRecord)
	appendTime := rules()
	appendTime.LogAppendTime = true
	want(t, "the broker's time", code(changed(b, 22, 8), appendTime), protocol.InvalidTimestamp)
	stamped := changed(b, 22, 8)
	v, err := stamped.Validate(rules())
	if err != nil || v.Batch.IsLogAppendTime() || !v.Batch.CheckCRC() {
		t.Errorf("the bit is to be cleared: %v", err)
	}
	kept := changed(b, 21, 0x7f, 0x40)
	if v, err := kept.Validate(rules()); err != nil || v.Batch.Attributes() != 0x7f40 {
		t.Errorf("bits without meaning are to be kept: %v", err)
	}
	for c := byte(5); c < 8; c++ {
		want(t, "codec", code(changed(b, 22, c), rules()), protocol.UnknownServerError)
	}
	want(t, "gzip that is none", code(changed(b, 22, 1), rules()), protocol.UnknownServerError)
}

func TestRule030_ZstdNeedsVersion7(t *testing.T) {
	b := build(batch.BuilderOptions{Codec: compress.Zstd}, 2, 10)
	if _, err := batch.One(b, 6); protocol.CodeOf(err) != protocol.UnsupportedCompressionType {
		t.Error(err)
	}
	if _, err := batch.One(b, 7); err != nil {
		t.Error(err)
	}
}

func TestRule031_TheBatchAsSentIsMeasured(t *testing.T) {
	b := build(batch.BuilderOptions{Codec: compress.Gzip}, 100, 1000)
	r := rules()
	r.MaxBytes = len(b)
	want(t, "at the limit", code(b, r), protocol.None)
	r.MaxBytes--
	want(t, "over the limit", code(b, r), protocol.MessageTooLarge)
	r.MaxBytes, r.Target = len(b), compress.None
	want(t, "over the limit once decompressed", code(b, r), protocol.MessageTooLarge)
	r = rules()
	r.MaxDecompressedRecord = 1000
	want(t, "one record", code(b, r), protocol.InvalidRecord)
	r = rules()
	r.MaxDecompressed = 50_000
	want(t, "all records", code(b, r), protocol.MessageTooLarge)
}

func TestC42_MaxMessageBytesIsEnforced(t *testing.T) {
	want(t, "1 MiB", code(build(batch.BuilderOptions{}, 1, 1<<20), rules()), protocol.MessageTooLarge)
}

func TestRule032_CompactedTopicsNeedKeys(t *testing.T) {
	for _, c := range codecs {
		bb := batch.NewBuilder(batch.BuilderOptions{Codec: c})
		bb.Add(-1, []byte("k"), nil)
		bb.Add(-1, nil, []byte("v"))
		bb.Add(-1, []byte{}, nil)
		bb.Add(-1, nil, nil)
		r := rules()
		r.Compacted = true
		_, err := bb.Build().Validate(r)
		var rej *batch.RejectError
		if !errors.As(err, &rej) || rej.Code != protocol.InvalidRecord || len(rej.Records) != 2 ||
			rej.Records[0].Index != 1 || rej.Records[1].Index != 3 ||
			rej.Records[0].Message != "Compacted topic cannot accept message without key in topic partition t-3" {
			t.Errorf("%v: %+v", c, err)
		}
	}
}

func TestC43_KeylessRecordInACompactedTopicNamesItsIndex(t *testing.T) {
	TestRule032_CompactedTopicsNeedKeys(t)
}

func TestRule033_CreateTimeMustBeNearTheBrokersTime(t *testing.T) {
	ms := now.UnixMilli()
	for _, x := range []struct {
		ts   int64
		code protocol.Code
	}{
		{ms, protocol.None}, {ms - 1000, protocol.None}, {ms + 3_600_000, protocol.None}, {-1, protocol.None},
		{ms - 1001, protocol.InvalidTimestamp}, {ms + 3_600_001, protocol.InvalidTimestamp}, {-2, protocol.InvalidTimestamp},
		{0, protocol.InvalidTimestamp},
	} {
		bb := batch.NewBuilder(batch.BuilderOptions{})
		bb.Add(x.ts, nil, nil)
		r := rules()
		r.TimestampBeforeMaxMs = 1000
		_, err := bb.Build().Validate(r)
		want(t, fmt.Sprint(x.ts), protocol.CodeOf(err), x.code)
		var rej *batch.RejectError
		if x.code != protocol.None && (!errors.As(err, &rej) || len(rej.Records) != 1) {
			t.Errorf("%d has no record error: %v", x.ts, err)
		}
	}
}

func TestRule033_TheBrokerFindsTheLargestTimestamp(t *testing.T) {
	for _, c := range codecs {
		bb := batch.NewBuilder(batch.BuilderOptions{Codec: c})
		for _, ts := range []int64{5, -1, 9, 3, 9} {
			bb.Add(ts, nil, nil)
		}
		b := changed(bb.Build(), 35, 0, 0, 0, 0, 0, 0, 9, 9)
		v, err := b.Validate(rules())
		if err != nil || v.MaxTimestamp != 9 || v.OffsetOfMaxTimestamp != 2 || b.MaxTimestamp() != 9 || !b.CheckCRC() {
			t.Errorf("%v: %+v %v", c, v, err)
		}
	}
}

func TestC44_Timestamps0AndMinus1AreTaken(t *testing.T) {
	for _, ts := range []int64{0, -1} {
		bb := batch.NewBuilder(batch.BuilderOptions{})
		bb.Add(ts, nil, []byte("v"))
		if v, err := bb.Build().Validate(rules()); err != nil || v.MaxTimestamp != ts {
			t.Errorf("%d: %+v %v", ts, v, err)
		}
	}
}

func TestRule034_LogAppendTimeIsTheBrokers(t *testing.T) {
	for _, c := range codecs {
		r := rules()
		r.LogAppendTime = true
		b := build(batch.BuilderOptions{Codec: c}, 3, 10)
		v, err := b.Validate(r)
		if err != nil || v.MaxTimestamp != now.UnixMilli() || v.OffsetOfMaxTimestamp != 2 || !b.IsLogAppendTime() ||
			b.MaxTimestamp() != now.UnixMilli() || !b.CheckCRC() || b.Codec() != c {
			t.Errorf("%v: %+v %v", c, v, err)
		}
		for rec := range b.Records(nil) {
			if b.Timestamp(rec) != now.UnixMilli() {
				t.Errorf("%v: a record has timestamp %d", c, b.Timestamp(rec))
			}
		}
	}
}

func TestRule035_CompressionTypeRecompresses(t *testing.T) {
	for _, from := range codecs {
		for _, to := range codecs {
			b := build(batch.BuilderOptions{Codec: from, Producer: &batch.Producer{ID: 3, Epoch: 2, Sequence: 1}}, 300, 400)
			r := rules()
			r.Target, r.Level = to, 3
			v, err := b.Validate(r)
			if err != nil || v.Rebuilt != (from != to) || v.Batch.Codec() != to || v.Batch.Count() != 300 ||
				v.Batch.LastOffsetDelta() != 299 || v.Batch.ProducerID() != 3 || v.Batch.LastSequence() != 300 || !v.Batch.CheckCRC() {
				t.Fatalf("%v to %v: %+v %v", from, to, v.Rebuilt, err)
			}
			if got, want := dump(t, v.Batch), dump(t, b); got != want {
				t.Fatalf("%v to %v changed the records", from, to)
			}
		}
	}
}

func TestRule044_ProducerWithoutSequence(t *testing.T) {
	b := build(batch.BuilderOptions{Producer: &batch.Producer{ID: 3, Epoch: 2, Sequence: -1}}, 1, 1)
	want(t, "sequence -1", code(b, rules()), protocol.InvalidRecord)
}

func TestRule045_AnyProducerIDIsTaken(t *testing.T) {
	b := build(batch.BuilderOptions{Producer: &batch.Producer{ID: 1 << 60, Epoch: 99, Sequence: 12345}}, 1, 1)
	want(t, "made-up producer", code(b, rules()), protocol.None)
}

func TestRecordErrorsAreBounded(t *testing.T) {
	r := rules()
	r.Compacted = true
	bb := batch.NewBuilder(batch.BuilderOptions{})
	for range 100_000 {
		bb.Add(-1, nil, nil)
	}
	_, err := bb.Build().Validate(r)
	var rej *batch.RejectError
	if !errors.As(err, &rej) || len(rej.Records) != batch.RecordErrorsMax || len(rej.Message) > 1000 {
		t.Errorf("%d record errors", len(rej.Records))
	}
}

// The scan of an uncompressed batch is on the way of every byte produced.
func TestValidateAllocatesNothing(t *testing.T) {
	for _, c := range codecs {
		for _, shape := range [][2]int{{10, 1000}, {1000, 100}} {
			b := build(batch.BuilderOptions{Codec: c}, shape[0], shape[1])
			r := rules()
			r.Compacted = true
			allowed := 0.0
			if c != compress.None {
				allowed = 2 // the collector may empty a pool in between
			}
			got := testing.AllocsPerRun(20, func() {
				if _, err := b.Validate(r); err != nil {
					t.Fatal(err)
				}
			})
			if got > allowed {
				t.Errorf("%v, %v records: %v allocations", c, shape[0], got)
			}
		}
	}
}

// A record larger than the window is checked while it streams by.
func TestLargeCompressedRecords(t *testing.T) {
	for _, c := range codecs[1:] {
		b := batch.NewBuilder(batch.BuilderOptions{Codec: c})
		big := bytes.Repeat([]byte("moldau"), 100_000)
		b.Add(1, big, big, batch.Header{Key: string(big), Value: big}, batch.Header{Key: "x"})
		b.Add(2, nil, big)
		sent := b.Build()
		if v, err := sent.Validate(rules()); err != nil || v.MaxTimestamp != 2 || v.OffsetOfMaxTimestamp != 1 {
			t.Fatalf("%v: %+v %v", c, v, err)
		}
		r := rules()
		r.Target = compress.Zstd
		v, err := sent.Validate(r)
		if err != nil || dump(t, v.Batch) != dump(t, sent) {
			t.Fatalf("%v: %v", c, err)
		}
	}
}
