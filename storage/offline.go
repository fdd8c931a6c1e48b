package storage

import (
	"maps"
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
	b, err := vfs.ReadFile(fsys, dir+"/"+partitionFile, smallFileMax)
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
