package inspect

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// Difference is the first place where two replicas of a partition are not equal.
type Difference struct {
	Partition protocol.TopicPartition
	Folders   [2]string       // of the partition
	Offset    protocol.Offset // -1 where it says nothing
	What      string
	// Behind says that one replica has less than the other and is equal up to there, as one that is fetching is.
	Behind bool
}

// Compared is what was compared.
type Compared struct {
	Partitions, Replicas int
	Alone                int // partitions that only one of the brokers has
	Batches, Records     int64
	Bytes                int64
	Differences, Behind  int
}

// Comparer compares what several brokers have of the same partitions, byte for byte. Segments may begin at different offsets,
// and one log may begin later than another: compared is what both should have. What was compacted is not compared, since
// each broker does that in its own time.
type Comparer struct {
	FS vfs.FS
	// Report takes the first difference of each pair of replicas.
	Report func(Difference)
	// Progress is told now and then how many bytes have been compared. It may be nil.
	Progress func(bytes int64)

	sum Compared
}

// metadataLog is what Apache Kafka's controllers keep among the partitions. It never stands still.
const metadataLog = "__cluster_metadata"

const cleanedPoints = "cleaner-offset-checkpoint"

// replica is one broker's folder of a partition.
type replica struct {
	dir   string
	start protocol.Offset // what is before it need not be equal
}

// Compare compares brokers, each given by its data folders. The error says that a folder cannot be looked at at all.
func (c *Comparer) Compare(brokers [][]string) (Compared, error) {
	all := map[protocol.TopicPartition][]replica{}
	for _, dirs := range brokers {
		for _, dir := range dirs {
			if err := c.find(dir, all); err != nil {
				return c.sum, err
			}
		}
	}
	byName := func(a, b protocol.TopicPartition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	}
	for _, tp := range slices.SortedFunc(maps.Keys(all), byName) {
		replicas := all[tp]
		if len(replicas) == 1 {
			c.sum.Alone++
			continue
		}
		c.sum.Partitions++
		c.sum.Replicas += len(replicas)
		for _, other := range replicas[1:] {
			if err := c.pairOften(tp, replicas[0], other); err != nil {
				return c.sum, err
			}
		}
	}
	return c.sum, nil
}

// find adds the partitions of a data folder.
func (c *Comparer) find(dir string, all map[protocol.TopicPartition][]replica) error {
	if _, _, err := storage.ReadMeta(c.FS, dir); err != nil {
		return err
	}
	entries, err := c.FS.List(dir)
	if err != nil {
		return err
	}
	starts, err := storage.ReadCheckpoint(c.FS, dir, storage.LogStarts)
	if err != nil {
		return err
	}
	cleaned, err := storage.ReadCheckpoint(c.FS, dir, cleanedPoints)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if tp, ok := storage.ParseFolder(e.Name); ok && e.Dir && tp.Topic != metadataLog {
			all[tp] = append(all[tp], replica{path.Join(dir, e.Name), max(starts[tp], cleaned[tp])})
		}
	}
	return nil
}

// pairOften compares two replicas, again when files of theirs were removed meanwhile, as a running broker does.
func (c *Comparer) pairOften(tp protocol.TopicPartition, a, b replica) error {
	for try := 0; ; try++ {
		before := c.sum
		err := c.pair(tp, a, b)
		if !errors.Is(err, fs.ErrNotExist) || try == retries {
			return err
		}
		c.sum = before
	}
}

func (c *Comparer) differ(d Difference) {
	c.sum.Differences++
	if d.Behind {
		c.sum.Behind++
	}
	c.Report(d)
}

