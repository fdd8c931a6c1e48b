package coordinator

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

// memLog is a partition in memory.
type memLog struct {
	mu      sync.Mutex
	batches []batch.Batch
	end     protocol.Offset
	held    bool            // nothing is committed any more
	high    protocol.Offset // while held
	refuse  error
	broken  error // of reads
	appends int
	largest int // bytes of a batch that is taken; 0: any
	notify  chan struct{}
}

func newMemLog() *memLog { return &memLog{notify: make(chan struct{}, 1)} }

func (l *memLog) Append(records []byte) (protocol.Offset, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.appends++
	if l.refuse != nil {
		return 0, l.refuse
	}
	b, rest, err := batch.Next(bytes.Clone(records))
	if err != nil || len(rest) > 0 {
		return 0, fmt.Errorf("not one batch: %v, %d bytes more", err, len(rest))
	}
	if l.largest > 0 && len(b) > l.largest {
		return 0, protocol.MessageTooLarge
	}
	if !b.CheckCRC() {
		return 0, protocol.CorruptMessage
	}
	b.Stamp(l.end, 3)
	l.batches = append(l.batches, b)
	l.end = b.LastOffset() + 1
	return b.LastOffset(), nil
}

func (l *memLog) Committed() protocol.Offset {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.held {
		return l.high
	}
	return l.end
}

func (l *memLog) Notify() <-chan struct{} { return l.notify }

func (l *memLog) Bounds() (start, end protocol.Offset) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return 0, l.end
}

func (l *memLog) Read(from protocol.Offset, buf []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken != nil {
		return nil, l.broken
	}
	buf = buf[:0]
	for _, b := range l.batches {
		if b.LastOffset() < from {
			continue
		}
		if len(buf) > 0 && len(buf)+len(b) > cap(buf) {
			break
		}
		buf = append(buf, b...)
	}
	return buf, nil
}

// hold keeps what is appended from now on uncommitted until let.
func (l *memLog) hold() {
	l.mu.Lock()
	l.held, l.high = true, l.end
	l.mu.Unlock()
}

func (l *memLog) let() {
	l.mu.Lock()
	l.held = false
	l.mu.Unlock()
	l.notify <- struct{}{}
}

func (l *memLog) refuseWith(err error) {
	l.mu.Lock()
	l.refuse = err
	l.mu.Unlock()
}

// damage makes reads fail, or not.
func (l *memLog) damage(err error) {
	l.mu.Lock()
	l.broken = err
	l.mu.Unlock()
}

// onePartition is the metadata of a cluster whose offsets topic has one partition.
type onePartition struct{}

func (onePartition) Now() group.Metadata { return onePartition{} }
func (onePartition) Version() int64      { return 1 }
func (onePartition) Topic(name string) (group.Topic, bool) {
	return group.Topic{Name: name, Partitions: 1}, true
}
func (onePartition) TopicByID(protocol.TopicID) (group.Topic, bool) { return group.Topic{}, false }
func (onePartition) Names() iter.Seq[string]                        { return func(func(string) bool) {} }
func (onePartition) Racks(protocol.TopicID, int32) []string         { return nil }

func testGroups(t *testing.T, log Log) *Groups {
	t.Helper()
	cfg := group.DefaultConfig()
	cfg.InitialRebalanceDelay = 10 * time.Millisecond
	g := NewGroups(cfg, onePartition{}, slog.New(slog.DiscardHandler))
	t.Cleanup(g.Close)
	if log != nil {
		g.Lead(0, log)
	}
	return g
}

// ask submits and waits for the answer.
func ask[R group.Response](t *testing.T, g *Groups, req group.Request) R {
	t.Helper()
	got := submit(g, req)
	select {
	case r := <-got:
		return r.(R)
	case <-time.After(10 * time.Second):
		t.Fatalf("no answer to %+v", req)
		panic("not reached")
	}
}

