package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/epoch"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// Finding is something that is not as it should be.
type Finding struct {
	File   string
	Byte   int64           // -1 where it says nothing
	Offset protocol.Offset // -1 where it says nothing
	What   string
	Do     string // what to do about it
	// Note says that it is no damage: the next start puts it in order, or it harms nobody.
	Note bool
}

// Summary is what was looked at.
type Summary struct {
	Partitions, Segments int
	Bytes                int64
	Batches, Records     int64
	Damage, Notes        int
	Running              int // the process that uses the folder; 0 for none, -1 where it cannot be known
}

// Verifier checks folders. Its fields are set before and not changed.
type Verifier struct {
	FS vfs.FS
	// Report takes each finding as it is made.
	Report func(Finding)
	// Progress is told now and then how many bytes have been read. It may be nil.
	Progress func(bytes int64)

	sum     Summary
	running bool
}

const (
	cleanMark = ".kafka_cleanshutdown"
	lockFile  = ".lock"

	doRepair = "run moldau log repair on the data folder, or get the partition from a replica"
	doNext   = "the next start puts it in order"
)

// holder is implemented by file systems that can say who uses a folder.
type holder interface {
	Holder(name string) (pid int, held bool)
}

// Verify checks name, a data folder or a partition's. The error says that it cannot be looked at at all.
func (v *Verifier) Verify(name string) (Summary, error) {
	st, err := v.FS.Stat(name)
	if err != nil {
		return v.sum, err
	}
	if !st.Dir {
		return v.sum, fmt.Errorf("%s is a file; name a data folder or a partition's folder", name)
	}
	data := name
	if _, ok := storage.ParseFolder(path.Base(name)); ok {
		data = path.Dir(name)
	}
	if h, ok := v.FS.(holder); ok {
		if pid, held := h.Holder(path.Join(data, lockFile)); held {
			v.running, v.sum.Running = true, cmp.Or(pid, -1)
		}
	}
	d, err := v.dataFolder(data)
	if err != nil {
		return v.sum, err
	}
	if data != name {
		err = v.partition(d, path.Base(name))
	} else {
		err = v.partitions(d)
	}
	return v.sum, err
}

func (v *Verifier) damage(file string, at int64, offset protocol.Offset, do, format string, a ...any) {
	v.sum.Damage++
	v.Report(Finding{File: file, Byte: at, Offset: offset, What: fmt.Sprintf(format, a...), Do: do})
}

func (v *Verifier) note(file string, at int64, offset protocol.Offset, do, format string, a ...any) {
	v.sum.Notes++
	v.Report(Finding{File: file, Byte: at, Offset: offset, What: fmt.Sprintf(format, a...), Do: do, Note: true})
}

// folder is a data folder's own files.
type folder struct {
	dir     string
	clean   bool
	offsets map[string]storage.Offsets // by checkpoint
}

// dataFolder reads what a data folder says of its partitions. A partition's folder may lie anywhere, so that all of it may be
// missing.
func (v *Verifier) dataFolder(dir string) (*folder, error) {
	d := &folder{dir: dir, offsets: map[string]storage.Offsets{}}
	if _, err := v.FS.Stat(path.Join(dir, cleanMark)); err == nil {
		d.clean = true
	}
	if _, _, err := storage.ReadMeta(v.FS, dir); err != nil {
		return nil, err
	}
	for _, name := range checkpoints {
		o, err := storage.ReadCheckpoint(v.FS, dir, name)
		if err != nil {
			v.damage(path.Join(dir, name), -1, -1, "run moldau log repair, which keeps the lines that are whole", "%v", err)
		}
		d.offsets[name] = o
	}
	return d, nil
}

