//go:build compat

package differential

import (
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
)

// TestAnswersAfterRestartAreKafkas asks what a broker still knows after it was stopped, and after it was killed.
func TestAnswersAfterRestartAreKafkas(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(*harness.Broker)
		trim bool
	}{
		{"stopped", func(b *harness.Broker) { b.Stop(t) }, true},
		// After a crash Kafka may have forgotten where a log begins: it writes that once a minute.
		{"killed", func(b *harness.Broker) { b.Kill(t) }, false},
	} {
		t.Run(script{name: c.name}.title(), func(t *testing.T) {
			var kafka, other *harness.Broker
			var both sync.WaitGroup
			both.Go(func() { kafka = harness.Start(t, harness.Config{Kind: harness.Kafka, Properties: properties}) })
			other = harness.Start(t, harness.Config{Properties: properties})
			both.Wait()
			if kafka == nil {
				t.Fatal("Apache Kafka did not start")
			}
			sc := script{c.name, func(s *session) {
				after := s.beforeRestart(c.trim)
				s.hangUp()
				c.end(s.broker)
				s.broker.Run(t)
				after()
			}}
			compare(t, sc, kafka, other, announced(t, kafka))
		})
	}
}

// beforeRestart leaves traces of every kind and returns the questions about them.
func (s *session) beforeRestart(trim bool) (after func()) {
	name, id := s.topic("t", 2, "segment.bytes=1048576", "retention.ms=-1")
	trimmed, trimmedID := s.topic("trimmed", 1)
	gone, goneID := s.topic("gone", 1)
	group, simpleGroup := s.name("group"), s.name("simple")
	s.coordinate(group)
	s.coordinate(simpleGroup)
	const pid = 700_001
	put := func(label string, sequence int32, n int) {
		b := simple(n)
		b.time = s.began.UnixMilli() // what an old producer has written is forgotten at a restart
		b.pid, b.sequence = pid, sequence
		s.ask(label, produce(9, name, 0, b.bytes()))
	}
	for i := range int32(7) {
		put("idempotent", 2*i, 2)
	}
	s.write(name, 1, fakeBatch{records: []rec{{value: make([]byte, 1_000_000)}}}.bytes())
	s.write(name, 1, fakeBatch{records: []rec{{value: make([]byte, 1_000_000)}}}.bytes())
	for range 3 {
		s.write(trimmed, 0, simple(5).bytes())
	}
	if trim {
		s.ask("trims", deleteRecords(2, trimmed, 0, 7))
	}
	s.ask("deletes", deleteTopics(5, gone))
	s.gone(gone)
	s.ask("configures", incremental(1, resourceTopic, trimmed, change{0, "flush.ms", ptr("77")}))
	s.ask("configures the broker", incremental(1, resourceBroker, "1", change{0, "log.cleaner.threads", ptr("2")}))
	m := s.member(joining(5, group, ""))
	s.quiet(syncing(3, group, m.MemberID, m.Generation, assign(m.MemberID, "all")))
	s.ask("commits", commit(8, group, m.MemberID, m.Generation, name, 0, 5))
	s.ask("commits", commit(8, simpleGroup, "", -1, name, 1, 1))
	session := fetch(12, name, id, 0, 0)
	session.SessionEpoch = 0
	opened, _ := s.quiet(session).(*kmsg.FetchResponse)

	return func() {
		s.idOf(name, 2)
		s.idOf(trimmed, 1)
		s.coordinate(group)
		s.coordinate(simpleGroup)
		s.ask("topics", metadataByID(12, id, nil))
		s.ask("deleted topic", metadataByID(12, goneID, nil))
		s.ask("deleted topic by name", metadataOf(12, gone))
		s.ask("records", fetch(12, name, id, 0, 0))
		s.ask("records of the second partition", fetch(12, name, id, 1, 1))
		for v := int16(12); v <= 18; v++ { // from 16 on the answer says who leads
			old := fetch(v, name, id, 0, 0)
			old.Topics[0].Partitions[0].CurrentLeaderEpoch = 0
			s.ask("records of a leader epoch that is over", old)
		}
		s.ask("trimmed records", fetch(13, trimmed, trimmedID, 0, 0))
		s.ask("trimmed records", fetch(13, trimmed, trimmedID, 0, 7))
		for _, at := range []int64{-1, -2, -3, someTime, someTime + 1} {
			s.ask("offsets", listOffsets(7, name, 0, at))
			s.ask("offsets of the trimmed", listOffsets(7, trimmed, 0, at))
		}
		put("repeat of the last", 12, 2)
		put("repeat of the oldest in the window", 4, 2)
		put("repeat that has left the window", 0, 2)
		put("gap", 99, 1)
		put("next", 14, 1)
		s.ask("producers", describeProducers(name, 0))
		s.ask("committed", fetchOffsets(7, group, name, 0, 1))
		s.ask("committed", fetchOffsets(7, simpleGroup, name, 0, 1))
		s.describe("groups", 6, group, simpleGroup)
		s.ask("member beats on", heartbeat(4, group, m.MemberID, m.Generation))
		s.ask("member commits on", commit(8, group, m.MemberID, m.Generation, name, 0, 6))
		s.ask("member leaves", leaving(4, group, m.MemberID))
		s.askOnly("configuration", describeConfigs(4, resourceTopic, trimmed, "flush.ms"), func(kmsg.Response) {})
		s.ask("configuration of the broker", describeConfigs(4, resourceBroker, "1", "log.cleaner.threads"))
		if opened != nil {
			old := fetch(12, name, id, 0, 0)
			old.SessionID, old.SessionEpoch = 123456, 1
			s.ask("session of before", old)
		}
		init := kmsg.NewPtrInitProducerIDRequest()
		init.Version, init.ProducerID, init.ProducerEpoch = 4, -1, -1
		s.until("a producer id", init, func(r kmsg.Response) bool { return r.(*kmsg.InitProducerIDResponse).ErrorCode == 0 })
		s.ask("producer id", init)
		again, newID := s.topic("gone", 1)
		s.note("made again", map[bool]string{true: "new id", false: "same id"}[newID != goneID])
		s.ask("is empty", fetch(13, again, newID, 0, 0))
	}
}

func describeProducers(topic string, partitions ...int32) *kmsg.DescribeProducersRequest {
	req := kmsg.NewPtrDescribeProducersRequest()
	t := kmsg.NewDescribeProducersRequestTopic()
	t.Topic, t.Partitions = topic, partitions
	req.Topics = append(req.Topics, t)
	return req
}
