package broker_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// heldDisk is a broker with a topic "t" of two partitions, whose syncs of logs and journals wait while it is held, and fail
// while it is broken.
type heldDisk struct {
	*world
	mu     sync.RWMutex // held for writing: syncs wait
	held   bool
	syncs  atomic.Int64
	broken atomic.Bool
}

// hold has syncs wait, until release or the test's end.
func (h *heldDisk) hold() {
	h.mu.Lock()
	h.held = true
}

func (h *heldDisk) release() {
	if h.held {
		h.held = false
		h.mu.Unlock()
	}
}

func newHeldDisk(t *testing.T, settings map[string]string, configs ...string) *heldDisk {
	t.Helper()
	h := &heldDisk{}
	fs := vfs.WithFaults(vfs.NewMem(), func(op vfs.Op) error {
		journal := strings.Contains(op.Name, "moldau.journal/")
		if op.Kind != "Sync" || !journal && !(strings.Contains(op.Name, "t-") && strings.HasSuffix(op.Name, ".log")) {
			return nil
		}
		h.syncs.Add(1)
		h.mu.RLock()
		defer h.mu.RUnlock()
		if h.broken.Load() {
			return errDisk
		}
		return nil
	})
	b := brokertest.Start(t, brokertest.Options{FS: fs, Settings: settings, Quiet: true, Broken: true})
	t.Cleanup(h.release)
	h.world = &world{T: t, b: b, c: b.Dial()}
	h.id = createTopic(h.c, "t", 2, configs...)
	return h
}

// silent checks that nothing comes on a connection for a while.
func silent(t *testing.T, what string, c *brokertest.Client) {
	t.Helper()
	if raw, err := c.TryRecv(50 * time.Millisecond); err == nil {
		t.Fatalf("%s: answered with %d bytes before the disk has it", what, len(raw))
	}
}

// TestI31_AcksWaitForTheDisk: with moldau.durability=fsync an answer to acks=1 and acks=all comes after the sync, consumers
// see nothing before it, and later requests of the connection are appended meanwhile.
func TestI31_AcksWaitForTheDisk(t *testing.T) {
	for name, configs := range map[string][]string{
		"topic": {"moldau.durability", "fsync"}, "flush.messages": {"flush.messages", "1"}, "broker": nil,
	} {
		t.Run(name, func(t *testing.T) {
			var settings map[string]string
			if name == "broker" {
				settings = map[string]string{"moldau.durability": "fsync"}
			}
			h := newHeldDisk(t, settings, configs...)
			h.putAt(0, records(2, 10))
			h.putAt(2, records(1, 10))
			for _, acks := range []int16{1, -1} {
				end := h.end()
				h.hold()
				c := h.b.Dial()
				var sent []*kmsg.ProduceRequest
				for range 3 {
					req := produceRequest(13, "t", h.id, 0, acks, records(2, 100))
					c.Send(c.Encode(req))
					sent = append(sent, req)
				}
				h.appendedTo(end + 6)
				silent(t, fmt.Sprintf("acks=%d", acks), c)
				if got := h.end(); got != end {
					t.Fatalf("consumers see offsets up to %d, on disk is %d", got, end)
				}
				h.release()
				for i, req := range sent {
					p := c.Answer(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
					if p.ErrorCode != 0 || p.BaseOffset != end+int64(2*i) {
						t.Errorf("acks=%d, answer %d: %+v", acks, i, p)
					}
				}
				if got := h.end(); got != end+6 {
					t.Errorf("consumers see offsets up to %d, want %d", got, end+6)
				}
			}
			families, err := h.b.Metrics().Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if f.GetName() == "moldau_journal_sync_seconds" && f.GetMetric()[0].GetHistogram().GetSampleCount() == 0 ||
					f.GetName() == "moldau_journal_batches_total" && f.GetMetric()[0].GetCounter().GetValue() < 8 {
					t.Errorf("%v", f)
				}
			}
			h.hold()
			end := h.end()
			req := produceRequest(13, "t", h.id, 0, 0, records(1, 10))
			h.c.Send(h.c.Encode(req)) // acks=0 has no answer to wait for
			h.appendedTo(end + 1)
			h.release()
		})
	}
}

// appendedTo waits until partition 0 ends at an offset, committed or not.
func (h *heldDisk) appendedTo(end int64) {
	h.Helper()
	until(h.T, fmt.Sprintf("the log's end at %d", end), func() bool { return logEnd(h.T, h.b) == end })
}

