package inspect

import (
	"bytes"
	"cmp"
	"errors"
	"path"
	"slices"
	"strings"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/epoch"
	"moldau.io/moldau/storage/producers"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// Kind is what a file of a data folder holds.
type Kind string

// The kinds of files.
const (
	Unknown    Kind = ""
	Batches    Kind = "record batches"
	Offsets    Kind = "offset index"
	Times      Kind = "time index"
	Aborted    Kind = "aborted transactions"
	Snapshot   Kind = "producers"
	Epochs     Kind = "leader epochs"
	Topic      Kind = "topic id"
	Checkpoint Kind = "offset checkpoint"
	Properties Kind = "properties"
)

const (
	epochsFile  = "leader-epoch-checkpoint"
	topicFile   = "partition.metadata"
	metaFile    = "meta.properties"
	cleanedFile = "cleaner-offset-checkpoint"

	// smallFileMax is more than any file has that is read as a whole.
	smallFileMax = 256 << 20
)

// checkpoints are the files of a data folder that say one offset for each partition.
var checkpoints = []string{storage.RecoveryPoints, storage.LogStarts, storage.HighWatermarks, cleanedFile}

// bySuffix says what a segment's files hold. A metadata snapshot of Apache Kafka's (.checkpoint) holds batches, too.
var bySuffix = []struct {
	suffix string
	kind   Kind
}{
	{segment.LogSuffix, Batches}, {segment.IndexSuffix, Offsets}, {segment.TimeSuffix, Times}, {segment.TxnSuffix, Aborted},
	{segment.SnapshotSuffix, Snapshot}, {".checkpoint", Batches},
}

// KindOf says by its name what a file holds.
func KindOf(name string) Kind {
	base := path.Base(name)
	switch {
	case base == epochsFile:
		return Epochs
	case base == topicFile:
		return Topic
	case base == metaFile:
		return Properties
	case slices.Contains(checkpoints, base):
		return Checkpoint
	}
	for _, s := range bySuffix {
		if strings.HasSuffix(base, s.suffix) {
			return s.kind
		}
	}
	return Unknown
}

// Files are the files of known kinds below dir, which is a data folder or a partition's, in the order in which people
// want to read them: the folder's own first, then each partition's, segment by segment.
func Files(fsys vfs.FS, dir string) ([]string, error) {
	entries, err := fsys.List(dir)
	if err != nil {
		return nil, err
	}
	var own, below []string
	for _, e := range entries {
		name := path.Join(dir, e.Name)
		if _, ok := storage.ParseFolder(e.Name); e.Dir && ok {
			files, err := Files(fsys, name)
			if err != nil {
				return nil, err
			}
			below = append(below, files...)
		} else if !e.Dir && KindOf(e.Name) != Unknown {
			own = append(own, name)
		}
	}
	slices.SortStableFunc(own, func(a, b string) int {
		baseA, _, okA := segment.ParseName(path.Base(a))
		baseB, _, okB := segment.ParseName(path.Base(b))
		switch {
		case okA != okB:
			return cmp.Compare(boolInt(okA), boolInt(okB)) // the folder's own first
		case okA && baseA != baseB:
			return cmp.Compare(baseA, baseB)
		}
		return cmp.Compare(rank(a), rank(b))
	})
	return append(own, below...), nil
}

func boolInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// rank orders the files of one segment.
func rank(name string) int {
	return slices.IndexFunc(bySuffix, func(s struct {
		suffix string
		kind   Kind
	}) bool {
		return strings.HasSuffix(name, s.suffix)
	})
}

// Fields is one line of a small file.
type Fields struct {
	Type string
	List []Field
}

// Field is a name and its value.
type Field struct {
	Name  string
	Value any
}

// Small reads a small file into lines. The error says where the file is damaged.
func Small(fsys vfs.FS, name string, kind Kind) ([]Fields, error) {
	b, err := vfs.ReadFile(fsys, name, smallFileMax)
	if err != nil {
		return nil, err
	}
	switch kind {
	case Snapshot:
		return producerLines(b)
	case Epochs:
		h, err := epoch.Parse(b)
		var out []Fields
		for _, e := range h.Entries() {
			out = append(out, Fields{"leader_epoch", []Field{{"epoch", e.Epoch}, {"start_offset", e.Start}}})
		}
		return out, err
	case Topic:
		id, err := storage.ReadTopicID(fsys, path.Dir(name))
		if err != nil {
			return nil, err
		}
		return []Fields{{"topic_id", []Field{{"topic_id", id.String()}}}}, nil
	case Checkpoint:
		o, err := storage.ReadCheckpoint(fsys, path.Dir(name), path.Base(name))
		return checkpointLines(o), err
	case Properties:
		return propertyLines(b), nil
	}
	return nil, errors.New("not a small file")
}

func producerLines(b []byte) ([]Fields, error) {
	s, err := producers.Load(b, 0)
	if err != nil {
		return nil, err
	}
	var out []Fields
	for _, a := range s.Active() {
		out = append(out, Fields{"producer", []Field{
			{"producer_id", a.ID}, {"producer_epoch", a.Epoch}, {"last_sequence", a.LastSequence}, {"last_offset", a.LastOffset},
			{"timestamp", a.LastTimestamp}, {"coordinator_epoch", a.CoordinatorEpoch}, {"transaction_first_offset", a.TxnFirst},
		}})
	}
	return out, nil
}

func checkpointLines(o storage.Offsets) []Fields {
	var tps []protocol.TopicPartition
	for tp := range o {
		tps = append(tps, tp)
	}
	slices.SortFunc(tps, comparePartitions)
	var out []Fields
	for _, tp := range tps {
		out = append(out, Fields{"checkpoint", []Field{
			{"topic", tp.Topic}, {"partition", tp.Partition}, {"offset", o[tp]},
		}})
	}
	return out
}

func comparePartitions(a, b protocol.TopicPartition) int {
	return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
}

func propertyLines(b []byte) []Fields {
	var out []Fields
	for line := range bytes.Lines(b) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		k, v, _ := strings.Cut(string(line), "=")
		out = append(out, Fields{"property", []Field{{k, v}}})
	}
	return out
}
