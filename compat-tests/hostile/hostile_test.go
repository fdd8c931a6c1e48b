//go:build compat

package hostile

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
)

const (
	topic        = "honest"
	memoryOnTop  = 256 << 20 // what the broker may take beyond what it was sent
	groupsTimes  = 4         // how much of what groups are sent: a commit is decoded, decided and encoded
	latencyGrows = 40        // how often the honest client's median may become of what it was, at most; the tests' own load counts
	latencyFloor = 25 * time.Millisecond
)

// TestHostileLoadHarmsNobody runs every attack while one client goes on producing and consuming. It must lose nothing and
// stay fast, the broker's memory must stay bounded, and in the end nothing of the attackers may be left.
func TestHostileLoadHarmsNobody(t *testing.T) {
	b := harness.Start(t, harness.Config{Kind: harness.Moldau}) // it is asked at its admin address, and its limits are its own
	w := &world{T: t, b: b, h: startHonest(t, b.Addr)}
	calm := w.h.median(t, 200)
	w.makeGroups()
	goroutines, files := w.goroutines(), w.files()
	silent := w.fallSilent()
	for _, attack := range []struct {
		name  string
		run   func(*world)
		times int64 // of what is sent, what the broker may take besides
	}{
		{"garbage", garbage, 1}, {"lengths", lengths, 1}, {"declared", declared, 1}, {"partitions", partitions, 1},
		{"tags", tags, 1}, {"bombs", bombs, 1}, {"crowd", crowd, 1}, {"readers", readers, 1}, {"groups", groups, groupsTimes},
	} {
		began := time.Now()
		w.memory = 0
		sent := w.sent.Load()
		stop := w.watchMemory()
		sampled := make(chan time.Duration, 1)
		attacked := make(chan struct{})
		go func() { sampled <- w.h.during(attacked, 100) }()
		attack.run(w)
		close(attacked)
		during := <-sampled
		stop()
		t.Logf("%s: %.1f s, %d MiB sent, %d MiB resident at most, median %v (calm %v)", attack.name,
			time.Since(began).Seconds(), (w.sent.Load()-sent)>>20, w.memory>>20, during, calm)
		if most := attack.times*(w.sent.Load()-sent) + memoryOnTop; w.memory > most {
			t.Errorf("%s: %d MiB resident", attack.name, w.memory>>20)
		}
		if during > max(latencyGrows*calm, latencyFloor) {
			t.Errorf("%s: the honest client's median is %v, was %v", attack.name, during, calm)
		}
	}
	w.h.median(t, 100)
	silent()
	w.h.finish(t)
	w.settles("goroutines", w.goroutines, goroutines+20)
	w.settles("files", w.files, files+20)
}

type world struct {
	*testing.T
	b      *harness.Broker
	h      *honest
	sent   counter
	memory int64 // the most that was seen since it was set to 0
}

type counter struct {
	mu sync.Mutex
	n  int64
}

func (c *counter) Add(n int64) { c.mu.Lock(); c.n += n; c.mu.Unlock() }
func (c *counter) Load() int64 { c.mu.Lock(); defer c.mu.Unlock(); return c.n }

// honest is the client that must not be disturbed: it writes a record and waits until it reads it.
type honest struct {
	stop context.CancelFunc
	done chan error
	took chan time.Duration
}

