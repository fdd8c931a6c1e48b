package storage

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/journal"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// Options is how a Store is opened. The zero value of a field stands for its default.
type Options struct {
	// ClusterID and NodeID are this broker's; a folder of another is refused.
	ClusterID string
	NodeID    int32
	// Config is for logs that are found on disk, by topic. Default: DefaultConfig for all. Reconfigure changes it
	// later.
	Config func(topic string) Config
	// OpenFiles is how many files of logs are kept open at most. Default 4096, or a quarter of what the process may
	// open.
	OpenFiles int
	// RecoveryThreads is how many logs are opened at a time after a crash; after an orderly end there are more, unless it is
	// 1. Default: the number of processors (num.recovery.threads.per.data.dir).
	RecoveryThreads int
	// CheckpointInterval is how often recovery points and starts are written. Default 60 s
	// (log.flush.offset.checkpoint.interval.ms, log.flush.start.offset.checkpoint.interval.ms).
	CheckpointInterval time.Duration
	// ExpiryInterval is how often producers that write no more are looked for. Default 10 min
	// (producer.id.expiration.check.interval.ms).
	ExpiryInterval time.Duration
	// Tuning is what Store.Tune changes later. Default: DefaultTuning.
	Tuning *Tuning
	// OnOffline is called after a log or a data folder has gone offline. It must return at once.
	OnOffline func()
	Logger    *slog.Logger // default: slog.Default
	// Now is the clock. Default time.Now.
	Now func() time.Time
	// NewID makes ids and unique parts of names. Default NewID. A simulation gives both, and one closing thread, so that
	// the same seed makes the same calls to the file system.
	NewID func() string
	// Journal is how big the journals of appends that must be durable get. Default: see journal.Config.
	Journal      JournalOptions
	CloseThreads int // how many logs are closed at a time; default 16
	// Idle has nobody do the background work: what flushes, checkpoints and deletes then is who asks for it. A simulation
	// wants that, whose every step comes from its seed.
	Idle bool
}

