package coordinator

import (
	"context"
	crand "crypto/rand"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"unicode/utf16"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/compress"
)

// GroupsTopic is the internal topic that groups live in.
const GroupsTopic = "__consumer_offsets"

// Log is the slice of a partition leader that a shard needs. broker.Partition is one; tests use a slice in memory.
type Log interface {
	// Append writes one record batch. The error wraps a protocol.Code; see definite for which of them say that nothing was
	// written.
	Append(records []byte) (last protocol.Offset, err error)
	// Committed is the high watermark: all below it is committed.
	Committed() protocol.Offset
	// Notify is sent to when Committed moves or leadership is lost. Tokens may be merged.
	Notify() <-chan struct{}
	Bounds() (start, end protocol.Offset)
	// Read appends whole batches to buf[:0], from the one that holds from; it returns an empty slice at the end.
	Read(from protocol.Offset, buf []byte) ([]byte, error)
}

// Groups routes requests to the shards of the partitions led here.
type Groups struct {
	cfg     group.Config
	topics  group.Topics
	logger  *slog.Logger
	journal *journal
	codec   compress.Codec
	commits atomic.Uint64

	mu     sync.Mutex
	shards map[int32]*shard // nil once closed
}

// NewGroups makes a router without shards. Lead gives it work.
func NewGroups(cfg group.Config, topics group.Topics, logger *slog.Logger) *Groups {
	return &Groups{cfg: cfg, topics: topics, logger: logger, journal: newJournal(logger), shards: map[int32]*shard{}}
}

// Compress makes batches be written with the codec (offsets.topic.compression.codec). It is called before Lead.
func (g *Groups) Compress(codec compress.Codec) { g.codec = codec }

// Lead begins to coordinate the groups of partition p. The log is read in the background; requests wait for it. A second
// call, for a new term of leadership, begins anew.
func (g *Groups) Lead(p int32, log Log) {
	s := &shard{
		partition: p, log: log, cfg: g.cfg, topics: g.topics, logger: g.logger.With("partition", p), journal: g.journal,
		commits: &g.commits, calls: make(chan call, queuedCalls), done: make(chan struct{}), tickets: map[group.Ticket]call{},
		writer: writer{codec: g.codec},
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	g.mu.Lock()
	if g.shards == nil {
		g.mu.Unlock()
		cancel()
		return
	}
	old := g.shards[p]
	g.shards[p] = s
	g.mu.Unlock()
	if old != nil {
		old.stop()
	}
	go s.run(ctx)
}

// Resign stops coordinating the groups of partition p. Requests that wait are answered NOT_COORDINATOR. It returns when
// the log is no longer used.
func (g *Groups) Resign(p int32) {
	g.mu.Lock()
	s := g.shards[p]
	delete(g.shards, p)
	g.mu.Unlock()
	if s != nil {
		s.stop()
	}
}

// Close resigns everything.
func (g *Groups) Close() {
	g.mu.Lock()
	shards := g.shards
	g.shards = nil
	g.mu.Unlock()
	for _, s := range shards {
		s.cancel()
	}
	for _, s := range shards {
		<-s.done
	}
}

// Submit gives the request to the coordinator of the group. reply is called once, from any goroutine, perhaps before
// Submit returns; it must not block. Requests of one caller are handled in their order.
func (g *Groups) Submit(groupID string, req group.Request, reply func(group.Response)) {
	n := g.partitions()
	if n == 0 {
		reply(req.Refuse(protocol.NotCoordinator))
		return
	}
	g.mu.Lock()
	s := g.shards[PartitionFor(groupID, n)]
	g.mu.Unlock()
	if s == nil {
		reply(req.Refuse(protocol.NotCoordinator))
		return
	}
	s.submit(call{req: req, reply: reply})
}

// Leads says whether the groups of partition p are coordinated here.
func (g *Groups) Leads(p int32) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.shards[p] != nil
}

// partitions of the topic of groups; 0 if it is not there yet.
func (g *Groups) partitions() int32 {
	t, _ := g.topics.Now().Topic(GroupsTopic)
	return int32(t.Partitions)
}

// ask gives a request made by each to every shard and collects the answers in the order of the partitions.
func (g *Groups) ask(each func() group.Request, done func([]group.Response)) {
	g.askBy((*shard).submit, each, done)
}

// askBy is ask with the way in which a shard is given its request.
func (g *Groups) askBy(give func(*shard, call), each func() group.Request, done func([]group.Response)) {
	g.mu.Lock()
	shards := make([]*shard, 0, len(g.shards))
	for p, last := int32(0), g.partitions(); p < last; p++ {
		if s := g.shards[p]; s != nil {
			shards = append(shards, s)
		}
	}
	g.mu.Unlock()
	if len(shards) == 0 {
		done(nil)
		return
	}
	var mu sync.Mutex
	all, missing := make([]group.Response, len(shards)), len(shards)
	for i, s := range shards {
		give(s, call{req: each(), reply: func(r group.Response) {
			mu.Lock()
			all[i] = r
			missing--
			last := missing == 0
			mu.Unlock()
			if last {
				done(all)
			}
		}})
	}
}

// List collects the groups of all partitions led here.
func (g *Groups) List(req group.List, reply func(*group.ListResult)) {
	g.ask(func() group.Request { r := req; return &r }, func(all []group.Response) {
		sum := &group.ListResult{}
		for _, r := range all {
			one := r.(*group.ListResult)
			switch one.Code {
			case protocol.None:
				sum.Groups = append(sum.Groups, one.Groups...)
			case protocol.NotCoordinator: // moved away: its new coordinator lists them
			default:
				sum.Code = one.Code
			}
		}
		if sum.Code != protocol.None {
			sum.Groups = nil
		}
		reply(sum)
	})
}

// ForgetTopics removes the offsets of deleted topics from all groups. It does not wait.
func (g *Groups) ForgetTopics(topics []group.DeletedTopic) {
	g.ask(func() group.Request { return &group.ForgetTopics{Topics: topics} }, func([]group.Response) {})
}

// Counts is how much is coordinated here.
type Counts struct {
	group.Counts
	Active, Loading int    // partitions of the topic of groups
	Commits         uint64 // offsets that were committed since the start
}

// Count sums up all shards.
func (g *Groups) Count() Counts {
	g.mu.Lock()
	defer g.mu.Unlock()
	sum := Counts{Counts: group.Counts{Groups: map[group.Counted]int{}}, Commits: g.commits.Load()}
	for _, s := range g.shards {
		n := s.count.Load()
		if n == nil {
			sum.Loading++
			continue
		}
		sum.Active++
		sum.Offsets += n.Offsets
		for by, k := range n.Groups {
			sum.Groups[by] += k
		}
	}
	return sum
}

// PartitionFor is the partition that a group or transactional id belongs to: Java's String.hashCode, made non-negative as
// Kafka's Utils.abs does, modulo the number of partitions.
func PartitionFor(key string, partitions int32) int32 {
	var h int32
	for _, r := range key {
		if r > 0xffff {
			hi, lo := utf16.EncodeRune(r)
			h = 31*(31*h+hi) + lo
			continue
		}
		h = 31*h + r
	}
	if h == -1<<31 {
		return 0
	}
	if h < 0 {
		h = -h
	}
	return h % partitions
}

func newRand() *rand.Rand {
	var seed [32]byte
	_, _ = crand.Read(seed[:]) // never fails
	return rand.New(rand.NewChaCha8(seed))
}