func startHonest(t *testing.T, addr string) *honest {
	t.Helper()
	cl, err := kgo.NewClient(kgo.SeedBrokers(addr), kgo.ConsumeTopics(topic), kgo.DefaultProduceTopic(topic),
		kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	if _, err := kadm.NewClient(cl).CreateTopics(t.Context(), 1, 1, nil, topic, "bombs"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	h := &honest{stop: stop, done: make(chan error, 1), took: make(chan time.Duration)}
	go func() { h.done <- h.run(ctx, cl) }()
	return h
}

func (h *honest) run(ctx context.Context, cl *kgo.Client) error {
	for n := int64(0); ctx.Err() == nil; n++ {
		began := time.Now()
		limit, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		err := cl.ProduceSync(limit, &kgo.Record{Value: strconv.AppendInt(nil, n, 10)}).FirstErr()
		var got []*kgo.Record
		if err == nil {
			fetches := cl.PollFetches(limit)
			err, got = fetches.Err(), fetches.Records()
		}
		cancel()
		switch {
		case err != nil:
			return fmt.Errorf("round %d: %w", n, err)
		case len(got) != 1 || got[0].Offset != n || string(got[0].Value) != strconv.FormatInt(n, 10):
			return fmt.Errorf("round %d: read %v", n, got)
		}
		select {
		case h.took <- time.Since(began):
		default:
		}
	}
	return nil
}

// median is that of the next n rounds.
func (h *honest) median(t *testing.T, n int) time.Duration {
	t.Helper()
	all := make([]time.Duration, 0, n)
	for len(all) < n {
		select {
		case d := <-h.took:
			all = append(all, d)
		case err := <-h.done:
			t.Fatalf("the honest client failed: %v", err)
		}
	}
	slices.Sort(all)
	return all[n/2]
}

// during is the median of the rounds until end is closed, of at least n.
func (h *honest) during(end <-chan struct{}, n int) time.Duration {
	var all []time.Duration
	for {
		select {
		case d := <-h.took:
			all = append(all, d)
		case <-time.After(10 * time.Second): // it has failed, or is not served
			return time.Hour
		}
		select {
		case <-end:
			if len(all) >= n {
				slices.Sort(all)
				return all[len(all)/2]
			}
		default:
		}
	}
}

func (h *honest) finish(t *testing.T) {
	t.Helper()
	h.stop()
	if err := <-h.done; err != nil {
		t.Errorf("the honest client failed: %v", err)
	}
}

// resident is the process's memory.
func (w *world) resident() int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.b.PID()))
	if err != nil {
		w.Error(err)
	}
	for line := range strings.Lines(string(raw)) {
		if f := strings.Fields(line); f[0] == "RssAnon:" {
			kb, _ := strconv.ParseInt(f[1], 10, 64)
			return kb << 10
		}
	}
	return 0
}

func (w *world) watchMemory() (stop func()) {
	end, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			w.memory = max(w.memory, w.resident())
			select {
			case <-tick.C:
			case <-end:
				return
			}
		}
	}()
	return func() { close(end); <-ended }
}

func (w *world) files() int {
	all, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", w.b.PID()))
	if err != nil {
		w.Error(err)
	}
	return len(all)
}

func (w *world) goroutines() int {
	resp, err := http.Get("http://" + w.b.AdminAddr() + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		w.Fatal(err)
	}
	defer resp.Body.Close()
	line, _ := bufio.NewReader(resp.Body).ReadString('\n')
	_, _ = io.Copy(io.Discard, resp.Body)
	n, err := strconv.Atoi(strings.TrimSpace(line[strings.LastIndex(line, " ")+1:]))
	if err != nil {
		w.Fatalf("%q: %v", line, err)
	}
	return n
}

// settles waits until what of the attackers is left is at most limit.
func (w *world) settles(what string, now func() int, limit int) {
	deadline := time.Now().Add(10 * time.Second)
	for now() > limit {
		if time.Now().After(deadline) {
			w.Errorf("%d %s are left; %d are to be expected", now(), what, limit)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (w *world) dial() net.Conn {
	nc, err := net.DialTimeout("tcp", w.b.Addr, 10*time.Second)
	if err != nil {
		w.Error(err)
		return nil
	}
	_ = nc.SetDeadline(time.Now().Add(20 * time.Second))
	return nc
}

// write sends, and does not mind being hung up on.
func (w *world) write(nc net.Conn, b []byte) {
	n, _ := nc.Write(b)
	w.sent.Add(int64(n))
}

// ends expects the broker to close the connection.
func (w *world) ends(nc net.Conn, what string) {
	_, err := io.Copy(io.Discard, nc)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		w.Errorf("%s: the connection was not closed", what)
	}
}

// fallSilent begins a frame, alone and behind a whole one, and sends no more. The broker has to close both connections
// after 30 s, which the function that is returned waits for.
func (w *world) fallSilent() (await func()) {
	request := encode(kmsg.NewPtrApiVersionsRequest(), 3)
	half := request[:len(request)/2]
	var open []net.Conn
	for _, b := range [][]byte{half, append(slices.Clone(request), half...)} {
		nc := w.dial()
		_ = nc.SetDeadline(time.Now().Add(40 * time.Second))
		w.write(nc, b)
		open = append(open, nc)
	}
	return func() {
		for i, nc := range open {
			w.ends(nc, fmt.Sprintf("half a frame behind %d others", i))
			_ = nc.Close()
		}
	}
}

func encode(req kmsg.Request, version int16) []byte {
	req.SetVersion(version)
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("hostile")).AppendRequest(nil, req, 1)
}

func sized(body []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func garbage(w *world) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		b := make([]byte, 1+rng.IntN(4000))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		if rng.IntN(2) == 0 && len(b) > 4 { // a right size, and an API that exists
			binary.BigEndian.PutUint32(b, uint32(len(b)-4))
			if len(b) > 8 {
				binary.BigEndian.PutUint32(b[4:], uint32(rng.IntN(76))<<16|uint32(rng.IntN(10)))
			}
		}
		if nc := w.dial(); nc != nil {
			w.write(nc, b)
			_ = nc.Close()
		}
	}
}

