package storage

import (
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/epoch"
	"moldau.io/moldau/storage/journal"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
)

// Log is one partition's log. Every method may be called by anyone at any time: those that write take turns, those that
// read wait for nobody.
type Log struct {
	tp     protocol.TopicPartition // set on opening, never changed
	id     protocol.TopicID
	files  *segment.Descriptors
	logger *slog.Logger
	keeper keeper

	folder      atomic.Pointer[string] // see Dir
	cfg         atomic.Pointer[Config]
	segments    atomic.Pointer[[]*segment.Segment] // in order of base, never empty; replaced, never changed
	start       atomic.Int64
	unstable    atomic.Int64 // first offset of the oldest open transaction, or noUnstable
	uncommitted atomic.Int64 // first offset of the oldest one that has ended above the high watermark, or noUnstable
	synced      atomic.Int64 // the recovery point: everything before it is durable
	hw          atomic.Int64 // the high watermark, as the broker has it
	cleaned     atomic.Int64 // everything before it was compacted
	epochs      atomic.Pointer[epoch.History]
	epochsSure  atomic.Bool                  // epochs have been compared with the batches
	doubts      atomic.Uint32                // reads that met something wrong which could be mended, or was not there any more
	failure     atomic.Pointer[OfflineError] // set once, when the disk could not be left in a known state

	watch watch // cleaner.mu's

	flushing sync.Mutex // one flush at a time; taken before mu

	named     atomic.Bool  // the folder's own name is durable, and that of the first segment
	namedUpTo atomic.Int64 // base of the newest segment whose name the journal's commit has made durable

	durable    atomic.Int64 // see Durable; the recovery point may be ahead of it. Written under committed
	dataSynced atomic.Int64 // see filed; written under committed
	committed  sync.Mutex   // held for a few instructions; nothing is locked under it
	journal    atomic.Pointer[journal.Journal]
	listener   atomic.Pointer[func()]
	toTell     atomic.Bool // the listener is about to be called

	behind behind

	mu sync.Mutex // the writer's turn. Held across writes, never across a sync
	w  struct {   // guarded by mu
		producers   *producers.State
		scratch     []byte    // several batches become one write in here
		rollAt      time.Time // wall clock: when a segment without timestamps gets too old
		firstTime   int64     // largest timestamp of the active segment's first batch, or noTimestamp
		firstKnown  bool      // firstTime has been looked up
		jitter      time.Duration
		unflushed   int64           // records appended since the last flush
		flushedAt   time.Time       // when the last flush began
		epochsDirty bool            // epochs are not in the file
		sealed      bool            // no more appends: the log is being closed
		touched     bool            // something has happened since the log was opened
		closed      bool            // its files are let go
		lowered     bool            // the recovery point was lowered, which is not durable: no segment may end there
		snapshot    protocol.Offset // the newest snapshot file is for here; -1 when there is none
		unsnapped   int64           // bytes appended since then
		unsettled   bool            // where the log ends is perhaps not durable: a cut that a kill came into
		cuts        int             // how often records were cut off the end, for who copies or cleans the log

		member    *membership // in the journal; nil until the first append that must be durable, and after a cut or a move
		connected bool        // everything in the log is durable, or queued there
		ended     []ended     // transactions whose markers are not committed, in the order of those
		cutters   int         // who is about to cut records off the end: nothing is copied to the journal meanwhile
	}
}

// keeper is what a log asks of its store.
type keeper interface {
	// flushSoon has the log flushed in the background up to an offset.
	flushSoon(l *Log, upTo protocol.Offset)
	// keepStart makes the log's start durable before files below it go.
	keepStart(l *Log) error
	// keepRecoveryPoint makes a recovery point durable that was lowered, before what lies behind it goes.
	keepRecoveryPoint(l *Log) error
	// keptRecoveryPoint is the recovery point as it is on disk.
	keptRecoveryPoint(l *Log) protocol.Offset
	// admit refuses an append, of so many bytes, that would use what is kept free of a disk. own is for the broker's own
	// records, which may.
	admit(l *Log, bytes int64, own bool) error
	// keepCleaned makes it durable how far the log is compacted.
	keepCleaned(l *Log) error
	// removeLater deletes files in the background, after delay.
	removeLater(names []string, delay time.Duration)
	// trouble looks into an error of the disk: it may be the whole folder that fails.
	trouble(l *Log, err error)
	// tell has the log's listener called.
	tell(l *Log)
}

const (
	noUnstable  = int64(-1)
	noTimestamp = segment.NoTimestamp
)

// Bounds is what a log holds at a moment.
type Bounds struct {
	Start protocol.Offset // the first offset that may be read
	End   protocol.Offset // the offset that the next record gets
	// LastStable is the first offset of the oldest open transaction that is still there, or End. See Log.LastStable for how
	// far a reader of committed records may go.
	LastStable protocol.Offset
	Synced     protocol.Offset // everything before it survives a crash of the machine
}