func submit(g *Groups, req group.Request) chan group.Response {
	got := make(chan group.Response, 1)
	g.Submit(req.GroupID(), req, func(r group.Response) { got <- r })
	return got
}

func commitOf(id string, offset protocol.Offset) *group.CommitOffsets {
	return &group.CommitOffsets{Group: id, Generation: -1, Retention: -1, Partitions: []group.CommitPartition{
		{Topic: "t", Partition: 0, Offset: offset, LeaderEpoch: -1},
	}}
}

func offsetOf(t *testing.T, g *Groups, id string) protocol.Offset {
	t.Helper()
	r := ask[*group.FetchResult](t, g, &group.FetchOffsets{Group: id, Topics: []group.FetchTopic{
		{Topic: "t", Partitions: []int32{0}},
	}})
	return r.Topics[0].Partitions[0].Offset
}

func TestCommitsOutliveTheCoordinator(t *testing.T) {
	log := newMemLog()
	g := testGroups(t, log)
	for i := range 10 {
		r := ask[*group.CommitResult](t, g, commitOf(fmt.Sprint("g", i), protocol.Offset(i)))
		if r.Partitions[0].Code != protocol.None {
			t.Fatalf("commit: %v", r.Partitions[0].Code)
		}
	}
	g.Resign(0)
	if r := ask[*group.FetchResult](t, g, &group.FetchOffsets{Group: "g1"}); r.Code != protocol.NotCoordinator {
		t.Fatalf("after Resign: %v", r.Code)
	}
	g.Lead(0, log)
	for i := range 10 {
		if at := offsetOf(t, g, fmt.Sprint("g", i)); at != protocol.Offset(i) {
			t.Errorf("g%d: offset %d", i, at)
		}
	}
}

func TestNothingIsAnsweredBeforeItIsCommitted(t *testing.T) {
	log := newMemLog()
	g := testGroups(t, log)
	ask[*group.CommitResult](t, g, commitOf("g", 1))
	log.hold()
	commit := submit(g, commitOf("g", 2))
	fetch := submit(g, &group.FetchOffsets{Group: "g", All: true})
	// Requests are handled in order, so an answer to the heartbeat means that the others have been handled.
	ask[*group.HeartbeatResult](t, g, &group.Heartbeat{Group: "g", Member: "nobody"})
	select {
	case r := <-commit:
		t.Fatalf("the commit was answered before it was committed: %+v", r)
	case r := <-fetch:
		t.Fatalf("offset 2 was shown before it was committed: %+v", r)
	default:
	}
	log.let()
	if r := (<-commit).(*group.CommitResult); r.Partitions[0].Code != protocol.None {
		t.Errorf("commit: %v", r.Partitions[0].Code)
	}
	if r := (<-fetch).(*group.FetchResult); r.Topics[0].Partitions[0].Offset != 2 {
		t.Errorf("fetch: %+v", r.Topics)
	}
}

func TestRefusedAppendChangesNothing(t *testing.T) {
	log := newMemLog()
	g := testGroups(t, log)
	ask[*group.CommitResult](t, g, commitOf("g", 1))
	log.refuseWith(protocol.NotEnoughReplicas)
	if r := ask[*group.CommitResult](t, g, commitOf("g", 2)); r.Partitions[0].Code != protocol.CoordinatorNotAvailable {
		t.Errorf("refused commit: %v", r.Partitions[0].Code)
	}
	if at := offsetOf(t, g, "g"); at != 1 {
		t.Errorf("offset %d after a refused commit of 2", at)
	}
	log.refuseWith(nil)
	if r := ask[*group.CommitResult](t, g, commitOf("g", 3)); r.Partitions[0].Code != protocol.None {
		t.Errorf("commit after the refusal: %v", r.Partitions[0].Code)
	}
}