func lengths(w *world) {
	for _, n := range []uint32{0, 1, 7, 0x7fffffff, 0x80000000, 0xffffffff, 104857601} {
		nc := w.dial()
		b := encode(kmsg.NewPtrMetadataRequest(), 12)
		binary.BigEndian.PutUint32(b, n)
		w.write(nc, b)
		w.ends(nc, fmt.Sprintf("a frame of %d bytes", int32(n)))
		_ = nc.Close()
	}
}

// declared has a hundred connections say that a hundred megabytes will come, and send little of it.
func declared(w *world) {
	var open []net.Conn
	for i := range 100 {
		nc := w.dial()
		b := encode(kmsg.NewPtrProduceRequest(), 9)
		binary.BigEndian.PutUint32(b, 100<<20)
		w.write(nc, append(b, make([]byte, i*1000)...))
		open = append(open, nc)
	}
	w.h.median(w.T, 100)
	for _, nc := range open {
		_ = nc.Close()
	}
}

// partitions sends requests whose partitions take few bytes each, under a topic of a long name.
func partitions(w *world) {
	for _, n := range []int{50_000, 99_000, 1_000_000} {
		req := kmsg.NewPtrProduceRequest()
		req.Acks = 1
		t := kmsg.NewProduceRequestTopic()
		t.Topic = strings.Repeat("x", 32_000)
		t.Partitions = make([]kmsg.ProduceRequestTopicPartition, n)
		req.Topics = append(req.Topics, t)
		nc := w.dial()
		w.write(nc, encode(req, 9))
		_, _ = nc.Read(make([]byte, 1))
		_ = nc.Close()
	}
}

// tags sends bodies that end in millions of tagged fields, or say so.
func tags(w *world) {
	head := encode(kmsg.NewPtrApiVersionsRequest(), 3)[4:12]
	metadata := encode(kmsg.NewPtrMetadataRequest(), 12)[4:]
	for _, tail := range [][]byte{
		binary.AppendUvarint(nil, 0xffffffff),
		append(binary.AppendUvarint(nil, 5_000_000), bytes.Repeat([]byte{1, 0}, 5_000_000)...),
	} {
		for _, b := range [][]byte{
			append(slices.Clone(metadata[:len(metadata)-1]), tail...),
			append(slices.Clone(head), tail...),
		} {
			nc := w.dial()
			w.write(nc, sized(b))
			_, _ = nc.Read(make([]byte, 1))
			_ = nc.Close()
		}
	}
}

// bombs produces batches of one record of zeros that take a thousand times their size once they are decompressed: less
// than moldau's limit of 256 MiB, and more.
func bombs(w *world) {
	for _, zeros := range []int{200 << 20, 512 << 20} {
		for codec := range int16(4) {
			batch := bomb(codec+1, zeros)
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() { w.detonate(batch, zeros > 256<<20) })
			}
			wg.Wait()
		}
	}
}

