package inspect

import (
	"fmt"
	"path"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/epoch"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

const (
	// repairInterval is the bytes between two entries of the indexes that a repair makes (index.interval.bytes).
	repairInterval = 4096
	copyBytes      = 1 << 20
	kafkasMetadata = "__cluster_metadata-0"
	// writtenSuffix ends the name of a file that is not complete. What a crash leaves of it goes at the next start.
	writtenSuffix = ".tmp"
)

// Aside is the folder into which a repair of the data folder dir that is made at now moves what it takes away: inside of it,
// on the same disk. In a folder of Apache Kafka's it is in the one place in which Kafka starts with a folder that is no
// partition's.
func Aside(fsys vfs.FS, dir string, now time.Time) string {
	name := "moldau.repair-" + now.UTC().Format("20060102T150405Z")
	if _, err := fsys.Stat(path.Join(dir, kafkasMetadata)); err == nil {
		return path.Join(dir, kafkasMetadata, name)
	}
	return path.Join(dir, name)
}

// Apply does what the plan says. Nothing is deleted: what is cut off or replaced is in the folder aside before. It can be cut
// short anywhere: what is left is a folder with less damage, or none. The caller holds the folder's lock.
func (r *Repairer) Apply(p Plan, aside string, now time.Time) error {
	// While this goes on the folder is not one that was left in order: a broker that finds it half repaired has to look closely.
	mark := path.Join(p.Dir, cleanMark)
	clean, err := vfs.ReadFile(r.FS, mark, smallFileMax)
	if ignoreMissing(err) != nil {
		return err
	}
	if err == nil {
		if err := r.FS.Remove(mark); err != nil {
			return err
		}
		if err := r.FS.SyncDir(p.Dir); err != nil {
			return err
		}
	}
	if err := r.apply(p, aside, now); err != nil || clean == nil {
		return err
	}
	return vfs.WriteFile(r.FS, mark, clean)
}

func (r *Repairer) apply(p Plan, aside string, now time.Time) error {
	for _, name := range p.Checkpoints {
		if err := r.checkpoint(p.Dir, name, aside); err != nil {
			return err
		}
	}
	for _, pp := range p.Partitions {
		a := &repair{r: r, dir: path.Join(p.Dir, pp.Partition.String()), aside: path.Join(aside, pp.Partition.String()), now: now}
		if err := a.run(p.Dir, pp); err != nil {
			return fmt.Errorf("repair %v: %w", pp.Partition, err)
		}
	}
	return nil
}

// checkpoint keeps the whole lines of a damaged checkpoint.
func (r *Repairer) checkpoint(dir, name, aside string) error {
	whole, err := storage.ReadWhole(r.FS, dir, name)
	if err != nil {
		return err
	}
	raw, err := vfs.ReadFile(r.FS, path.Join(dir, name), smallFileMax)
	if err != nil {
		return err
	}
	if err := r.FS.MkdirAll(aside); err != nil {
		return err
	}
	if err := vfs.WriteFile(r.FS, path.Join(aside, name), raw); err != nil {
		return err
	}
	return storage.WriteCheckpoint(r.FS, dir, name, whole)
}

// repair is the repair of one partition.
type repair struct {
	r          *Repairer
	dir, aside string
	now        time.Time

	state  *producers.State
	epochs epoch.History
	next   protocol.Offset
}

func (a *repair) run(data string, pp PartitionPlan) error {
	if err := a.r.FS.MkdirAll(a.aside); err != nil {
		return err
	}
	for _, sp := range slices.Backward(pp.Segments) { // the last first: a crash in between leaves no hole
		if err := a.shorten(sp); err != nil {
			return err
		}
	}
	if err := a.clear(pp.Rescued); err != nil {
		return err
	}
	if err := a.rebuild(); err != nil {
		return err
	}
	return a.checkpoints(data, pp.Partition)
}

// move moves a file aside.
func (a *repair) move(name string) error {
	err := a.r.FS.Rename(path.Join(a.dir, name), path.Join(a.aside, name))
	return ignoreMissing(err)
}

// sync keeps the names in both folders.
func (a *repair) sync() error {
	if err := a.r.FS.SyncDir(a.aside); err != nil {
		return err
	}
	return a.r.FS.SyncDir(a.dir)
}

// shorten takes out of a segment's log what is to go.
func (a *repair) shorten(sp SegmentPlan) error {
	name := segment.FileName(sp.Base, segment.LogSuffix)
	if sp.Whole {
		if err := a.move(name); err != nil {
			return err
		}
		return a.sync()
	}
	fsys := a.r.FS
	if err := copySpans(fsys, path.Join(a.dir, name), path.Join(a.aside, name), []Span{{0, sp.Size}}); err != nil {
		return err
	}
	if err := fsys.SyncDir(a.aside); err != nil {
		return err
	}
	fresh := path.Join(a.dir, name+writtenSuffix)
	if err := copySpans(fsys, path.Join(a.dir, name), fresh, sp.kept()); err != nil {
		return err
	}
	if err := fsys.Rename(fresh, path.Join(a.dir, name)); err != nil {
		return err
	}
	return fsys.SyncDir(a.dir)
}

// copySpans writes stretches of a file one after the other into another, durably.
func copySpans(fsys vfs.FS, from, to string, spans []Span) (err error) {
	src, err := fsys.Open(from)
	if err != nil {
		return err
	}
	defer src.Close()
	dst, err := fsys.Create(to)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := dst.Close(); err == nil {
			err = cerr
		}
	}()
	buf := make([]byte, copyBytes)
	at := int64(0)
	for _, s := range spans {
		for s.From < s.To {
			n := int(min(s.To-s.From, copyBytes))
			if got, err := src.ReadAt(buf[:n], s.From); got < n {
				return fmt.Errorf("read %s at byte %d: %w", from, s.From, err)
			}
			if _, err := dst.WriteAt(buf[:n], at); err != nil {
				return fmt.Errorf("write %s: %w", to, err)
			}
			s.From, at = s.From+int64(n), at+int64(n)
		}
	}
	return dst.Sync()
}