// Bounds takes no lock.
func (l *Log) Bounds() Bounds {
	unstable := l.unstable.Load() // before the end: a transaction that begins meanwhile begins at that end or later
	b := Bounds{
		Start:  protocol.Offset(l.start.Load()),
		Synced: protocol.Offset(l.synced.Load()),
		End:    l.active().Next(),
	}
	b.LastStable = b.End
	if unstable != noUnstable {
		b.LastStable = max(protocol.Offset(unstable), b.Start) // its beginning may have been deleted
	}
	return b
}

// HighWatermark is the offset below which every record is committed, as SetHighWatermark said it last; before that, what
// was known when the log was opened. Nothing at or above it is deleted or compacted.
func (l *Log) HighWatermark() protocol.Offset { return protocol.Offset(l.hw.Load()) }

// SetHighWatermark is for who knows how far the log is replicated.
func (l *Log) SetHighWatermark(o protocol.Offset) {
	l.hw.Store(int64(o))
	if l.uncommitted.Load() == noUnstable { // nearly always
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.dropCommitted()
}

// Partition is the partition's name.
func (l *Log) Partition() protocol.TopicPartition { return l.tp }

// TopicID is the topic's id, zero where the folder does not say.
func (l *Log) TopicID() protocol.TopicID { return l.id }

// Dir is the log's folder. It changes when the log is moved to another data folder, which holds both flushing and mu.
func (l *Log) Dir() string { return *l.folder.Load() }

// Config is the configuration in force.
func (l *Log) Config() Config { return *l.cfg.Load() }

// Reconfigure changes the configuration, from the next append on.
func (l *Log) Reconfigure(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return fmt.Errorf("configuration of %v: %w", l.tp, err)
	}
	l.cfg.Store(&cfg)
	if cfg.durable() {
		l.Secure() // what was not asked for until now
	}
	return nil
}

// Size is the bytes in the log's segments.
func (l *Log) Size() int64 {
	var n int64
	for _, s := range *l.segments.Load() {
		n += s.Size()
	}
	return n
}

// Segments is the number of segments.
func (l *Log) Segments() int { return len(*l.segments.Load()) }

// Producers is what DescribeProducers says.
func (l *Log) Producers() []producers.Active {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.producers.Active()
}

// ExpireProducers forgets producers that have appended nothing for ProducerExpiry.
func (l *Log) ExpireProducers(now time.Time) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.producers.Expire(now, l.cfg.Load().ProducerExpiry)
}

// Epochs is the leader-epoch history.
func (l *Log) Epochs() epoch.History { return *l.epochs.Load() }

// EpochEnd is what OffsetForLeaderEpoch answers: the largest epoch that is not newer than asked, and the offset after
// its last record; both -1 where asked is not known.
func (l *Log) EpochEnd(asked protocol.Epoch) (protocol.Epoch, protocol.Offset) {
	if err := l.sureEpochs(); err != nil { // it has taken the log offline, which whoever asks sees when it reads
		return epoch.Unknown, epoch.Unknown
	}
	return l.epochs.Load().EndOf(asked, l.active().Next())
}

// AssignEpoch notes that a leader of this epoch begins at the log's end. A leader calls it before its first append, so
// that the epoch is known even while it writes nothing.
func (l *Log) AssignEpoch(e protocol.Epoch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	l.assign(e, l.active().Next())
	return nil
}

func (l *Log) assign(e protocol.Epoch, start protocol.Offset) {
	if e <= l.epochs.Load().Latest() { // nearly always
		return
	}
	h, _ := l.epochs.Load().Assign(e, start)
	l.epochs.Store(&h)
	l.w.epochsDirty = true
}

func (l *Log) active() *segment.Segment {
	segs := *l.segments.Load()
	return segs[len(segs)-1]
}

// usable says why the log cannot be written.
func (l *Log) usable() error {
	if f := l.failure.Load(); f != nil {
		return f
	}
	if l.w.sealed || l.w.closed {
		return ErrClosed
	}
	return nil
}

// Failure is why the log is offline, nil while it is not.
func (l *Log) Failure() error {
	if f := l.failure.Load(); f != nil {
		return f
	}
	return nil
}

// fail takes the log offline: what is on disk is no longer known to be what readers are told.
func (l *Log) fail(err error) error {
	f := &OfflineError{Partition: l.tp, Dir: l.Dir(), Err: err}
	if l.failure.CompareAndSwap(nil, f) {
		l.logger.Error("log is offline", "topic", l.tp.Topic, "partition", l.tp.Partition, "dir", l.Dir(), "err", err)
		l.keeper.trouble(l, err)
	}
	return l.failure.Load()
}