func (c *Comparer) pair(tp protocol.TopicPartition, a, b replica) error {
	found := Difference{Partition: tp, Folders: [2]string{a.dir, b.dir}, Offset: -1}
	ids := [2]protocol.TopicID{}
	for i, dir := range found.Folders {
		id, err := storage.ReadTopicID(c.FS, dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		ids[i] = id
	}
	if known := ids[0] != (protocol.TopicID{}) && ids[1] != (protocol.TopicID{}); known && ids[0] != ids[1] {
		found.What = fmt.Sprintf("the topic's id is %v and %v: one of them is a topic that was deleted", ids[0], ids[1])
		c.differ(found)
		return nil
	}
	var readers [2]*replicaReader
	for i, dir := range found.Folders {
		r, err := c.open(dir)
		if err != nil {
			return err
		}
		defer r.close()
		readers[i] = r
	}
	from := max(a.start, b.start, readers[0].begins(), readers[1].begins())
	for _, r := range readers {
		if err := r.seek(from); err != nil {
			return err
		}
	}
	return c.walk(readers, found, from)
}

// walk compares batch by batch up to the first difference.
func (c *Comparer) walk(readers [2]*replicaReader, found Difference, from protocol.Offset) error {
	next := from
	told := c.sum.Bytes
	for {
		l, r := readers[0].piece, readers[1].piece
		switch {
		case readers[0].done && readers[1].done:
			return nil
		case readers[0].done || readers[1].done:
			return c.behind(readers, found, next)
		case l.Head == nil || r.Head == nil || l.Damage != nil || r.Damage != nil:
			found.Offset = next
			found.What = fmt.Sprintf("there is damage, which moldau log verify tells of: %v", cmp.Or(l.Damage, r.Damage))
			c.differ(found)
			return nil
		}
		equal, err := c.equal(readers)
		if err != nil {
			return err
		}
		if !equal {
			found.Offset = min(l.Head.BaseOffset(), r.Head.BaseOffset())
			found.What = fmt.Sprintf("%s and %s", readers[0].describe(), readers[1].describe())
			c.differ(found)
			return nil
		}
		c.sum.Batches++
		c.sum.Records += int64(l.Head.Count())
		c.sum.Bytes += l.Bytes
		if c.Progress != nil && c.sum.Bytes-told > windowBytes {
			told = c.sum.Bytes
			c.Progress(told)
		}
		next = l.Next()
		for _, r := range readers {
			if err := r.next(); err != nil {
				return err
			}
		}
	}
}

func (c *Comparer) behind(readers [2]*replicaReader, found Difference, next protocol.Offset) error {
	short, long := 0, 1
	if readers[1].done {
		short, long = 1, 0
	}
	end := next
	for !readers[long].done {
		if p := readers[long].piece; p.Head != nil {
			end = p.Next()
		}
		if err := readers[long].next(); err != nil {
			return err
		}
	}
	found.Offset, found.Behind = next, true
	found.What = fmt.Sprintf("%s ends here, %s at offset %d", found.Folders[short], found.Folders[long], end)
	c.differ(found)
	return nil
}

func (c *Comparer) equal(readers [2]*replicaReader) (bool, error) {
	l, r := readers[0], readers[1]
	if l.piece.Bytes != r.piece.Bytes || !bytes.Equal(l.piece.Head[:batch.HeaderBytes], r.piece.Head[:batch.HeaderBytes]) {
		return false, nil
	}
	for _, x := range readers {
		b, err := x.log.Batch(x.piece, x.buf)
		if errors.Is(err, ErrLarge) {
			return true, nil // their checksums are equal, and are those of the bytes
		}
		if err != nil {
			return false, err
		}
		x.buf = b
	}
	return bytes.Equal(l.buf[:l.piece.Bytes], r.buf[:r.piece.Bytes]), nil
}

// replicaReader walks the batches of one replica over its segments.
type replicaReader struct {
	fs    vfs.FS
	dir   string
	bases []protocol.Offset // of the segments
	at    int               // the segment after log's
	log   *Log
	piece Piece
	done  bool
	buf   []byte
}

func (c *Comparer) open(dir string) (*replicaReader, error) {
	entries, err := c.FS.List(dir)
	if err != nil {
		return nil, err
	}
	r := &replicaReader{fs: c.FS, dir: dir}
	for _, e := range entries {
		if base, suffix, ok := segment.ParseName(e.Name); ok && suffix == segment.LogSuffix && !e.Dir {
			r.bases = append(r.bases, base)
		}
	}
	slices.Sort(r.bases)
	return r, nil
}

func (r *replicaReader) close() {
	if r.log != nil {
		r.log.Close()
		r.log = nil
	}
}

// begins is where the first segment does.
func (r *replicaReader) begins() protocol.Offset {
	if len(r.bases) == 0 {
		return 0
	}
	return r.bases[0]
}

// seek moves to the first batch that has offset or a later one.
func (r *replicaReader) seek(offset protocol.Offset) error {
	for r.at+1 < len(r.bases) && r.bases[r.at+1] <= offset {
		r.at++
	}
	for {
		if err := r.next(); err != nil || r.done {
			return err
		}
		if r.piece.Head == nil || r.piece.Head.LastOffset() >= offset {
			return nil
		}
	}
}

// next moves to the next piece, of this segment or a later one.
func (r *replicaReader) next() error {
	for {
		if r.log == nil {
			if r.at == len(r.bases) {
				r.done = true
				return nil
			}
			log, err := OpenLog(r.fs, path.Join(r.dir, segment.FileName(r.bases[r.at], segment.LogSuffix)))
			if err != nil {
				return err
			}
			r.log = log
			r.at++
		}
		p, err := r.log.Next()
		if err == nil {
			r.piece = p
			return nil
		}
		if err != io.EOF {
			return err
		}
		r.close()
	}
}

// describe is the present batch in words.
func (r *replicaReader) describe() string {
	h := r.piece.Head
	return fmt.Sprintf("%s has offsets %d to %d in %d bytes, epoch %d, checksum %08x, at byte %d of %s", r.dir, h.BaseOffset(),
		h.LastOffset(), r.piece.Bytes, h.LeaderEpoch(), h.CRC(), r.piece.Position,
		segment.FileName(r.bases[r.at-1], segment.LogSuffix))
}
