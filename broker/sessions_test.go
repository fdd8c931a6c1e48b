package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
)

// session is a client's side of an incremental fetch session on the topic "t".
type session struct {
	*world
	c         *brokertest.Client
	version   int16
	id, epoch int32
}

// begin asks for a session on partitions.
func (w *world) begin(version int16, parts ...kmsg.FetchRequestTopicPartition) (*session, *kmsg.FetchResponse) {
	w.Helper()
	s := &session{world: w, c: w.c, version: version}
	resp := s.ask(parts)
	if resp.ErrorCode != 0 || resp.SessionID == 0 {
		w.Fatalf("no session: %+v", resp)
	}
	s.id, s.epoch = resp.SessionID, 1
	return s, resp
}

// ask sends the session's next request as it stands.
func (s *session) ask(parts []kmsg.FetchRequestTopicPartition, forget ...int32) *kmsg.FetchResponse {
	s.Helper()
	req := fetchRequest(s.version, "t", s.world.id, parts...)
	if len(parts) == 0 {
		req.Topics = nil
	}
	if len(forget) > 0 {
		ft := kmsg.NewFetchRequestForgottenTopic()
		ft.Topic, ft.TopicID, ft.Partitions = "t", s.world.id, forget
		req.ForgottenTopics = append(req.ForgottenTopics, ft)
	}
	req.SessionID, req.SessionEpoch = s.id, s.epoch
	return s.c.Do(req).(*kmsg.FetchResponse)
}

// next is ask for a session in good order.
func (s *session) next(parts []kmsg.FetchRequestTopicPartition, forget ...int32) *kmsg.FetchResponse {
	s.Helper()
	resp := s.ask(parts, forget...)
	if resp.ErrorCode != 0 || resp.SessionID != s.id {
		s.Fatalf("error %v, session %d", protocol.Code(resp.ErrorCode), resp.SessionID)
	}
	s.epoch++
	return resp
}

// sketch is an answer as "partition:records" in its order, with an error in place of the records.
func sketch(t *testing.T, resp *kmsg.FetchResponse) string {
	t.Helper()
	var out []string
	for _, rt := range resp.Topics {
		for _, p := range rt.Partitions {
			if p.ErrorCode != 0 {
				out = append(out, fmt.Sprintf("%d:%v", p.Partition, protocol.Code(p.ErrorCode)))
			} else {
				out = append(out, fmt.Sprintf("%d:%d", p.Partition, countRecords(t, p.RecordBatches)))
			}
		}
	}
	return strings.Join(out, " ")
}

func TestRule067_068_EpochsOfASession(t *testing.T) {
	for _, version := range []int16{7, 12, 13, 18} {
		w := newWorld(t)
		s, resp := w.begin(version, fetchFrom(0, 0), fetchFrom(1, 0))
		if got := sketch(t, resp); got != "0:0 1:0" {
			t.Errorf("a full fetch tells of every partition: %s", got)
		}
		for range 3 {
			if got := sketch(t, s.next(nil)); got != "" {
				t.Errorf("nothing new: %s", got)
			}
		}
		check := func(what string, want protocol.Code) {
			t.Helper()
			resp := s.ask(nil)
			if protocol.Code(resp.ErrorCode) != want || len(resp.Topics) != 0 || resp.SessionID != 0 {
				t.Errorf("version %d, %s: %+v", version, what, resp)
			}
		}
		s.epoch++
		check("an epoch too late", protocol.InvalidFetchSessionEpoch)
		s.epoch -= 2
		check("an epoch again", protocol.InvalidFetchSessionEpoch)
		s.epoch++
		id := s.id
		s.id++
		check("an unknown session", protocol.FetchSessionIDNotFound)
		s.id = id
		s.next(nil) // the session has taken no harm

		// Epoch -1 with an id ends it, and 0 ends it and begins another.
		s.epoch = -1
		resp = s.ask([]kmsg.FetchRequestTopicPartition{fetchFrom(0, 0)})
		if resp.SessionID != 0 || sketch(t, resp) != "0:0" {
			t.Errorf("version %d, the end: %+v", version, resp)
		}
		s.epoch = 4
		check("a session that has ended", protocol.FetchSessionIDNotFound)
	}
}