// logEnd is where t-0 ends, as the metrics say.
func logEnd(t *testing.T, b *brokertest.Broker) int64 {
	families, err := b.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "moldau_log_end_offset" {
			continue
		}
		for _, m := range f.GetMetric() {
			if l := m.GetLabel(); l[0].GetValue() == "0" && l[1].GetValue() == "t" {
				return int64(m.GetGauge().GetValue())
			}
		}
	}
	return -1
}

// setTopic changes one configuration of a topic.
func setTopic(c *brokertest.Client, topic, name, value string) {
	c.T.Helper()
	req := kmsg.NewPtrIncrementalAlterConfigsRequest()
	rr := kmsg.NewIncrementalAlterConfigsRequestResource()
	rr.ResourceType, rr.ResourceName = kmsg.ConfigResourceTypeTopic, topic
	rc := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
	rc.Name, rc.Value = name, &value
	rr.Configs = append(rr.Configs, rc)
	req.Resources = append(req.Resources, rr)
	resp := c.Do(brokertest.Latest(req)).(*kmsg.IncrementalAlterConfigsResponse)
	if code := protocol.Code(resp.Resources[0].ErrorCode); code != protocol.None {
		c.T.Fatalf("set %s=%s: %v", name, value, code)
	}
}

// TestI31_AConsumerThatWaitsIsWokenByTheDisk, as it is by an append where nothing waits for the disk.
func TestI31_AConsumerThatWaitsIsWokenByTheDisk(t *testing.T) {
	h := newHeldDisk(t, nil, "moldau.durability", "fsync")
	h.putAt(0, records(1, 10))
	consumer := h.b.Dial()
	req := fetchRequest(13, "t", h.id, fetchFrom(0, 1))
	req.MinBytes, req.MaxWaitMillis = 1, 20_000
	consumer.Send(consumer.Encode(req))
	h.hold()
	producer := h.b.Dial()
	producer.Send(producer.Encode(produceRequest(13, "t", h.id, 0, 1, records(3, 10))))
	h.appendedTo(4)
	silent(t, "fetch", consumer)
	h.release()
	resp := consumer.Answer(req).(*kmsg.FetchResponse)
	if n := countRecords(t, resp.Topics[0].Partitions[0].RecordBatches); n != 3 {
		t.Errorf("%d records", n)
	}
}

// TestI32_AFailedSyncAcknowledgesNothing: who waits is told at once, by a code on which it tries again, and the partition
// stays offline until the broker is started anew; one that does not count on the disk goes on.
func TestI32_AFailedSyncAcknowledgesNothing(t *testing.T) {
	h := newHeldDisk(t, nil, "moldau.durability", "fsync")
	other := createTopic(h.c, "plain", 1)
	h.putAt(0, records(1, 10))
	h.putAt(1, records(1, 10)) // from here on the journal is used
	h.hold()
	h.broken.Store(true)
	var cs []*brokertest.Client
	req := produceRequest(13, "t", h.id, 0, 1, records(1, 10))
	for i, acks := range []int16{1, -1, 1} {
		c := h.b.Dial()
		req := produceRequest(13, "t", h.id, 0, acks, records(1, 10))
		c.Send(c.Encode(req))
		cs = append(cs, c)
		h.appendedTo(int64(3 + i))
	}
	h.release()
	for _, c := range cs {
		p := c.Answer(req).(*kmsg.ProduceResponse).Topics[0].Partitions[0]
		if protocol.Code(p.ErrorCode) != protocol.KafkaStorageError || p.BaseOffset != -1 {
			t.Errorf("answer %+v", p)
		}
	}
	h.broken.Store(false)
	h.refused("while it is offline", protocol.KafkaStorageError, records(1, 10))
	if p := produce(h.c, 13, "plain", other, 0, -1, records(1, 10)); p.ErrorCode != 0 {
		t.Errorf("a topic that does not count on the disk: %v", protocol.Code(p.ErrorCode))
	}
	h.b.Restart()
	h.c = h.b.Dial()
	if end := h.end(); end < 2 {
		t.Errorf("the log ends at %d, 2 records were acknowledged", end)
	}
}