// bomb is a batch; where it would be larger than a broker takes, it breaks off.
func bomb(codec int16, zeros int) []byte {
	var b bytes.Buffer
	var p io.WriteCloser
	switch codec {
	case 1:
		p = gzip.NewWriter(&b)
	case 2:
		p = s2.NewWriter(&b, s2.WriterSnappyCompat())
	case 3:
		p = lz4.NewWriter(&b)
	case 4:
		p, _ = zstd.NewWriter(&b, zstd.WithEncoderConcurrency(1))
	}
	head := append([]byte{0, 0, 0, 1}, binary.AppendVarint(nil, int64(zeros))...) // no key
	_, _ = p.Write(append(binary.AppendVarint(nil, int64(len(head)+zeros+1)), head...))
	block := make([]byte, 1<<20)
	for n := 0; n < zeros && b.Len() < 900<<10; n += len(block) {
		_, _ = p.Write(block)
	}
	_, _ = p.Write([]byte{0}) // no headers
	_ = p.Close()
	batch := make([]byte, 61, 61+b.Len())
	binary.BigEndian.PutUint32(batch[8:], uint32(49+b.Len()))
	batch[16] = 2
	binary.BigEndian.PutUint16(batch[21:], uint16(codec))
	copy(batch[43:], bytes.Repeat([]byte{0xff}, 14)) // no producer
	binary.BigEndian.PutUint32(batch[57:], 1)
	batch = append(batch, b.Bytes()...)
	binary.BigEndian.PutUint32(batch[17:], crc32.Checksum(batch[21:], crc32.MakeTable(crc32.Castagnoli)))
	return batch
}

func (w *world) detonate(batch []byte, refused bool) {
	req := kmsg.NewPtrProduceRequest()
	req.Version, req.Acks, req.TimeoutMillis = 9, -1, 1000
	t := kmsg.NewProduceRequestTopic()
	t.Topic = "bombs"
	part := kmsg.NewProduceRequestTopicPartition()
	part.Records = batch
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	c, err := harness.Dial(w.b.Addr)
	if err != nil {
		w.Error(err)
		return
	}
	defer c.Close()
	resp, err := c.Ask(req, 20*time.Second)
	w.sent.Add(int64(len(batch)))
	if err != nil {
		w.Errorf("codec %d: %v", batch[22], err)
		return
	}
	got := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]
	if refused && got.ErrorCode == 0 || got.ErrorCode == 3 {
		w.Errorf("codec %d: %+v", batch[22], got)
	}
}

// crowd opens thousands of connections, each with a request that is answered and half of another one.
func crowd(w *world) {
	request := encode(kmsg.NewPtrApiVersionsRequest(), 3)
	var open []net.Conn
	for range 3000 {
		nc := w.dial()
		if nc == nil {
			break
		}
		w.write(nc, append(slices.Clone(request), request[:len(request)/2]...))
		open = append(open, nc)
	}
	w.h.median(w.T, 100)
	for _, nc := range open {
		_ = nc.Close()
	}
}

// readers ask for a lot again and again and never read the answers.
func readers(w *world) {
	cl, err := kgo.NewClient(kgo.SeedBrokers(w.b.Addr), kgo.ProducerBatchCompression(kgo.NoCompression()))
	if err != nil {
		w.Fatal(err)
	}
	defer cl.Close()
	if _, err := kadm.NewClient(cl).CreateTopic(w.Context(), 1, 1, nil, "large"); err != nil {
		w.Fatal(err)
	}
	for range 64 {
		cl.Produce(w.Context(), &kgo.Record{Topic: "large", Value: make([]byte, 900<<10)}, nil)
	}
	if err := cl.Flush(w.Context()); err != nil {
		w.Fatal(err)
	}
	w.sent.Add(64 * 900 << 10)
	req := kmsg.NewPtrFetchRequest()
	req.MaxBytes, req.MinBytes, req.MaxWaitMillis, req.SessionEpoch = 50<<20, 1, 100, -1
	t := kmsg.NewFetchRequestTopic()
	t.Topic = "large"
	part := kmsg.NewFetchRequestTopicPartition()
	part.PartitionMaxBytes = 50 << 20
	t.Partitions = append(t.Partitions, part)
	req.Topics = append(req.Topics, t)
	frame := encode(req, 12)
	var open []net.Conn
	for range 500 {
		nc := w.dial()
		_ = nc.(*net.TCPConn).SetReadBuffer(4096)
		w.write(nc, bytes.Repeat(frame, 20))
		open = append(open, nc)
	}
	w.h.median(w.T, 100)
	for _, nc := range open {
		_ = nc.Close()
	}
}