func TestRule066_ASessionKeepsToNamesOrToIDs(t *testing.T) {
	w := newWorld(t)
	s, _ := w.begin(12, fetchFrom(0, 0))
	s.version = 13
	if resp := s.ask(nil); protocol.Code(resp.ErrorCode) != protocol.FetchSessionTopicIDError {
		t.Errorf("%+v", resp)
	}
	s, _ = w.begin(13, fetchFrom(0, 0))
	s.version = 12
	if resp := s.ask(nil); protocol.Code(resp.ErrorCode) != protocol.FetchSessionTopicIDError {
		t.Errorf("%+v", resp)
	}
}

func TestRule069_071_AnIncrementalAnswerTellsWhatIsNew(t *testing.T) {
	w := newWorld(t)
	s, _ := w.begin(18, fetchFrom(0, 0), fetchFrom(1, 0))
	w.putAt(0, records(2, 10))
	if got := sketch(t, s.next(nil)); got != "0:2" {
		t.Errorf("records: %s", got)
	}
	if got := sketch(t, s.next(nil)); got != "0:2" { // the offset has not been moved, so it is read again
		t.Errorf("the same offset: %s", got)
	}
	if got := sketch(t, s.next([]kmsg.FetchRequestTopicPartition{fetchFrom(0, 2)})); got != "" {
		t.Errorf("the offset moved to the end: %s", got)
	}
	bad := fetchFrom(1, 99)
	for range 2 { // an error is told every time
		if got := sketch(t, s.next([]kmsg.FetchRequestTopicPartition{bad})); got != "1:OFFSET_OUT_OF_RANGE" {
			t.Errorf("an error: %s", got)
		}
		if got := sketch(t, s.next(nil)); got != "1:OFFSET_OUT_OF_RANGE" {
			t.Errorf("the error again: %s", got)
		}
	}
	if got := sketch(t, s.next([]kmsg.FetchRequestTopicPartition{fetchFrom(1, 0)})); got != "1:0" {
		t.Errorf("the error is over: %s", got)
	}
	// The log start moves: told, though there are no records.
	deleteRecords(w.c, "t", 0, 1)
	if got := sketch(t, s.next(nil)); got != "0:0" {
		t.Errorf("the log start moved: %s", got)
	}
	if got := sketch(t, s.next(nil)); got != "" {
		t.Errorf("nothing new: %s", got)
	}
}

func TestRule070_ForgettingTheLastPartitionEndsTheSession(t *testing.T) {
	w := newWorld(t)
	s, _ := w.begin(18, fetchFrom(0, 0), fetchFrom(1, 0))
	s.next(nil, 0)
	w.putAt(0, records(1, 10))
	if got := sketch(t, s.next(nil)); got != "" {
		t.Errorf("a forgotten partition: %s", got)
	}
	if resp := s.ask(nil, 1); resp.ErrorCode != 0 || resp.SessionID != 0 {
		t.Errorf("the last one forgotten: %+v", resp)
	}
	s.epoch++
	if resp := s.ask(nil); protocol.Code(resp.ErrorCode) != protocol.FetchSessionIDNotFound {
		t.Errorf("after the end: %+v", resp)
	}
}