// TestDurabilityIsChangedWhileProducersRun switches a topic to and fro under load: every request is answered, and in order.
func TestDurabilityIsChangedWhileProducersRun(t *testing.T) {
	h := newHeldDisk(t, nil)
	var stop atomic.Bool
	var wg sync.WaitGroup
	var answered [2]atomic.Int64
	for i := range int32(4) {
		wg.Go(func() {
			c := h.b.Dial()
			for !stop.Load() {
				p := produce(c, 13, "t", h.id, i%2, []int16{1, -1}[i/2], records(1, 50))
				if p.ErrorCode != 0 {
					t.Errorf("partition %d: %v", i, protocol.Code(p.ErrorCode))
					return
				}
				answered[i%2].Add(1)
			}
		})
	}
	for i := range 30 {
		setTopic(h.c, "t", "moldau.durability", []string{"fsync", "kafka"}[i%2])
		at := answered[0].Load()
		until(t, "more answers", func() bool { return answered[0].Load() > at+20 || t.Failed() })
	}
	stop.Store(true)
	wg.Wait()
	if h.syncs.Load() == 0 {
		t.Error("nothing was synced")
	}
	if got := h.end(); got != answered[0].Load() {
		t.Errorf("the log ends at %d, %d appends were acknowledged", got, answered[0].Load())
	}
}

// TestCommittedOffsetsWaitForTheDisk: the coordinator's partitions follow the same configuration.
func TestCommittedOffsetsWaitForTheDisk(t *testing.T) {
	h := &heldDisk{}
	fs := vfs.WithFaults(vfs.NewMem(), func(op vfs.Op) error {
		if op.Kind == "Sync" && (strings.Contains(op.Name, "moldau.journal/") ||
			strings.Contains(op.Name, "__consumer_offsets") && strings.HasSuffix(op.Name, ".log")) {
			h.mu.RLock()
			defer h.mu.RUnlock()
		}
		return nil
	})
	b := brokertest.Start(t, brokertest.Options{FS: fs, Quiet: true, Settings: map[string]string{"moldau.durability": "fsync"}})
	t.Cleanup(h.release)
	c := b.Dial()
	createTopic(c, "t", 1)
	commit := func(offset int64) *kmsg.OffsetCommitRequest {
		req := kmsg.NewPtrOffsetCommitRequest()
		req.Version, req.Group, req.Generation = 8, "g", -1
		rt := kmsg.NewOffsetCommitRequestTopic()
		rt.Topic = "t"
		rp := kmsg.NewOffsetCommitRequestTopicPartition()
		rp.Offset = offset
		rt.Partitions = append(rt.Partitions, rp)
		req.Topics = append(req.Topics, rt)
		return req
	}
	find := kmsg.NewPtrFindCoordinatorRequest()
	find.CoordinatorKeys = []string{"g"}
	until(t, "a coordinator", func() bool {
		c.Do(brokertest.Latest(find))
		resp := c.Do(commit(1)).(*kmsg.OffsetCommitResponse)
		return resp.Topics[0].Partitions[0].ErrorCode == 0
	})
	h.hold()
	req := commit(2)
	c.Send(c.Encode(req))
	silent(t, "commit", c)
	h.release()
	if resp := c.Answer(req).(*kmsg.OffsetCommitResponse); resp.Topics[0].Partitions[0].ErrorCode != 0 {
		t.Errorf("%+v", resp)
	}
}

// TestI14_WhatWasAcknowledgedIsThereAtOnceAfterAKill: a process is killed whose log was durable further than its checkpoints
// say. The next one must show all that was acknowledged from its first answer on, and not only when a flush has come by.
func TestI14_WhatWasAcknowledgedIsThereAtOnceAfterAKill(t *testing.T) {
	mem := vfs.NewMem()
	b := brokertest.Start(t, brokertest.Options{FS: mem, Settings: map[string]string{"moldau.durability": "fsync"}, Quiet: true})
	w := &world{T: t, b: b, c: b.Dial()}
	w.id = createTopic(w.c, "t", 1)
	w.putAt(0, records(2, 100)) // the first append has the log's own file synced: the journal has nothing to bring back
	left := mem.KillClone()
	b.Stop()

	var disk sync.RWMutex
	disk.Lock() // no flush comes by
	slow := vfs.WithFaults(left, func(op vfs.Op) error {
		if op.Kind == "Sync" && strings.Contains(op.Name, "t-0/") {
			disk.RLock()
			defer disk.RUnlock()
		}
		return nil
	})
	again := brokertest.Start(t, brokertest.Options{FS: slow, Settings: map[string]string{"moldau.durability": "fsync"}, Quiet: true})
	w = &world{T: t, b: again, c: again.Dial(), id: w.id}
	ends := make(chan int64, 1)
	go func() { ends <- w.end() }()
	select {
	case end := <-ends:
		disk.Unlock()
		t.Fatalf("answered that the log ends at %d before the disk has what was acknowledged", end)
	case <-time.After(50 * time.Millisecond):
	}
	disk.Unlock()
	if end := <-ends; end != 2 {
		t.Errorf("the first answer after a kill says that the log ends at %d, 2 records were acknowledged", end)
	}
}