func TestBrokenLogReloadsTheMachine(t *testing.T) {
	log := newMemLog()
	g := testGroups(t, log)
	ask[*group.CommitResult](t, g, commitOf("g", 1))
	log.refuseWith(fmt.Errorf("disk: %w", protocol.KafkaStorageError))
	if r := ask[*group.CommitResult](t, g, commitOf("g", 2)); r.Partitions[0].Code != protocol.NotCoordinator {
		t.Errorf("commit to a broken log: %v", r.Partitions[0].Code)
	}
	log.refuseWith(nil)
	loaded(t, g)
	if at := offsetOf(t, g, "g"); at != 1 {
		t.Errorf("offset %d after the reload", at)
	}
}

// loaded waits until groups are answered.
func loaded(t *testing.T, g *Groups) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; {
		r := ask[*group.FetchResult](t, g, &group.FetchOffsets{Group: "g", All: true})
		if r.Code == protocol.None {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("still %v", r.Code)
		}
	}
}

// Who asks a coordinator that cannot read its log is told so, and does not wait.
func TestUnreadableLogRefuses(t *testing.T) {
	log := newMemLog()
	if _, err := log.Append(encodeBatch(batch.BuilderOptions{}, record("g", 7))); err != nil {
		t.Fatal(err)
	}
	log.damage(errors.New("disk"))
	g := testGroups(t, log)
	for range 3 {
		if r := ask[*group.FetchResult](t, g, &group.FetchOffsets{Group: "g", All: true}); r.Code != protocol.NotCoordinator {
			t.Errorf("%v", r.Code)
		}
	}
	log.damage(nil)
	loaded(t, g)
	if at := offsetOf(t, g, "g"); at != 7 {
		t.Errorf("offset %d after the log came back", at)
	}
}

// Many committers cost few appends: what comes while an append runs goes into the next one.
func TestCommitsThatWaitShareABatch(t *testing.T) {
	log := newMemLog()
	g := testGroups(t, log)
	ask[*group.CommitResult](t, g, commitOf("g", 1))
	log.mu.Lock() // the shard blocks in its next append
	first := submit(g, commitOf("g", 2))
	var rest []chan group.Response
	for i := range 100 {
		rest = append(rest, submit(g, commitOf(fmt.Sprint("g", i), protocol.Offset(i))))
	}
	log.mu.Unlock()
	<-first
	for _, c := range rest {
		if r := (<-c).(*group.CommitResult); r.Partitions[0].Code != protocol.None {
			t.Fatalf("commit: %v", r.Partitions[0].Code)
		}
	}
	if log.appends > 4 {
		t.Errorf("101 commits took %d appends", log.appends-1)
	}
}

func TestC86_PartitionForIsJavasHash(t *testing.T) {
	// The values are those of Utils.abs(s.hashCode()) % 50 in Java.
	for key, want := range map[string]int32{
		"g": 3, "grp": 29, "simple": 26, "simple2": 16, "retained": 8, "": 0, "grp3": 0,
		"polygenelubricants": 0, // hash is -2147483648
	} {
		if got := PartitionFor(key, 50); got != want {
			t.Errorf("%q: partition %d, want %d", key, got, want)
		}
	}
}

func TestC89_LookingDoesNotCreateGroups(t *testing.T) {
	log := newMemLog()
	g := testGroups(t, log)
	offsetOf(t, g, "nobody")
	ask[*group.DescribeResult](t, g, &group.Describe{Group: "nobody"})
	ask[*group.HeartbeatResult](t, g, &group.Heartbeat{Group: "nobody", Member: "m"})
	ask[*group.DeleteResult](t, g, &group.Delete{Group: "nobody"})
	got := make(chan *group.ListResult, 1)
	g.List(group.List{}, func(r *group.ListResult) { got <- r })
	if r := <-got; len(r.Groups) > 0 || log.end > 0 {
		t.Errorf("groups %v, log end %d", r.Groups, log.end)
	}
}