func TestRule061_C54_PartitionsTakeTurns(t *testing.T) {
	w := newWorld(t)
	id := createTopic(w.c, "many", 6)
	w.id = id
	var parts []kmsg.FetchRequestTopicPartition
	size := int32(len(records(1, 1000)))
	for i := range int32(6) {
		for range 20 {
			produce(w.c, 13, "", id, i, 1, records(1, 1000))
		}
		fp := fetchFrom(i, 0)
		fp.PartitionMaxBytes = size
		parts = append(parts, fp)
	}
	req := fetchRequest(13, "", id, parts...)
	req.SessionEpoch, req.MaxBytes = 0, 2*size
	resp := w.c.Do(req).(*kmsg.FetchResponse)
	sid := resp.SessionID
	served := map[int32]int{}
	next := map[int32]int64{}
	for epoch := int32(1); epoch <= 30; epoch++ {
		req := fetchRequest(13, "", id)
		req.Topics = nil
		if epoch > 1 {
			var moved []kmsg.FetchRequestTopicPartition
			for i, n := range next {
				fp := fetchFrom(i, n)
				fp.PartitionMaxBytes = size
				moved = append(moved, fp)
			}
			req = fetchRequest(13, "", id, moved...)
		}
		req.SessionID, req.SessionEpoch, req.MaxBytes = sid, epoch, 2*size
		resp := w.c.Do(req).(*kmsg.FetchResponse)
		clear(next)
		for _, rt := range resp.Topics {
			for _, p := range rt.Partitions {
				if len(p.RecordBatches) > 0 {
					served[p.Partition]++
					next[p.Partition] = int64(served[p.Partition])
				}
			}
		}
	}
	for i := range int32(6) {
		if served[i] < 9 || served[i] > 11 {
			t.Errorf("30 rounds of 2 batches: partition %d was served %d times (%v)", i, served[i], served)
		}
	}
}

func TestC57_ARecreatedTopicIsAnotherOne(t *testing.T) {
	w := newWorld(t)
	s, _ := w.begin(13, fetchFrom(0, 0))
	deleteTopic(w.c, w.id)
	if got := sketch(t, s.next(nil)); got != "0:UNKNOWN_TOPIC_OR_PARTITION" {
		t.Errorf("deleted: %s", got)
	}
	old := w.id
	again := createTopic(w.c, "t", 1)
	if again == old {
		t.Fatal("the same id again")
	}
	if got := sketch(t, s.next(nil)); got != "0:INCONSISTENT_TOPIC_ID" {
		t.Errorf("created again: %s", got)
	}
	if got := sketch(t, fetch(w.c, 13, "", old, fetchFrom(0, 0))); got != "0:UNKNOWN_TOPIC_ID" {
		t.Errorf("the old id without a session: %s", got)
	}
	if got := sketch(t, fetch(w.c, 12, "t", old, fetchFrom(0, 0))); got != "0:0" {
		t.Errorf("by name: %s", got)
	}
}

func TestC56_AnIncrementalFetchWaits(t *testing.T) {
	w := newWorld(t)
	s, _ := w.begin(18, fetchFrom(0, 0), fetchFrom(1, 0))
	req := fetchRequest(18, "t", w.id)
	req.Topics, req.SessionID, req.SessionEpoch, req.MaxWaitMillis = nil, s.id, s.epoch, 20_000
	w.c.Send(w.c.Encode(req))
	other := w.b.Dial()
	produce(other, 13, "t", w.id, 1, 1, records(3, 10))
	if got := sketch(t, w.c.Answer(req).(*kmsg.FetchResponse)); got != "1:3" {
		t.Errorf("%s", got)
	}
}

func TestRule067_NoSlotForASession(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{Settings: map[string]string{
		"max.incremental.fetch.session.cache.slots": "2",
	}})
	c := b.Dial()
	id := createTopic(c, "t", 1)
	for i := range 4 {
		req := fetchRequest(18, "t", id, fetchFrom(0, 0))
		req.SessionEpoch = 0
		resp := c.Do(req).(*kmsg.FetchResponse)
		if resp.ErrorCode != 0 || (resp.SessionID != 0) != (i < 2) {
			t.Errorf("session %d: id %d", i, resp.SessionID)
		}
	}
}
