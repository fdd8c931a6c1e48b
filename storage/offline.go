package storage

import (
	"bytes"
	"io"
	"maps"
	"path"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// What is below is for those who look at a data folder, or put it in order, while no broker uses it.

// The checkpoints of a data folder: files that say one offset for each of its partitions.
const (
	RecoveryPoints = recoveryPointFile // everything before it is durable
	LogStarts      = logStartFile      // where logs begin that do not begin where a segment does
	HighWatermarks = highWatermarkFile
)

// Offsets is what a checkpoint says.
type Offsets map[protocol.TopicPartition]protocol.Offset

// ReadCheckpoint reads one of a data folder's checkpoints. It is empty where the file does not exist.
func ReadCheckpoint(fsys vfs.FS, dir, name string) (Offsets, error) {
	o, err := readOffsets(fsys, dir, name)
	return Offsets(o), err
}

// ParseFolder splits the name of a partition's folder. ok is false for names that are not built so.
func ParseFolder(name string) (tp protocol.TopicPartition, ok bool) { return parseDir(name) }

// ReadTopicID reads the topic's id from a partition folder's partition.metadata.
func ReadTopicID(fsys vfs.FS, dir string) (protocol.TopicID, error) {
	b, err := vfs.ReadFile(fsys, path.Join(dir, partitionFile), smallFileMax)
	if err != nil {
		return protocol.TopicID{}, err
	}
	return parsePartition(b)
}

// Offline is every partition whose log could not be opened.
func (s *Store) Offline() []protocol.TopicPartition {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Collect(maps.Keys(s.mu.failed))
}

// WriteCheckpoint replaces one of a data folder's checkpoints.
func WriteCheckpoint(fsys vfs.FS, dir, name string, o Offsets) error {
	return vfs.WriteFile(fsys, path.Join(dir, name), offsets(o).encode())
}

// ReadWhole is what can be read of a damaged checkpoint: the lines that are whole.
func ReadWhole(fsys vfs.FS, dir, name string) (Offsets, error) {
	b, err := vfs.ReadFile(fsys, path.Join(dir, name), checkpointFileMax)
	if err != nil {
		return nil, err
	}
	o := Offsets{}
	for line := range bytes.Lines(b) {
		if !bytes.HasSuffix(line, []byte("\n")) || len(bytes.Fields(line)) != 3 {
			continue
		}
		one, err := parseOffsets(append([]byte(checkpointVersion+"\n1\n"), line...))
		if err != nil {
			continue
		}
		maps.Copy(o, Offsets(one))
	}
	return o, nil
}

// TakeFolder locks a data folder, as a broker does. It is given back by closing what is returned.
func TakeFolder(fsys vfs.FS, dir string) (io.Closer, error) {
	return fsys.Lock(path.Join(dir, lockFile))
}

// JournalFolder is the folder of the shared journal in a data folder. It holds something only while a broker runs, or after a
// crash, when the next start takes it from there.
const JournalFolder = journalDir

// RescuedFile is in the folder of a log that is offline: what the journal had of it.
const RescuedFile = rescueFile

// MovedFile is in the folder of a log that was moved between data folders, until the other folder is gone.
const MovedFile = movedFile