// partitions checks every partition of a data folder.
func (v *Verifier) partitions(d *folder) error {
	entries, err := v.FS.List(d.dir)
	if err != nil {
		return err
	}
	here := map[protocol.TopicPartition]bool{}
	for _, e := range entries {
		tp, ok := storage.ParseFolder(e.Name)
		switch {
		case !e.Dir && ok:
			v.note(path.Join(d.dir, e.Name), -1, -1, "move it away, or put the folder itself there",
				"has a partition's name and is no folder; it is left alone")
		case !e.Dir:
		case strings.HasSuffix(e.Name, "-stray"):
			v.note(path.Join(d.dir, e.Name), -1, -1, "move it away if nobody misses the topic",
				"Apache Kafka has put this partition aside")
		case ok:
			here[tp] = true
			if err := v.partition(d, e.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	if v.running {
		return nil
	}
	for _, name := range checkpoints {
		for _, f := range checkpointLines(d.offsets[name]) {
			tp := protocol.TopicPartition{Topic: f.List[0].Value.(string), Partition: f.List[1].Value.(int32)}
			if !here[tp] {
				v.note(path.Join(d.dir, name), -1, -1, doNext, "%v is named, but has no folder here", tp)
			}
		}
	}
	return nil
}

// files are what a partition's folder holds.
type files struct {
	segments  []protocol.Offset
	present   map[string]int64 // name: size
	snapshots []protocol.Offset
	rescued   bool // there is a file of records that are not in the log
}

func (v *Verifier) list(dir string) (files, error) {
	fl := files{present: map[string]int64{}}
	entries, err := v.FS.List(dir)
	if err != nil {
		return fl, err
	}
	for _, e := range entries {
		base, suffix, ok := segment.ParseName(e.Name)
		fl.present[e.Name] = e.Size
		name := path.Join(dir, e.Name)
		switch {
		case e.Dir, slices.Contains([]string{epochsFile, topicFile, storage.MovedFile, "quorum-state"}, e.Name):
		case strings.HasSuffix(e.Name, ".checkpoint"):
		case e.Name == storage.RescuedFile:
			fl.rescued = true
			v.note(name, -1, -1, "the next start adds them, once the log can be opened",
				"holds acknowledged records that are not in the log")
		case strings.HasSuffix(e.Name, segment.DeletedSuffix), strings.HasSuffix(e.Name, segment.CleanedSuffix),
			strings.HasSuffix(e.Name, segment.SwapSuffix), strings.HasSuffix(e.Name, ".tmp"):
			if !v.running {
				v.note(name, -1, -1, doNext, "is left of work that was cut short")
			}
		case !ok || KindOf(e.Name) == Unknown:
			v.note(name, -1, -1, "move it away", "is none of a broker's files; it is left alone")
		case suffix == segment.LogSuffix:
			fl.segments = append(fl.segments, base)
		case suffix == segment.SnapshotSuffix:
			fl.snapshots = append(fl.snapshots, base)
		}
	}
	for name := range fl.present {
		base, suffix, ok := segment.ParseName(name)
		index := ok && (suffix == segment.IndexSuffix || suffix == segment.TimeSuffix || suffix == segment.TxnSuffix)
		if index && !slices.Contains(fl.segments, base) && !v.running {
			v.note(path.Join(dir, name), -1, -1, doNext, "is an index without a log")
		}
	}
	slices.Sort(fl.segments)
	slices.Sort(fl.snapshots)
	return fl, nil
}

// retries is how often a partition that a broker uses is looked at again before what was found in it counts: its files may
// have been replaced or removed while they were read.
const retries = 3

// partition checks one partition's folder.
func (v *Verifier) partition(d *folder, name string) error {
	for try := 0; v.running && try < retries; try++ {
		found := 0
		calm := &Verifier{FS: v.FS, Report: func(Finding) { found++ }, Progress: v.Progress, running: true}
		err := calm.onePartition(d, name)
		if err == nil && found == 0 {
			v.sum.add(calm.sum)
			return nil
		}
	}
	return v.onePartition(d, name)
}

func (s *Summary) add(more Summary) {
	s.Partitions += more.Partitions
	s.Segments += more.Segments
	s.Bytes += more.Bytes
	s.Batches += more.Batches
	s.Records += more.Records
}

func (v *Verifier) onePartition(d *folder, name string) error {
	tp, _ := storage.ParseFolder(name)
	dir := path.Join(d.dir, name)
	fl, err := v.list(dir)
	if err != nil {
		return err
	}
	v.sum.Partitions++
	c := &check{v: v, dir: dir, files: fl, clean: d.clean, recovery: -1, producers: map[int64]*seen{}}
	if o, ok := d.offsets[storage.RecoveryPoints][tp]; ok {
		c.recovery = o
	}
	if err := c.small(); err != nil {
		return err
	}
	for i := range fl.segments {
		if err := c.segment(i); err != nil {
			if errors.Is(err, fs.ErrNotExist) && v.running {
				continue // retention has taken it meanwhile
			}
			return err
		}
	}
	if err := c.snapshotsUpTo(-1); err != nil {
		return err
	}
	c.checkpoints(d, tp)
	return nil
}

// small checks the files that are there once.
func (c *check) small() error {
	if _, err := storage.ReadTopicID(c.v.FS, c.dir); errors.Is(err, fs.ErrNotExist) {
		c.v.note(path.Join(c.dir, topicFile), -1, -1, "nothing: the metadata knows the topic's id too", "is missing")
	} else if err != nil {
		c.v.damage(path.Join(c.dir, topicFile), 0, -1, "run moldau log repair, which moves it aside", "%v", err)
	}
	b, err := vfs.ReadFile(c.v.FS, path.Join(c.dir, epochsFile), smallFileMax)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.noEpochs = true
		return nil
	case err != nil:
		return err
	}
	if c.epochs, err = epoch.Parse(b); err != nil {
		c.noEpochs = true
		c.v.damage(path.Join(c.dir, epochsFile), 0, -1, "run moldau log repair, which makes it anew from the log", "%v", err)
	}
	c.noEpochs = c.noEpochs || len(b) == 0
	return nil
}

// checkpoints compares what the data folder says of the partition with where its log begins and ends.
func (c *check) checkpoints(d *folder, tp protocol.TopicPartition) {
	if len(c.files.segments) == 0 || c.v.running {
		return
	}
	if c.recovery > c.next && !c.broken {
		c.v.damage(path.Join(d.dir, storage.RecoveryPoints), -1, c.next, doRepair,
			"%v was flushed up to offset %d, and its log ends at %d: records are missing", tp, c.recovery, c.next)
	}
	if c.clean && c.recovery >= 0 && c.recovery < c.next && !c.broken {
		c.v.damage(path.Join(d.dir, storage.RecoveryPoints), -1, c.recovery, doRepair,
			"%v was left in order at offset %d, and its log ends at %d", tp, c.recovery, c.next)
	}
	if o, ok := d.offsets[storage.LogStarts][tp]; ok && o > c.next && !c.broken {
		c.v.note(path.Join(d.dir, storage.LogStarts), -1, o, doNext, "%v begins at offset %d, and its log ends at %d", tp, o, c.next)
	}
	if o, ok := d.offsets[storage.HighWatermarks][tp]; ok && o > c.next && !c.broken {
		c.v.note(path.Join(d.dir, storage.HighWatermarks), -1, o, doNext,
			"%v has the high watermark %d, and its log ends at %d", tp, o, c.next)
	}
}
