package broker_test

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
)

// counted is the sum of a metric over its labels.
func counted(t testing.TB, b *brokertest.Broker, name string) (sum float64) {
	t.Helper()
	families, err := b.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == name {
			for _, m := range f.GetMetric() {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	return sum
}

// everyRequest is one request of every API at every version, as bytes.
func everyRequest(c *brokertest.Client, each func(api protocol.API, version int16, frame []byte)) {
	for _, api := range protocol.APIs() {
		for v := api.Min; v <= api.Max; v++ {
			each(api, v, c.Encode(brokertest.At(v, api.New())))
		}
	}
}

func TestRule010_BytesBehindABodyAreIgnored(t *testing.T) {
	w := newWorld(t)
	everyRequest(w.c, func(api protocol.API, v int16, frame []byte) {
		if api.Name == "Produce" || api.Name == "JoinGroup" || api.Name == "SyncGroup" {
			return // answered otherwise, or later
		}
		frame = append(frame, 1, 2, 3, 4, 5)
		binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
		w.c.Send(frame)
		if _, err := w.c.TryRecv(10 * time.Second); err != nil {
			t.Errorf("%s version %d: %v", api.Name, v, err)
			w.c = w.b.Dial()
		}
	})
}

func TestRule001_ABodyCutShortAnywhereHarmsNobody(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, records(1, 10))
	frames := [][]byte{
		w.c.Encode(produceRequest(9, "t", w.id, 0, 1, records(1, 10))),
		w.c.Encode(produceRequest(13, "t", w.id, 0, 1, records(1, 10))),
		w.c.Encode(fetchRequest(18, "t", w.id, fetchFrom(0, 0), fetchFrom(1, 0))),
		w.c.Encode(fetchRequest(4, "t", w.id, fetchFrom(0, 0))),
	}
	var wg sync.WaitGroup
	for _, frame := range frames {
		wg.Go(func() {
			for n := 12; n < len(frame); n++ {
				cut := append([]byte(nil), frame[:n]...)
				binary.BigEndian.PutUint32(cut, uint32(n-4))
				c := w.b.Dial()
				c.Send(cut)
				if _, err := c.TryRecv(10 * time.Second); err != nil && strings.Contains(err.Error(), "timeout") {
					t.Errorf("cut at %d: neither an answer nor the end", n)
				}
				_ = c.Conn.Close()
			}
		})
	}
	wg.Wait()
	if n := counted(t, w.b, "moldau_handler_panics_total"); n != 0 {
		t.Errorf("%v handlers panicked", n)
	}
	w.putAt(w.end(), records(1, 10))
}

func TestHalfAFrameAndSilenceHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	frame := w.c.Encode(produceRequest(13, "t", w.id, 0, 1, records(100, 1000)))
	for n := range 40 {
		w.b.Dial().Send(frame[:1+n*len(frame)/41])
	}
	w.putAt(0, records(1, 10))
	if n := counted(t, w.b, "moldau_request_memory_bytes"); n > 41*128<<10 {
		t.Errorf("half frames hold %v bytes", n)
	}
}

func TestDeclaredSizesCostNothing(t *testing.T) {
	w := newWorld(t)
	before := counted(t, w.b, "go_memstats_heap_sys_bytes")
	for range 20 {
		head := w.c.Encode(produceRequest(13, "t", w.id, 0, 1, nil))[:20]
		binary.BigEndian.PutUint32(head, 100<<20)
		w.b.Dial().Send(head)
	}
	w.putAt(0, records(1, 10))
	if after := counted(t, w.b, "go_memstats_heap_sys_bytes"); after-before > 64<<20 {
		t.Errorf("20 frames that declare 100 MiB each took %v bytes", after-before)
	}
}

func TestARequestOfTooManyPartitions(t *testing.T) {
	w := newWorld(t)
	parts := make([]kmsg.FetchRequestTopicPartition, 100_001)
	w.c.Send(w.c.Encode(fetchRequest(4, "t", w.id, parts...)))
	w.c.Closed()
	c := w.b.Dial()
	req := produceRequest(9, "t", w.id, 0, 1, nil)
	req.Topics[0].Partitions = make([]kmsg.ProduceRequestTopicPartition, 100_001)
	c.Send(c.Encode(req))
	c.Closed()
}

