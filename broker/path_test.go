package broker_test

import (
	"encoding/binary"
	"io"
	"net"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
	"go.uber.org/goleak"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// exchange sends a request and reads its answer, allocating nothing.
func exchange(b *testing.B, nc net.Conn, req, buf []byte) []byte {
	if _, err := nc.Write(req); err != nil {
		b.Fatal(err)
	}
	if _, err := io.ReadFull(nc, buf[:4]); err != nil {
		b.Fatal(err)
	}
	n := binary.BigEndian.Uint32(buf)
	if _, err := io.ReadFull(nc, buf[:n]); err != nil {
		b.Fatal(err)
	}
	return buf[:n]
}

func benchBroker(b *testing.B) (*brokertest.Client, protocol.TopicID) {
	br := brokertest.Start(b, brokertest.Options{FS: vfs.OS(), Dirs: []string{b.TempDir()}, Quiet: true})
	c := br.Dial()
	return c, createTopic(c, "t", 1)
}

// BenchmarkProduce is a ready-made request of 16 records of 1 KB, one at a time: what the broker costs a request, and
// that it allocates nearly nothing.
func BenchmarkProduce(b *testing.B) {
	c, id := benchBroker(b)
	recs := records(16, 1000)
	raw := c.Encode(produceRequest(13, "t", id, 0, -1, recs))
	buf := make([]byte, 1<<16)
	b.SetBytes(int64(len(recs)))
	b.ReportAllocs()
	for b.Loop() {
		exchange(b, c.Conn, raw, buf)
	}
}

// BenchmarkFetch reads the same 64 KB again and again.
func BenchmarkFetch(b *testing.B) {
	c, id := benchBroker(b)
	for range 8 {
		produce(c, 13, "t", id, 0, -1, records(16, 1000))
	}
	fp := fetchFrom(0, 0)
	fp.PartitionMaxBytes = 64 << 10
	raw := c.Encode(fetchRequest(13, "t", id, fp))
	buf := make([]byte, 1<<20)
	b.SetBytes(64 << 10)
	b.ReportAllocs()
	for b.Loop() {
		exchange(b, c.Conn, raw, buf)
	}
}

// BenchmarkFetchSession is an incremental fetch of a session with 100 partitions that has nothing to be told.
func BenchmarkFetchSession(b *testing.B) {
	br := brokertest.Start(b, brokertest.Options{Quiet: true})
	c := br.Dial()
	id := createTopic(c, "t", 100)
	var parts []kmsg.FetchRequestTopicPartition
	for i := range int32(100) {
		parts = append(parts, fetchFrom(i, 0))
	}
	req := fetchRequest(13, "t", id, parts...)
	req.SessionEpoch = 0
	resp := c.Do(req).(*kmsg.FetchResponse)
	req.Topics, req.SessionID, req.SessionEpoch = nil, resp.SessionID, 1
	raw := c.Encode(req)
	at := 4 + 2 + 2 + 4 + 2 + len(c.ID) + 1 + 4 + 4 + 4 + 4 + 1 + 4 // where v13 has the session epoch
	buf := make([]byte, 1<<16)
	b.ReportAllocs()
	for epoch := uint32(1); b.Loop(); epoch++ {
		binary.BigEndian.PutUint32(raw[at:], epoch)
		if got := exchange(b, c.Conn, raw, buf); binary.BigEndian.Uint16(got[9:]) != 0 {
			b.Fatalf("answer %x", got)
		}
	}
}

func TestTheWayOfARequestAllocatesNearlyNothing(t *testing.T) {
	br := brokertest.Start(t, brokertest.Options{FS: vfs.OS(), Dirs: []string{t.TempDir()}})
	c := br.Dial()
	id := createTopic(c, "t", 1)
	buf := make([]byte, 1<<20)
	fp := fetchFrom(0, 0)
	fp.PartitionMaxBytes = 64 << 10
	for name, raw := range map[string][]byte{
		"Produce": c.Encode(produceRequest(13, "t", id, 0, -1, records(16, 1000))),
		"Fetch":   c.Encode(fetchRequest(13, "t", id, fp)),
	} {
		do := func() {
			if _, err := c.Conn.Write(raw); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c.Conn, buf[:4]); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(c.Conn, buf[:binary.BigEndian.Uint32(buf)]); err != nil {
				t.Fatal(err)
			}
		}
		if n := testing.AllocsPerRun(500, do); n > 8 {
			t.Errorf("%s: %v allocations a request", name, n)
		}
	}
}

func TestABrokerLeavesNothingBehind(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	br := brokertest.Start(t, brokertest.Options{})
	c := br.Dial()
	id := createTopic(c, "t", 3)
	produce(c, 13, "t", id, 0, -1, records(1, 10))
	req := fetchRequest(13, "t", id, fetchFrom(1, 0))
	req.MaxWaitMillis = 60_000
	c.Send(c.Encode(req)) // still waiting when the broker stops
	br.Stop()
}
