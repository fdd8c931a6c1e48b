//go:build compat

package differential

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

// TestUpkeepIsKafkas asks what retention and compaction have left of a log, with both brokers told to look every moment.
func TestUpkeepIsKafkas(t *testing.T) {
	hasty := maps.Clone(properties)
	maps.Copy(hasty, map[string]string{
		"log.retention.check.interval.ms": "200",
		"log.initial.task.delay.ms":       "100",
		"log.cleaner.backoff.ms":          "100",
		"log.segment.delete.delay.ms":     "100",
	})
	var kafka, other *harness.Broker
	var both sync.WaitGroup
	both.Go(func() { kafka = harness.Start(t, harness.Config{Kind: harness.Kafka, Properties: hasty}) })
	other = harness.Start(t, harness.Config{Properties: hasty})
	both.Wait()
	if kafka == nil {
		t.Fatal("Apache Kafka did not start")
	}
	versions := announced(t, kafka)
	type transcripts struct{ want, got []step }
	played := make([]chan transcripts, len(upkeepScripts))
	for i, sc := range upkeepScripts { // they mostly wait, so that all of them can run at once
		played[i] = make(chan transcripts, 1)
		go func() {
			want, got := playBoth(sc, kafka, other, versions)
			played[i] <- transcripts{want, got}
		}()
	}
	for i, sc := range upkeepScripts {
		t.Run(sc.title(), func(t *testing.T) {
			both := <-played[i]
			judge(t, sc, both.want, both.got, other.Kind)
		})
	}
}

var upkeepScripts = []script{
	{"retention-by-size", scriptRetentionBySize},
	{"retention-by-time", scriptRetentionByTime},
	{"retention-of-policies", scriptRetentionOfPolicies},
	{"retention-changed", scriptRetentionChanged},
	{"compaction-of-updates", scriptCompactionOfUpdates},
	{"compaction-of-tombstones", scriptCompactionOfTombstones},
	{"compaction-of-producers", scriptCompactionOfProducers},
	{"compaction-of-codecs", scriptCompactionOfCodecs},
	{"compaction-and-lags", scriptCompactionAndLags},
	{"compaction-of-odd-logs", scriptCompactionOfOddLogs},
}

// calm is for how long an answer must stay the same to be taken for the last word. It is many rounds of both brokers.
const calm = 2500 * time.Millisecond

// settle repeats a question until its answer has stayed the same for a while, and writes that into the transcript.
// Nothing says when a broker has nothing more to do, so that this is one of the few places where time has to pass.
func (s *session) settle(label string, req kmsg.Request) {
	deadline := time.Now().Add(answerLimit)
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	since, text := time.Now(), ""
	for time.Since(since) < calm {
		if time.Now().After(deadline) {
			s.fail("%s: does not come to rest; last answer: %s", label, text)
		}
		if now := strings.Join(sorted(s.flattenOrNil(s.quiet(req))), "\n"); now != text {
			since, text = time.Now(), now
		}
		<-pause.C
	}
	s.ask(label, req)
}

// rest waits for the upkeep of a partition and then asks everything about it.
func (s *session) rest(label, name string, id [16]byte) {
	s.settle(label+", start", listOffsets(7, name, 0, -2))
	s.settleContents(label, name, id)
	for _, at := range []int64{-1, -3, 0, someTime, someTime + 7, someTime + 1000, 1 << 60} {
		s.ask(label+", by time", listOffsets(7, name, 0, at))
	}
	start := s.start0(name)
	for at := start; at < start+12; at++ {
		one := fetch(13, name, id, 0, at)
		one.MaxBytes, one.Topics[0].Partitions[0].PartitionMaxBytes = 1, 1
		s.ask(fmt.Sprintf("%s, from %d", label, at-start), one)
	}
}

// start0 is where partition 0 begins.
func (s *session) start0(name string) int64 {
	resp, ok := s.quiet(listOffsets(7, name, 0, -2)).(*kmsg.ListOffsetsResponse)
	if !ok {
		s.fail("list offsets: no answer")
	}
	return resp.Topics[0].Partitions[0].Offset
}

// small makes segments of a few batches.
const small = "internal.segment.bytes=1000"

func (s *session) configure(name string, changes ...string) {
	var ops []change
	for _, kv := range changes {
		k, v, _ := strings.Cut(kv, "=")
		ops = append(ops, change{0, k, &v})
	}
	s.ask("configures", incremental(1, resourceTopic, name, ops...))
}

// filler is a batch of n records of 100 bytes, so that sizes are round.
func filler(n int, at int64) fakeBatch {
	b := fakeBatch{time: at}
	for i := range n {
		b.records = append(b.records, rec{key: []byte{'k', byte('a' + i%26)}, value: make([]byte, 100)})
	}
	return b
}