// FuzzConnection sends what it is given to a broker, in frames whose sizes are right, and sees that the broker neither
// panics nor stops answering others. Each frame is: API (an index), version, then a body up to a length byte pair.
func FuzzConnection(f *testing.F) {
	seed := &brokertest.Client{ID: "f"}
	everyRequest(seed, func(_ protocol.API, _ int16, frame []byte) { f.Add(frame) })
	rng := rand.New(rand.NewPCG(1, 2))
	var mixed []byte
	everyRequest(seed, func(_ protocol.API, _ int16, frame []byte) {
		if rng.IntN(6) == 0 {
			mixed = append(mixed, frame...)
		}
	})
	f.Add(mixed)
	b := brokertest.Start(f, brokertest.Options{Quiet: true, Settings: map[string]string{
		"auto.create.topics.enable": "false", "socket.request.max.bytes": "200000",
	}})
	c := b.Dial()
	id := createTopic(c, "t", 2)
	f.Add(c.Encode(produceRequest(9, "t", id, 0, 1, records(2, 10))))
	f.Add(append(c.Encode(fetchRequest(12, "t", id, fetchFrom(0, 0))),
		c.Encode(fetchRequest(12, "t", id, fetchFrom(1, 0)))...))
	f.Fuzz(func(t *testing.T, data []byte) {
		c.T = t
		bad := brokertest.Dial(t, b.Addr)
		for len(data) > 0 {
			n := len(data)
			if len(data) >= 4 {
				n = min(n, 4+int(binary.BigEndian.Uint32(data)%4096))
			}
			frame := append([]byte(nil), data[:n]...)
			if len(frame) >= 4 {
				binary.BigEndian.PutUint32(frame, uint32(len(frame)-4))
			}
			data = data[n:]
			if _, err := bad.Conn.Write(frame); err != nil {
				break // refused already
			}
		}
		_, _ = bad.TryRecv(2 * time.Millisecond)
		_ = bad.Conn.Close()
		if resp := c.Do(kmsg.NewPtrApiVersionsRequest()).(*kmsg.ApiVersionsResponse); resp.ErrorCode != 0 {
			t.Errorf("the other connection got error %d", resp.ErrorCode)
		}
		if n := counted(t, b, "moldau_handler_panics_total"); n != 0 {
			t.Fatalf("%v handlers panicked", n)
		}
	})
}

// manyOf is a Fetch or a Produce that names the partitions of one topic, which is not there and has a name of 32,000 bytes.
func manyOf(c *brokertest.Client, key int16, partitions int) []byte {
	name := strings.Repeat("x", 32_000)
	if key == 1 {
		parts := make([]kmsg.FetchRequestTopicPartition, partitions)
		for i := range parts {
			parts[i] = fetchFrom(int32(i), 0)
		}
		return c.Encode(fetchRequest(4, name, protocol.TopicID{}, parts...))
	}
	req := produceRequest(9, name, protocol.TopicID{}, 0, 1, nil)
	req.Topics[0].Partitions = make([]kmsg.ProduceRequestTopicPartition, partitions)
	for i := range req.Topics[0].Partitions {
		req.Topics[0].Partitions[i].Partition = int32(i)
	}
	return c.Encode(req)
}

func TestALongNameIsKeptOnceForAllPartitionsOfATopic(t *testing.T) {
	w := newWorld(t)
	for _, key := range []int16{0, 1} {
		frame := manyOf(w.c, key, 20_000)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		w.c.Send(frame)
		if _, err := w.c.TryRecv(20 * time.Second); err != nil {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		if took := after.TotalAlloc - before.TotalAlloc; took > 100<<20 {
			t.Errorf("API %d: %d MiB were allocated for a frame of %d bytes", key, took>>20, len(frame))
		}
	}
}

func TestARequestOfTooManyPartitionsIsRefused(t *testing.T) {
	w := newWorld(t)
	for _, key := range []int16{0, 1} {
		c := w.b.Dial()
		c.Send(manyOf(c, key, 100_001))
		if _, err := c.TryRecv(20 * time.Second); err == nil {
			t.Errorf("API %d: answered", key)
		}
	}
}

// No client uses a session on two connections; what it gets is its own affair, but it must not be a race (go test -race).
func TestASessionThatTwoConnectionsUse(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, records(1, 10))
	open := fetchRequest(13, "", w.id, fetchFrom(0, 0), fetchFrom(1, 0))
	open.SessionEpoch = 0
	session := w.c.Do(open).(*kmsg.FetchResponse).SessionID
	var wg sync.WaitGroup
	for range 2 {
		c := w.b.Dial()
		wg.Go(func() {
			for i := range int32(500) {
				req := fetchRequest(13, "", w.id, fetchFrom(0, int64(i%10)))
				req.SessionID, req.SessionEpoch, req.MaxWaitMillis, req.MinBytes = session, 1+i/2, 1, 1<<20
				c.Send(c.Encode(req))
				if _, err := c.TryRecv(20 * time.Second); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}