func (o Options) withDefaults() Options {
	if o.Config == nil {
		o.Config = func(string) Config { return DefaultConfig() }
	}
	if o.OpenFiles <= 0 {
		o.OpenFiles = min(4096, vfs.OpenMax()/4)
	}
	if o.RecoveryThreads <= 0 {
		o.RecoveryThreads = runtime.GOMAXPROCS(0)
	}
	if o.CheckpointInterval <= 0 {
		o.CheckpointInterval = time.Minute
	}
	if o.ExpiryInterval <= 0 {
		o.ExpiryInterval = 10 * time.Minute
	}
	if o.Tuning == nil {
		t := DefaultTuning()
		o.Tuning = &t
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.NewID == nil {
		o.NewID = NewID
	}
	if o.CloseThreads <= 0 {
		o.CloseThreads = closeThreads
	}
	return o
}

// JournalOptions are fields of journal.Config.
type JournalOptions struct {
	FileBytes, DirectBytes int64
	Files                  int
}

// Store is all logs of a broker's data folders. Its methods may be called by anyone at any time.
type Store struct {
	fs     vfs.FS // set on opening, never changed
	o      Options
	files  *segment.Descriptors
	dirs   []*dataDir
	rival  map[protocol.TopicPartition][]rival // guarded by changes
	lost   []*dataDir                          // that could not be used from the start; nothing but their path is known
	logger *slog.Logger

	tuning     atomic.Pointer[Tuning]
	background background
	deleted    [reasons]atomic.Int64 // segments
	moves      moves
	lowered    []*Log // while logs are opened; under mu

	replayedBatches atomic.Uint64

	changes sync.Mutex // one Create or Delete at a time; taken before every other lock

	mu struct { // held for a few instructions; nothing is locked under it
		sync.RWMutex
		logs        map[protocol.TopicPartition]*Log
		failed      map[protocol.TopicPartition]*OfflineError // could not be opened
		brokerEpoch int64
		closed      bool
	}
}

// dataDir is one data folder.
type dataDir struct {
	path  string
	meta  Meta
	lock  io.Closer
	clean bool // how it was left, on opening

	// cleanEpoch is the registration that the mark of that names, or -1.
	cleanEpoch int64

	// unsure says that the file with the logs' starts was damaged, on opening, or may be.
	unsure bool
	space  space
	health health

	journal  *journal.Journal
	found    *journal.Found // what a former run has left; only while the store is opened
	replayed []*Log         // logs with a rescue file; only while the store is opened, under Store.mu

	mu      sync.Mutex // one writer of checkpoints at a time; held across their writes
	written map[string]offsets
	// arriving are lines, by file, of logs that are about to be moved here. They stay until the log is.
	arriving map[string]offsets
}

// Dir describes a data folder.
type Dir struct {
	Path  string
	ID    string
	Clean bool // the broker that used it before ended in order

	// CleanEpoch is the registration under which it did, -1 where it did not or the mark does not say. A folder that was brought
	// back from a copy has that of the copy.
	CleanEpoch int64

	// Offline says why the folder cannot be used, nil where it can. One that was so from the start has no ID.
	Offline error
}

// OpenStore takes the data folders: locks them, checks whose they are, and opens every log in them, reading again what
// a crash may have torn. Folders that do not exist are made. What is wrong with a folder is a *UnusableError; what is
// wrong with one log takes that log offline, see Failed.
//
// It starts the goroutines that flush, checkpoint and delete; Close ends them.
func OpenStore(fsys vfs.FS, dirs []string, o Options) (*Store, error) {
	s, err := openIdle(fsys, dirs, o)
	if err != nil {
		return nil, err
	}
	if !o.Idle {
		s.background.start(s)
	}
	return s, nil
}

// openIdle is a store whose background work nobody does.
func openIdle(fsys vfs.FS, dirs []string, o Options) (*Store, error) {
	o = o.withDefaults()
	s := &Store{fs: fsys, o: o, files: segment.NewDescriptors(fsys, o.OpenFiles), logger: o.Logger}
	s.mu.logs = map[protocol.TopicPartition]*Log{}
	s.mu.failed = map[protocol.TopicPartition]*OfflineError{}
	s.mu.brokerEpoch = -1
	s.Tune(*o.Tuning)
	s.background.init()
	if len(dirs) == 0 {
		return nil, errors.New("no data folder is named")
	}
	for _, dir := range dirs {
		d, err := s.openDir(path.Clean(dir))
		if err != nil && DiskFailed(err) && len(dirs) > 1 {
			s.lose(path.Clean(dir), err)
			continue
		}
		if err != nil {
			s.unlock()
			return nil, err
		}
		s.dirs = append(s.dirs, d)
	}
	if len(s.dirs) == 0 {
		err := s.lost[0].health.failure.Load()
		return nil, &UnusableError{Path: err.Dir, What: "cannot be used, nor any other data folder", Do: "Check the disks.",
			Err: err.Err}
	}
	s.mu.brokerEpoch = s.cleanEpoch()
	s.moves.init(s.dirs)
	s.rival = map[protocol.TopicPartition][]rival{}
	err := s.load()
	if err == nil {
		err = s.endJournals()
	}
	if err != nil {
		s.unlock()
		return nil, err
	}
	s.keepReserves() // before the first append
	return s, nil
}

func (s *Store) unlock() {
	for _, d := range s.dirs {
		_ = d.lock.Close()
	}
}

func (s *Store) openDir(dir string) (_ *dataDir, err error) {
	if err := s.fs.MkdirAll(dir); err != nil {
		return nil, &UnusableError{Path: dir, What: "cannot be made", Do: "Check the path and its rights.", Err: err}
	}
	lock, err := s.fs.Lock(path.Join(dir, lockFile))
	if held := (*vfs.LockedError)(nil); errors.As(err, &held) {
		return nil, &UnusableError{
			Path: dir, What: "is in use", Err: err,
			Do: "Stop that process, or start with another data folder.",
		}
	}
	if errors.Is(err, syscall.EROFS) {
		return nil, &UnusableError{
			Path: dir, What: "is on a file system that can only be read", Err: err, Do: "Mount it for writing.",
		}
	}
	if err != nil {
		return nil, &UnusableError{Path: dir, What: "cannot be locked", Do: "Check the folder's rights.", Err: err}
	}
	d := &dataDir{path: dir, lock: lock, written: map[string]offsets{}, arriving: map[string]offsets{}}
	defer func() {
		if err != nil {
			_ = lock.Close()
		}
	}()
	if d.meta, err = checkMeta(s.fs, dir, s.o); err != nil {
		return nil, err
	}
	for _, name := range []string{recoveryPointFile, logStartFile, highWatermarkFile, cleanerFile} {
		if d.written[name], err = readOffsets(s.fs, dir, name); err != nil {
			// Without it everything is read again, and starts fall back to the first segment: nothing is lost by that.
			s.logger.Warn("a checkpoint cannot be read, its logs are read again", "dir", dir, "err", err)
			d.written[name] = offsets{}
			d.unsure = d.unsure || name == logStartFile
		}
	}
	if err := s.openJournal(d); err != nil {
		return nil, err
	}
	d.clean, d.cleanEpoch = readCleanMark(s.fs, path.Join(dir, cleanFile))
	return d, nil
}

// Log is the log of a partition. ok is false when there is none, or it is offline.
func (s *Store) Log(tp protocol.TopicPartition) (l *Log, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	l, ok = s.mu.logs[tp]
	return l, ok
}

// Failed is why a partition's log could not be opened, nil when it could.
func (s *Store) Failed(tp protocol.TopicPartition) error {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := s.mu.failed[tp]; err != nil {
		return err
	}
	return nil
}

// logs is every log, in no order.
func (s *Store) logs() []*Log {
	s.mu.RLock()
	defer s.mu.RUnlock()
	logs := make([]*Log, 0, len(s.mu.logs)+1)
	for _, l := range s.mu.logs {
		logs = append(logs, l)
	}
	return logs
}

// All is every log, by name.
func (s *Store) All() []*Log {
	logs := s.logs()
	slices.SortFunc(logs, byPartition)
	return logs
}

func byPartition(a, b *Log) int { return comparePartitions(a.tp, b.tp) }

// Dirs are the data folders.
func (s *Store) Dirs() []Dir {
	var out []Dir
	for _, d := range slices.Concat(s.dirs, s.lost) {
		out = append(out, Dir{Path: d.path, ID: d.meta.DirectoryID, Clean: d.clean, CleanEpoch: d.cleanEpoch, Offline: d.offline()})
	}
	return out
}

// OpenFiles is the number of files of logs that are open now.
func (s *Store) OpenFiles() int { return s.files.Open() }

// HighWatermark is what the last Checkpoint of a former run said of a partition.
func (s *Store) HighWatermark(tp protocol.TopicPartition) (protocol.Offset, bool) {
	l, ok := s.Log(tp)
	if !ok {
		return 0, false
	}
	d := s.dirAt(path.Dir(l.Dir()))
	d.mu.Lock()
	defer d.mu.Unlock()
	hw, ok := d.written[highWatermarkFile][tp]
	return hw, ok
}

// Create makes a partition's log in the folder that has the fewest. Where it already exists it is returned as it is.
func (s *Store) Create(tp protocol.TopicPartition, id protocol.TopicID, cfg Config) (*Log, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("configuration of %v: %w", tp, err)
	}
	s.changes.Lock()
	defer s.changes.Unlock()
	if l, err := s.present(tp, id); l != nil || err != nil {
		return l, err
	}
	d, err := s.place(tp, cfg)
	if err != nil {
		return nil, err
	}
	l, err := s.create(d, tp, id, cfg)
	if err != nil {
		s.suspect(d, err)
		return nil, fmt.Errorf("make the log of %v in %s: %w: %w", tp, d.path, protocol.KafkaStorageError, err)
	}
	d.health.logs.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mu.logs[tp] = l
	return l, nil
}