func scriptRetentionBySize(s *session) {
	for _, bytes := range []int{0, 1, 999, 1000, 2500, 4000, 1 << 20} {
		name, id := s.topic(fmt.Sprint("t", bytes), 1, small, fmt.Sprint("retention.bytes=", bytes))
		for range 9 {
			s.write(name, 0, filler(3, someTime).bytes())
		}
		s.rest(fmt.Sprint(bytes, " bytes"), name, id)
		s.ask("goes on", produce(9, name, 0, filler(1, someTime).bytes()))
	}
}

func scriptRetentionByTime(s *session) {
	now := s.began.UnixMilli()
	hour := int64(3_600_000)
	for _, c := range []struct {
		name  string
		times []int64
	}{
		{"all-old", []int64{someTime, someTime, someTime, someTime}},
		{"new-last", []int64{someTime, someTime, someTime, now}},
		{"new-first", []int64{now, now, someTime, someTime, someTime, someTime}},
		{"new-between", []int64{someTime, someTime, now, now, someTime, someTime}},
		{"future", []int64{now + hour/2, someTime, someTime, someTime, someTime}},
		{"no-timestamp", []int64{-1, -1, -1, -1, -1}},
		{"all-new", []int64{now, now, now, now, now}},
	} {
		topic, id := s.topic(c.name, 1, small, "retention.ms=-1", "message.timestamp.after.max.ms=9223372036854775807")
		for _, at := range c.times {
			for range 2 {
				s.write(topic, 0, filler(3, at).bytes())
			}
		}
		s.configure(topic, "retention.ms=3600000")
		s.settle(c.name+", start", listOffsets(7, topic, 0, -2))
		s.settle(c.name+", end", listOffsets(7, topic, 0, -1))
		s.settleContents(c.name+", records", topic, id)
		s.ask(c.name+", goes on", produce(9, topic, 0, filler(1, now).bytes()))
	}
	appended, _ := s.topic("log-append-time", 1, small, "retention.ms=3600000", "message.timestamp.type=LogAppendTime")
	for range 4 {
		s.write(appended, 0, filler(3, someTime).bytes())
	}
	s.settle("log append time, start", listOffsets(7, appended, 0, -2))
}

func scriptRetentionOfPolicies(s *session) {
	for _, policy := range []string{"delete", "compact", "compact,delete", "delete,compact", ""} {
		name, id := s.topic("t-"+strings.ReplaceAll(policy, ",", "-"), 1, small, "retention.ms=-1")
		for i := range int64(6) {
			b := filler(3, someTime+i)
			for j := range b.records {
				b.records[j].key = fmt.Appendf(nil, "%d-%d", i, j) // nothing for compaction to do
			}
			s.write(name, 0, b.bytes())
		}
		s.configure(name, "cleanup.policy="+policy, "retention.ms=1", "retention.bytes=1500")
		s.rest("policy "+policy, name, id)
		s.ask("delete records", deleteRecords(2, name, 0, 17))
	}
}

func scriptRetentionChanged(s *session) {
	name, _ := s.topic("t", 1, small, "retention.ms=-1")
	for range 8 {
		s.write(name, 0, filler(3, someTime).bytes())
	}
	s.settle("keeps all", listOffsets(7, name, 0, -2))
	s.configure(name, "retention.bytes=2000")
	s.settle("by size", listOffsets(7, name, 0, -2))
	s.ask("trims", deleteRecords(2, name, 0, 20))
	s.settle("after the trim", listOffsets(7, name, 0, -2))
	s.configure(name, "retention.ms=1000")
	s.settle("by time", listOffsets(7, name, 0, -2))
	s.ask("goes on", produce(9, name, 0, filler(2, s.began.UnixMilli()).bytes()))
	s.ask("end", listOffsets(7, name, 0, -1))
}

// compacting makes a log with write, while nothing cleans it, and then turns compaction on: both brokers find the same.
func (s *session) compacting(suffix string, write func(name string), configs ...string) (name string, id [16]byte) {
	name, id = s.topic(suffix, 1, small, "retention.ms=-1", "message.timestamp.after.max.ms=9223372036854775807")
	write(name)
	s.configure(name, append([]string{"cleanup.policy=compact", "min.cleanable.dirty.ratio=0.01"}, configs...)...)
	return name, id
}

// keyed is a batch of records, each "key=value"; "key" alone is a tombstone.
func keyed(at int64, records ...string) fakeBatch {
	b := fakeBatch{time: at}
	for i, kv := range records {
		k, v, has := strings.Cut(kv, "=")
		r := rec{time: int64(i), key: []byte(k)}
		if has {
			r.value = []byte(v + strings.Repeat(".", 90))
		}
		b.records = append(b.records, r)
	}
	return b
}

