package storage

import (
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/epoch"
	"moldau.io/moldau/storage/journal"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// epochFile holds the leader-epoch history of a log.
const epochFile = "leader-epoch-checkpoint"

// smallFileMax is more than any checkpoint of one log needs.
const smallFileMax = 64 << 20

// opening is what is needed to open one log.
type opening struct {
	tp      protocol.TopicPartition
	id      protocol.TopicID
	dir     string
	files   *segment.Descriptors
	keeper  keeper
	journal *journal.Journal // nil for a log that is only read
	cfg     Config
	logger  *slog.Logger
	now     time.Time

	clean    bool            // the log was closed, and nothing has to be read again
	recovery protocol.Offset // everything before it was durable
	start    protocol.Offset // the start that was last kept
	unsure   bool            // the file that says the start is damaged
	read     *atomic.Int64   // is told the bytes that are read again; may be nil
	hw       protocol.Offset // the high watermark that was last kept
	cleaned  protocol.Offset // everything before it was compacted
	replays  []source        // what the journal has of the log
}

// Recovered says what opening a log after a crash did.
type Recovered struct {
	Segments int             // that were read again
	Bytes    int64           // that were read again
	Cut      int64           // bytes that did not check out and were removed
	Replayed int             // batches that were in the journal only
	Rescued  bool            // there is a rescue file
	End      protocol.Offset // where the log ends now
	Reason   error           // why the first byte that was cut did not check out
	// Lowered says that the recovery point is lower than it was, since indexes below it were made anew and not synced.
	Lowered bool
}

// onDisk is what a log's folder holds.
type onDisk struct {
	segments  []protocol.Offset // in order
	sizes     map[protocol.Offset]*segment.Sizes
	snapshots []protocol.Offset // in order
	leftovers []string          // files to remove
	foreign   []string          // files and folders that no broker has made
	swapping  bool              // there is what a compaction left, see completeSwaps
}

// openLog opens a folder's log, or begins one where the folder has none.
func openLog(o opening) (*Log, Recovered, error) {
	l := &Log{tp: o.tp, id: o.id, files: o.files, logger: o.logger, keeper: o.keeper}
	l.folder.Store(&o.dir)
	l.cfg.Store(&o.cfg)
	l.journal.Store(o.journal)
	l.namedUpTo.Store(-1)
	l.w.snapshot = -1
	l.w.flushedAt = o.now
	l.unstable.Store(noUnstable)
	l.uncommitted.Store(noUnstable)
	l.cleaned.Store(int64(o.cleaned))
	disk, err := look(o.files.FS(), o.dir)
	if err == nil && disk.swapping {
		if err = completeSwaps(o); err == nil {
			disk, err = look(o.files.FS(), o.dir)
		}
	}
	if err != nil {
		return nil, Recovered{}, err
	}
	if len(disk.foreign) > 0 {
		o.logger.Warn("what is in a log's folder and not of the log is left alone", "dir", o.dir,
			"names", strings.Join(disk.foreign[:min(len(disk.foreign), foreignNamed)], ", "), "count", len(disk.foreign))
	}
	for _, name := range disk.leftovers {
		if err := vfs.RemoveIfThere(o.files.FS(), path.Join(o.dir, name)); err != nil {
			return nil, Recovered{}, err
		}
	}
	if len(disk.segments) == 0 && len(o.replays) > 0 {
		return nil, Recovered{}, fmt.Errorf("the journal has records of the log, and %s has no segment; %s", o.dir, wayOut)
	}
	if len(disk.segments) == 0 {
		l.SetHighWatermark(o.start)
		return l, Recovered{End: o.start}, l.begin(o)
	}
	r := recovery{o: o, l: l, disk: disk}
	if err := r.run(); err != nil {
		return nil, r.done, err
	}
	b := l.Bounds()
	l.SetHighWatermark(min(max(o.hw, b.Start), b.End))
	return l, r.done, nil
}

// begin makes the first segment of an empty log.
func (l *Log) begin(o opening) error {
	s, err := segment.Create(o.files, o.dir, o.start)
	if err != nil {
		return err
	}
	l.segments.Store(&[]*segment.Segment{s})
	l.start.Store(int64(o.start))
	l.synced.Store(int64(o.start))
	l.epochs.Store(&epoch.History{})
	l.w.producers = producers.New()
	l.w.producers.SetEnd(o.start)
	return nil
}

// look lists a log's folder.
func look(fsys vfs.FS, dir string) (onDisk, error) {
	d := onDisk{sizes: map[protocol.Offset]*segment.Sizes{}}
	entries, err := fsys.List(dir)
	if err != nil {
		return d, err
	}
	size := func(base protocol.Offset) *segment.Sizes {
		z := d.sizes[base]
		if z == nil {
			z = &segment.Sizes{Log: -1, Index: -1, Time: -1, Txn: -1}
			d.sizes[base] = z
		}
		return z
	}
	for _, e := range entries {
		base, suffix, ok := segment.ParseName(e.Name)
		if ours := isOurs(e.Name); !ours || e.Dir || e.Link {
			if err := misplaced(path.Join(dir, e.Name), e, ours); err != nil {
				return d, err
			}
			if !ours {
				d.foreign = append(d.foreign, e.Name)
			}
			continue
		}
		switch {
		case strings.HasSuffix(e.Name, segment.DeletedSuffix), strings.HasSuffix(e.Name, segment.CleanedSuffix),
			strings.HasSuffix(e.Name, ".tmp"):
			d.leftovers = append(d.leftovers, e.Name)
		case strings.HasSuffix(e.Name, segment.SwapSuffix):
			d.swapping = true
		case !ok:
		case suffix == segment.LogSuffix:
			size(base).Log = e.Size
			d.segments = append(d.segments, base)
		case suffix == segment.IndexSuffix:
			size(base).Index = e.Size
		case suffix == segment.TimeSuffix:
			size(base).Time = e.Size
		case suffix == segment.TxnSuffix:
			size(base).Txn = e.Size
		case suffix == segment.SnapshotSuffix:
			d.snapshots = append(d.snapshots, base)
		}
	}
	slices.Sort(d.segments)
	slices.Sort(d.snapshots)
	if len(d.segments) == 0 { // what a crash left of a log that had producers says nothing of the one that begins here
		for _, at := range d.snapshots {
			d.leftovers = append(d.leftovers, segment.FileName(at, segment.SnapshotSuffix))
		}
		d.snapshots = nil
	}
	for base, z := range d.sizes { // indexes without a log, of a segment whose removal was cut short
		if z.Log < 0 {
			for _, suffix := range []string{segment.IndexSuffix, segment.TimeSuffix, segment.TxnSuffix} {
				d.leftovers = append(d.leftovers, segment.FileName(base, suffix))
			}
		}
	}
	slices.Sort(d.leftovers)
	return d, nil
}