// present is the log that a Create need not make, or why it cannot.
func (s *Store) present(tp protocol.TopicPartition, id protocol.TopicID) (*Log, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.mu.closed {
		return nil, ErrClosed
	}
	if err, ok := s.mu.failed[tp]; ok {
		return nil, err
	}
	l := s.mu.logs[tp]
	if l != nil && !l.id.IsZero() && l.id != id {
		return nil, protocol.Errorf(protocol.InconsistentTopicID, "%v is there with the topic id %v, not %v", tp, l.id, id)
	}
	return l, nil
}

func (s *Store) create(d *dataDir, tp protocol.TopicPartition, id protocol.TopicID, cfg Config) (*Log, error) {
	if err := d.forget(s.fs, tp); err != nil {
		return nil, err
	}
	// A log whose id a crash has taken is in the journal without one, and the new one is without until its file is durable.
	for _, old := range []protocol.TopicID{id, {}} {
		if err := d.journal.Forget(journal.Name{ID: old, Partition: tp}); err != nil {
			return nil, err
		}
	}
	dir := path.Join(d.path, tp.String())
	if err := vfs.RemoveAll(s.fs, dir); err != nil { // half made by a Create that failed
		return nil, err
	}
	if err := s.fs.Mkdir(dir); err != nil {
		return nil, err
	}
	if err := writePartition(s.fs, dir, id); err != nil {
		return nil, err
	}
	l, _, err := openLog(opening{
		tp: tp, id: id, dir: dir, files: s.files, keeper: s, journal: d.journal, cfg: cfg, logger: s.logger, now: s.o.Now(), clean: true,
	})
	return l, err
}