// clear moves aside what is made anew from the log: indexes, snapshots, epochs, and a topic's id that cannot be read, which the
// metadata knows too; and, where rescued says so, the records that waited for the log's former end.
func (a *repair) clear(rescued bool) error {
	entries, err := a.r.FS.List(a.dir)
	if err != nil {
		return err
	}
	_, idErr := storage.ReadTopicID(a.r.FS, a.dir)
	for _, e := range entries {
		kind := KindOf(e.Name)
		goes := kind == Offsets || kind == Times || kind == Aborted || kind == Snapshot || kind == Epochs ||
			kind == Topic && idErr != nil || e.Name == storage.RescuedFile && rescued
		if e.Dir || !goes {
			continue
		}
		if err := a.move(e.Name); err != nil {
			return err
		}
	}
	return a.sync()
}

// rebuild makes the files beside the logs anew.
func (a *repair) rebuild() error {
	v := &Verifier{FS: a.r.FS, Report: func(Finding) {}}
	fl, err := v.list(a.dir)
	if err != nil {
		return err
	}
	a.state = producers.New()
	files := segment.NewDescriptors(a.r.FS, 16)
	for i, base := range fl.segments {
		if i == 0 {
			a.next = base
		}
		size := fl.present[segment.FileName(base, segment.LogSuffix)]
		s, found, err := segment.Recover(files, a.dir, base, size, repairInterval, segment.Recovery{
			Each: a.batch,
			Cut: func(found segment.Found) error {
				return fmt.Errorf("segment %d is still damaged behind byte %d: %w", base, found.Kept, found.Reason)
			},
		})
		if err != nil {
			return err
		}
		a.next = max(a.next, found.Next)
		if i+1 < len(fl.segments) {
			err = s.Finish()
		}
		if err == nil {
			err = s.Sync()
		}
		s.Drop()
		if err != nil {
			return err
		}
	}
	a.state.SetEnd(a.next)
	if a.state.Len() > 0 {
		name := segment.FileName(a.next, segment.SnapshotSuffix)
		if err := vfs.WriteFile(a.r.FS, path.Join(a.dir, name), a.state.Snapshot()); err != nil {
			return err
		}
	}
	return vfs.WriteFile(a.r.FS, path.Join(a.dir, epochsFile), a.epochs.Encode())
}

func (a *repair) batch(s *segment.Segment, b batch.Batch) error {
	a.epochs, _ = a.epochs.Assign(b.LeaderEpoch(), b.BaseOffset())
	if ended, ok := a.state.Apply(b, a.now); ok && ended.Aborted {
		s.Abort(segment.AbortedTxn{
			ProducerID: ended.ProducerID, First: ended.First, Last: ended.Last, LastStable: ended.LastStable,
		})
	}
	return nil
}

// checkpoints says of the partition what is so now: all of it is durable, and nothing lies behind its end.
func (a *repair) checkpoints(data string, tp protocol.TopicPartition) error {
	for _, name := range checkpoints {
		o, err := storage.ReadCheckpoint(a.r.FS, data, name)
		if err != nil {
			return err
		}
		if o == nil {
			o = storage.Offsets{}
		}
		before, there := o[tp]
		switch {
		case name == storage.RecoveryPoints:
			o[tp] = a.next
		case there && before > a.next:
			o[tp] = a.next
		default:
			continue
		}
		if err := storage.WriteCheckpoint(a.r.FS, data, name, o); err != nil {
			return err
		}
	}
	return nil
}
