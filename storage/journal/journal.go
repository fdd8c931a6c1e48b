package journal

import (
	"log/slog"
	"path"
	"sync"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/vfs"
)

// Log is a log whose appends are committed here. No method of it may wait for a Commit of the same journal, nor for
// somebody who does.
type Log interface {
	// Name must not change.
	Name() Name
	// SyncData makes durable in the log's own files everything below upTo.
	SyncData(upTo protocol.Offset) error
	// Committed says that everything below upTo is durable. It must not block.
	Committed(upTo protocol.Offset)
	// Lost says that appends could not be made durable and never will be.
	Lost(err error)
	// Settled says that entries up to an offset are not needed any more: they are durable in the log's own files as
	// recovery finds them, or the log is gone.
	Settled(upTo protocol.Offset) bool
	// RescueFile is where entries go that the log needs and cannot take into its own files, "" while it can.
	RescueFile() string
}

// Config is how a journal is kept.
type Config struct {
	FS              vfs.FS
	Dir             string // of the journal's files; made when there is something to write
	Cluster, Folder string // whose journal it is: cluster.id and directory.id
	ID              uint64 // unlike that of every journal which the folder had before
	// FileBytes is the size of a file, and Files how many there are at most. Defaults 16 MiB and 8.
	FileBytes int64
	Files     int
	// QueueBytes bounds what waits to be committed: who appends more waits. Default 8 MiB.
	QueueBytes int64
	// DirectBytes is how many bytes of one log in one round are copied here. With more of them the log's own file is synced
	// in place of that: a second write would cost more than a second sync. Default 512 KiB.
	DirectBytes int64
	// Threads is how many logs' own files are synced at a time. Default 1.
	Threads int
	// Broken is called once, when the journal can be written no more.
	Broken func(err error)
	Logger *slog.Logger
	Now    func() time.Time
}

func (c Config) withDefaults() Config {
	if c.FileBytes <= 0 {
		c.FileBytes = 16 << 20
	}
	if c.Files < 2 {
		c.Files = 8
	}
	if c.QueueBytes <= 0 {
		c.QueueBytes = 8 << 20
	}
	if c.DirectBytes <= 0 {
		c.DirectBytes = 512 << 10
	}
	c.FileBytes = alignUp(c.FileBytes, pieceAlign)
	c.DirectBytes = min(c.DirectBytes, (c.FileBytes-headerBytes)/2)
	return c
}

// Journal commits the appends of one data folder's logs. Its methods may be called by anyone at any time.
type Journal struct {
	cfg   Config
	id    uint64
	wake  chan struct{} // holds at most one token: there is something to commit
	full  chan struct{} // holds at most one token: a file is full
	stats Stats

	mu struct { // held for a copy at most; nothing is locked under it
		sync.Mutex
		pending  *round
		spare    *round
		number   uint64 // of pending; rises
		admitted int64  // bytes that are admitted and not yet taken
		room     *sync.Cond
		seen     map[Name]struct{} // logs that may have entries
		broken   error
	}

	committing sync.Mutex // one round at a time; taken before fileMu, and before whatever Log's methods lock
	c          struct {   // guarded by committing
		sequence uint64 // the last that was given away
		durable  uint64 // the last that was synced
		active   *file
		retryAt  time.Time // when a file could not be made: not before this
	}

	reclaiming sync.Mutex // one Reclaim at a time; taken after committing
	fileMu     struct {
		sync.Mutex
		sealed []*file // the oldest first
		free   []*file // in the order in which they are to be used
		count  int
		named  bool // the folder is there
	}
}

// New is a journal without files; they are made when they are needed. What a former journal left in the folder must have
// been removed.
func New(cfg Config) *Journal {
	j := &Journal{
		cfg: cfg.withDefaults(), id: cfg.ID, wake: make(chan struct{}, 1), full: make(chan struct{}, 1),
	}
	j.mu.room = sync.NewCond(&j.mu)
	j.mu.pending, j.mu.spare = &round{}, &round{}
	j.mu.number = 1
	j.mu.seen = map[Name]struct{}{}
	return j
}

// Member is a log that takes part.
type Member struct {
	j     *Journal
	log   Log
	name  Name
	round uint64 // in which it has a claim; guarded by j.mu
	claim int
}

// Join has a log take part, as a new one: see Forget.
func (j *Journal) Join(l Log) *Member { return &Member{j: j, log: l, name: l.Name()} }

// round is what is committed together.
type round struct {
	claims   []claim
	buf      []byte
	entries  []framed
	admitted int64
	appends  int
	voids    []*void
}

// void is a Forget on its way.
type void struct {
	name Name
	err  error
}

// claim is what a round does for one log.
type claim struct {
	m      *Member
	end    protocol.Offset
	copied int64
	direct bool // the log's own files are synced
	failed bool
	own    bool // scratch of syncOwn
}