func writePartition(fsys vfs.FS, dir string, id protocol.TopicID) error {
	f, err := fsys.Create(path.Join(dir, partitionFile))
	if err != nil {
		return err
	}
	_, err = f.WriteAt(encodePartition(id), 0)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// Delete takes a partition's log away: it is gone at once, its folder is renamed, and the files go after
// file.delete.delay.ms.
func (s *Store) Delete(tp protocol.TopicPartition) error {
	s.changes.Lock()
	defer s.changes.Unlock()
	if m := s.moves.of(tp); m != nil {
		s.endMove(m)
	}
	s.mu.Lock()
	l, ok := s.mu.logs[tp]
	failed := s.mu.failed[tp]
	delete(s.mu.logs, tp)
	delete(s.mu.failed, tp)
	s.mu.Unlock()
	var dir string
	delay := DefaultConfig().DeleteDelay
	switch {
	case ok:
		l.shut()
		dir, delay = l.Dir(), l.Config().DeleteDelay
	case failed != nil:
		dir = failed.Dir
	default:
		return nil
	}
	d := s.dirAt(path.Dir(dir))
	d.health.logs.Add(-1)
	gone := path.Join(d.path, deletedDir(tp, s.o.NewID()))
	err := d.offline()
	if err == nil && failed != nil && s.isLink(d, dir) {
		err, gone = s.fs.Remove(dir), dir // the link, and not what it leads to
	} else if err == nil {
		err = s.fs.Rename(dir, gone)
		// A new name needs space where a folder is kept, and taking files away does not.
		if err != nil && !DiskFailed(err) && vfs.RemoveAll(s.fs, dir) == nil {
			err = nil
		}
	}
	if err == nil {
		err = s.fs.SyncDir(d.path)
	}
	if err != nil {
		s.suspect(d, err)
		return fmt.Errorf("delete %v: %w: %w", tp, protocol.KafkaStorageError, err)
	}
	if gone != dir {
		s.background.removal.add(true, s.o.Now().Add(delay), gone) // RemoveAll is content where there is none
	}
	return nil
}

const deletedDirSuffix = "-delete"

// deletedDir is Kafka's name for the folder of a deleted partition: topic-partition.random-delete, in at most 255
// bytes.
func deletedDir(tp protocol.TopicPartition, id string) string {
	suffix := fmt.Sprintf("-%d.%x%s", tp.Partition, id[:16], deletedDirSuffix)
	return tp.Topic[:min(len(tp.Topic), 255-len(suffix))] + suffix
}

func isDeletedDir(name string) bool {
	return strings.HasSuffix(name, deletedDirSuffix) && strings.Contains(name, ".")
}