func scriptCompactionOfUpdates(s *session) {
	write := func(name string) {
		for i := range 40 {
			s.write(name, 0, keyed(someTime+int64(i), fmt.Sprintf("a=%d", i), fmt.Sprintf("b%d=%d", i%5, i),
				fmt.Sprintf("c%d=%d", i%17, i)).bytes())
		}
	}
	name, id := s.compacting("t", write)
	s.rest("once", name, id)
	write(name)
	s.rest("twice", name, id)
	for i := range 10 {
		s.write(name, 0, keyed(someTime, fmt.Sprintf("new%d=x", i)).bytes())
	}
	s.rest("thrice", name, id)
	unlike, unlikeID := s.compacting("unlike", func(name string) {
		for i := range 20 {
			s.write(name, 0, keyed(someTime, fmt.Sprintf("k%d=v", i)).bytes())
		}
	})
	s.rest("nothing to do", unlike, unlikeID)
}

func scriptCompactionOfTombstones(s *session) {
	write := func(name string) {
		for i := range 20 {
			s.write(name, 0, keyed(someTime+int64(i), fmt.Sprintf("a%d=1", i%4), fmt.Sprintf("b%d=1", i%4)).bytes())
		}
		s.write(name, 0, keyed(someTime, "a1", "b1", "never").bytes())
		s.write(name, 0, keyed(someTime, "a2", "b2=back").bytes())
		s.write(name, 0, keyed(someTime, "a2=back", "a3").bytes())
		for i := range 12 {
			s.write(name, 0, keyed(someTime, fmt.Sprintf("pad%d=x", i)).bytes())
		}
	}
	kept, keptID := s.compacting("kept", write, "delete.retention.ms=86400000")
	s.settle("tombstones stay, start", listOffsets(7, kept, 0, -2))
	s.settleContents("tombstones stay", kept, keptID)
	gone, goneID := s.compacting("gone", write, "delete.retention.ms=0")
	for i := range 12 {
		s.write(gone, 0, keyed(someTime, fmt.Sprintf("more%d=x", i)).bytes())
	}
	s.settle("settles", listOffsets(7, gone, 0, -2))
	for i := range 12 {
		s.write(gone, 0, keyed(someTime, fmt.Sprintf("even more%d=x", i)).bytes())
	}
	s.rest("tombstones go", gone, goneID)
}

func scriptCompactionOfProducers(s *session) {
	name, id := s.compacting("t", func(name string) {
		for i := range int32(30) {
			b := keyed(s.began.UnixMilli(), "a=1", "b=2")
			b.pid, b.sequence = 800_001+int64(i%3), (i/3)*2
			s.write(name, 0, b.bytes())
		}
		for i := range 12 {
			s.write(name, 0, keyed(s.began.UnixMilli(), fmt.Sprintf("pad%d=x", i), "a=9", "b=9").bytes())
		}
	})
	s.settle("start", listOffsets(7, name, 0, -2))
	s.settleContents("records", name, id)
	s.ask("producers", describeProducers(name, 0))
	b := keyed(s.began.UnixMilli(), "a=1", "b=2")
	b.pid, b.sequence = 800_001, 18
	s.ask("repeat of the last", produce(9, name, 0, b.bytes()))
	b.sequence = 20
	s.ask("next", produce(9, name, 0, b.bytes()))
	b.sequence = 30
	s.ask("gap", produce(9, name, 0, b.bytes()))
}

func scriptCompactionOfCodecs(s *session) {
	for codec := range 5 {
		for _, whole := range []bool{true, false} {
			name, id := s.compacting(fmt.Sprintf("t-%d-%v", codec, whole), func(name string) {
				for i := range 14 {
					records := []string{fmt.Sprintf("only%d=x", i)}
					if !whole { // batches of which something goes are built anew
						records = append(records, "same=y")
					}
					b := keyed(someTime+int64(i), records...)
					b.codec = codec
					s.write(name, 0, b.bytes())
				}
				for i := range 12 {
					s.write(name, 0, keyed(someTime, fmt.Sprintf("pad%d=x", i), "same=z").bytes())
				}
			})
			s.settle("start", listOffsets(7, name, 0, -2))
			s.settleContents(fmt.Sprintf("codec %d, whole %v", codec, whole), name, id)
		}
	}
}