// bigCommit is a commit of n partitions with metadata.
func bigCommit(id string, n int) *group.CommitOffsets {
	c := &group.CommitOffsets{Group: id, Generation: -1, Retention: -1}
	for i := range n {
		c.Partitions = append(c.Partitions, group.CommitPartition{
			Topic: "t", Partition: int32(i), Offset: 9, LeaderEpoch: -1, Metadata: strings.Repeat("m", 1000),
		})
	}
	return c
}

// A commit is in the log whole or not at all, however many partitions it has, and never at the cost of others.
func TestALargeCommitIsOneBatchOrNone(t *testing.T) {
	log := newMemLog()
	log.largest = 1 << 20
	g := testGroups(t, log)
	ask[*group.CommitResult](t, g, commitOf("g", 1))
	before := len(log.batches)
	if r := ask[*group.CommitResult](t, g, bigCommit("large", 900)); r.Partitions[899].Code != protocol.None {
		t.Errorf("900 partitions: %v", r.Partitions[899].Code)
	}
	if n := len(log.batches) - before; n != 1 {
		t.Errorf("900 partitions are in %d batches", n)
	}
	log.mu.Lock() // the shard blocks in its next append, and finds the others together
	first := submit(g, commitOf("g", 2))
	small, huge, after := submit(g, commitOf("g", 3)), submit(g, bigCommit("huge", 1200)), submit(g, commitOf("g", 4))
	log.mu.Unlock()
	for i, c := range []chan group.Response{first, small, after} {
		if r := (<-c).(*group.CommitResult); r.Partitions[0].Code != protocol.None {
			t.Errorf("commit %d beside one that is too large: %v", i, r.Partitions[0].Code)
		}
	}
	for _, p := range (<-huge).(*group.CommitResult).Partitions {
		if p.Code != protocol.UnknownServerError {
			t.Fatalf("1200 partitions: %v", p.Code)
		}
	}
	g.Lead(0, log)
	if at := offsetOf(t, g, "huge"); at != -1 {
		t.Errorf("part of the refused commit was stored: %d", at)
	}
	if at := offsetOf(t, g, "g"); at != 4 {
		t.Errorf("offset %d, want 4", at)
	}
}

// Decisions that stand for themselves may be parted between batches, and only there.
func TestBatchesEndAtCuts(t *testing.T) {
	var w writer
	eff := &group.Effects{}
	for i := range 6 {
		eff.Records = append(eff.Records, record(strings.Repeat("g", 100), protocol.Offset(i)))
	}
	one := 100 + 60
	for _, c := range []struct {
		cuts  []int
		start int
		bytes int
		want  int
	}{
		{nil, 0, 1, 6},
		{nil, 2, 1, 6},
		{[]int{2, 4}, 0, 1, 2},
		{[]int{2, 4}, 2, 1, 4},
		{[]int{2, 4}, 4, 1, 6},
		{[]int{2, 4}, 0, 5 * one, 4},
		{[]int{1, 2, 4, 6}, 0, 100 * one, 6},
		{[]int{6}, 0, 1, 6},
	} {
		eff.Cuts = c.cuts
		if got := w.fitting(eff, c.start, c.bytes); got != c.want {
			t.Errorf("cuts %v from %d, %d bytes: up to %d, want %d", c.cuts, c.start, c.bytes, got, c.want)
		}
	}
}

func TestBatchesAreCompressedAsConfigured(t *testing.T) {
	for codec := compress.None; codec <= compress.Zstd; codec++ {
		log := newMemLog()
		g := testGroups(t, nil)
		g.Compress(codec)
		g.Lead(0, log)
		ask[*group.CommitResult](t, g, bigCommit("g", 100))
		if got := log.batches[0].Codec(); got != codec {
			t.Errorf("%v: the batch is %v", codec, got)
		}
		if size := len(log.batches[0]); codec != compress.None && size > 20_000 {
			t.Errorf("%v: %d bytes", codec, size)
		}
		g.Lead(0, log)
		if at := offsetOf(t, g, "g"); at != 9 {
			t.Errorf("%v: offset %d", codec, at)
		}
	}
}