// framed is one entry in a round's buffer.
type framed struct {
	claim int // -1 for a void
	bytes int
}

// Wake has a token when there is something to commit.
func (j *Journal) Wake() <-chan struct{} { return j.wake }

// Full has a token when there is something to reclaim.
func (j *Journal) Full() <-chan struct{} { return j.full }

func nudge(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Admit waits until there is room in the queue for so many bytes. Who was admitted adds them, or releases them.
func (j *Journal) Admit(bytes int64) {
	j.mu.Lock()
	for j.mu.admitted > 0 && j.mu.admitted+bytes > j.cfg.QueueBytes {
		nudge(j.wake)
		j.mu.room.Wait()
	}
	j.mu.admitted += bytes
	j.mu.Unlock()
}

// Release gives back what was admitted and is not added.
func (j *Journal) Release(bytes int64) {
	j.mu.Lock()
	j.mu.admitted -= bytes
	j.mu.room.Broadcast()
	j.mu.Unlock()
}

// Add queues batches that were written to the log's file, where they moved its end; bytes have been admitted. Those of one
// log come in the order of their offsets. The batches are copied, or the log's own files are to be synced: direct asks for
// that where the log may hold something else that is not durable yet.
func (m *Member) Add(from, end protocol.Offset, bs []batch.Batch, bytes int64, direct bool) {
	j := m.j
	j.mu.Lock()
	r := j.mu.pending
	r.admitted += bytes
	if len(bs) > 0 {
		r.appends++
	}
	i := j.claim(m)
	c := &r.claims[i]
	c.end = max(c.end, end)
	c.direct = c.direct || direct || c.copied+bytes > j.cfg.DirectBytes
	if !c.direct {
		c.copied += bytes
		at := len(r.buf)
		r.buf = frame(r.buf, j.id, kindBatches, m.name, from, end, int(bytes))
		for _, b := range bs {
			r.buf = append(r.buf, b...)
		}
		r.buf = pad(r.buf)
		r.entries = append(r.entries, framed{claim: i, bytes: len(r.buf) - at})
		j.mu.seen[m.name] = struct{}{}
	}
	j.mu.Unlock()
	nudge(j.wake)
}

// Sync queues a sync of the log's own files up to an offset.
func (m *Member) Sync(end protocol.Offset) { m.Add(end, end, nil, 0, true) }

// claim is the index of m's claim in the pending round; j.mu is held.
func (j *Journal) claim(m *Member) int {
	r := j.mu.pending
	if m.round == j.mu.number {
		return m.claim
	}
	m.round, m.claim = j.mu.number, len(r.claims)
	r.claims = append(r.claims, claim{m: m})
	return m.claim
}

// Forget makes earlier entries of a name count no more, durably: its log was truncated, or another one takes its place. It
// costs nothing where there are none.
func (j *Journal) Forget(n Name) error {
	j.mu.Lock()
	if _, ok := j.mu.seen[n]; !ok {
		j.mu.Unlock()
		return nil
	}
	delete(j.mu.seen, n)
	r := j.mu.pending
	at := len(r.buf)
	r.buf = pad(frame(r.buf, j.id, kindVoid, n, 0, 0, 0))
	r.entries = append(r.entries, framed{claim: -1, bytes: len(r.buf) - at})
	v := &void{name: n}
	r.voids = append(r.voids, v)
	j.mu.Unlock()
	j.Commit()
	if v.err != nil {
		j.mu.Lock()
		j.mu.seen[n] = struct{}{}
		j.mu.Unlock()
	}
	return v.err
}

// Broken is why the journal can be written no more, nil while it can.
func (j *Journal) Broken() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.mu.broken
}

// take is the round that was pending, nil when it is empty.
func (j *Journal) take() *round {
	j.mu.Lock()
	defer j.mu.Unlock()
	r := j.mu.pending
	if len(r.claims) == 0 && len(r.entries) == 0 {
		return nil
	}
	j.mu.pending, j.mu.spare = j.mu.spare, nil
	j.mu.number++
	j.mu.admitted -= r.admitted
	j.mu.room.Broadcast()
	return r
}

func (j *Journal) recycle(r *round) {
	clear(r.claims)
	clear(r.voids)
	r.voids = r.voids[:0]
	r.claims, r.entries, r.buf, r.admitted = r.claims[:0], r.entries[:0], r.buf[:0], 0
	r.appends = 0
	j.mu.Lock()
	j.mu.spare = r
	j.mu.Unlock()
}

// Dir is where the journal's files are.
func (j *Journal) Dir() string { return j.cfg.Dir }

// fileName is the name of the i-th file.
func (j *Journal) fileName(i int) string {
	const digits = "0123456789"
	return path.Join(j.cfg.Dir, string([]byte{digits[i/100%10], digits[i/10%10], digits[i%10]}))
}