func scriptCompactionAndLags(s *session) {
	now := s.began.UnixMilli()
	write := func(at int64) func(name string) {
		return func(name string) {
			for i := range 30 {
				s.write(name, 0, keyed(at, "a=1", fmt.Sprintf("b%d=1", i%3)).bytes())
			}
		}
	}
	young, youngID := s.compacting("young", write(now), "min.compaction.lag.ms=3600000")
	s.settleContents("min lag", young, youngID)
	old, oldID := s.compacting("old", write(someTime), "min.compaction.lag.ms=3600000")
	s.settleContents("old enough", old, oldID)
	lazy, lazyID := s.compacting("lazy", write(now), "min.cleanable.dirty.ratio=1")
	s.settleContents("ratio 1", lazy, lazyID)
	forced, forcedID := s.compacting("forced", write(someTime), "min.cleanable.dirty.ratio=1", "max.compaction.lag.ms=1000")
	s.settleContents("max lag", forced, forcedID)
}

func scriptCompactionOfOddLogs(s *session) {
	keyless, keylessID := s.compacting("keyless", func(name string) {
		for i := range 12 {
			b := keyed(someTime, "a=1", "b=2", "c=3")
			b.records[i%3].key = nil
			s.write(name, 0, b.bytes())
		}
	})
	s.rest("records without a key", keyless, keylessID)
	trimmed, trimmedID := s.compacting("trimmed", func(name string) {
		for i := range 12 {
			s.write(name, 0, keyed(someTime+int64(i), "a=1", fmt.Sprintf("b%d=1", i)).bytes())
		}
		s.ask("trims", deleteRecords(2, name, 0, 7))
	})
	s.rest("a start inside of a batch", trimmed, trimmedID)
	empty, emptyID := s.compacting("empty-keys", func(name string) {
		for range 12 {
			s.write(name, 0, keyed(someTime, "=empty key", "=again", "x=1").bytes())
		}
	})
	s.rest("empty keys", empty, emptyID)
	appended, appendedID := s.topic("append-time", 1, small, "retention.ms=-1", "message.timestamp.type=LogAppendTime")
	for range 12 {
		s.write(appended, 0, keyed(someTime, "a=1", "b=2").bytes())
	}
	s.configure(appended, "cleanup.policy=compact", "min.cleanable.dirty.ratio=0.01")
	s.settle("append time, start", listOffsets(7, appended, 0, -2))
	s.settleContents("append time", appended, appendedID)
}

// settleContents is settle for all records of a partition, from its start to its end: where segments end, and with them
// the answers to single requests, depends on when the cleaner came by.
func (s *session) settleContents(label, name string, id [16]byte) {
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	since, text := time.Now(), ""
	for time.Since(since) < calm {
		if now := strings.Join(s.contents(name, id), "\n"); now != text {
			since, text = time.Now(), now
		}
		<-pause.C
	}
	st := step{label: label + ", records", fate: "note", fields: map[string]string{}}
	for i, line := range strings.Split(text, "\n") {
		st.fields[fmt.Sprintf("%03d", i)] = line
	}
	s.steps = append(s.steps, st)
}

// contents is every batch of partition 0.
func (s *session) contents(name string, id [16]byte) (lines []string) {
	for at := s.start0(name); ; {
		resp, ok := s.quiet(fetch(13, name, id, 0, at)).(*kmsg.FetchResponse)
		if !ok || len(resp.Topics) == 0 {
			s.fail("fetch %s: no answer", name)
		}
		p := resp.Topics[0].Partitions[0]
		if p.ErrorCode != 0 {
			s.fail("fetch %s from %d: error %d", name, at, p.ErrorCode)
		}
		if at >= p.HighWatermark {
			return append(lines, fmt.Sprint("end ", p.HighWatermark))
		}
		more, next := s.describeBatches(p.RecordBatches)
		if next <= at {
			return append(lines, fmt.Sprintf("nothing more from %d on, end %d", at, p.HighWatermark))
		}
		lines, at = append(lines, more...), next
	}
}

// describeBatches describes batches by what a reader gets of them. A delete horizon is a time of this run: that there is one is
// what counts.
func (s *session) describeBatches(raw []byte) (out []string, next int64) {
	for len(raw) > 0 {
		b, rest, err := batch.Next(raw)
		if err != nil { // cut at the limit of the answer
			return out, next
		}
		line := fmt.Sprintf("%d..%d epoch %d attributes %#x producer %d/%d/%d count %d crc %v:", b.BaseOffset(), b.LastOffset(),
			b.LeaderEpoch(), b.Attributes(), b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.Count(), b.CheckCRC())
		for r, err := range b.Records(compress.NewDecoder()) {
			if err != nil {
				line += " unreadable: " + err.Error()
				break
			}
			at := s.number("", b.Timestamp(r))
			if b.IsLogAppendTime() {
				at = "append time"
			}
			line += fmt.Sprintf(" [%d @%s %q=%.8q of %d null %v]", b.BaseOffset()+protocol.Offset(r.OffsetDelta), at, r.Key,
				r.Value, len(r.Value), r.Value == nil)
		}
		out = append(out, line)
		raw, next = rest, int64(b.LastOffset())+1
	}
	return out, next
}
