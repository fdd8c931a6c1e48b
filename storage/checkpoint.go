package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// The checkpoints of a data folder: one offset a partition.
const (
	recoveryPointFile = "recovery-point-offset-checkpoint" // everything before it is durable
	logStartFile      = "log-start-offset-checkpoint"      // where logs begin that begin inside of a segment
	highWatermarkFile = "replication-offset-checkpoint"    // the high watermark
	checkpointFileMax = 1 << 30                            // bytes
	checkpointVersion = "0"                                // the first line
)

// offsets are a checkpoint's content.
type offsets map[protocol.TopicPartition]protocol.Offset

// encode is Kafka's OffsetCheckpointFile: a version, the number of entries, then "topic partition offset" a line.
func (o offsets) encode() []byte {
	keys := slices.SortedFunc(maps.Keys(o), comparePartitions)
	b := fmt.Appendf(nil, "%s\n%d\n", checkpointVersion, len(keys))
	for _, tp := range keys {
		b = append(b, tp.Topic...)
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(tp.Partition), 10)
		b = append(b, ' ')
		b = strconv.AppendInt(b, int64(o[tp]), 10)
		b = append(b, '\n')
	}
	return b
}

func comparePartitions(a, b protocol.TopicPartition) int {
	if c := strings.Compare(a.Topic, b.Topic); c != 0 {
		return c
	}
	return int(a.Partition) - int(b.Partition)
}

// parseOffsets reads what encode or Kafka wrote.
// An empty file, which Kafka makes first, is a checkpoint of nothing.
func parseOffsets(b []byte) (offsets, error) {
	if len(b) == 0 {
		return offsets{}, nil
	}
	lines := bytes.Split(bytes.TrimSuffix(b, []byte("\n")), []byte("\n"))
	if len(lines) < 2 || string(lines[0]) != checkpointVersion {
		return nil, fmt.Errorf("line 1: version %.20q, only %s is known", lines[0], checkpointVersion)
	}
	n, err := strconv.Atoi(string(lines[1]))
	if err != nil || n != len(lines)-2 {
		return nil, fmt.Errorf("line 2: %.20q entries announced, %d lines follow", lines[1], len(lines)-2)
	}
	o := make(offsets, n)
	for i, line := range lines[2:] {
		parts := bytes.Fields(line)
		if len(parts) != 3 {
			return nil, fmt.Errorf("line %d: %.300q is not a topic, a partition and an offset", i+3, line)
		}
		p, err1 := strconv.ParseInt(string(parts[1]), 10, 32)
		offset, err2 := strconv.ParseInt(string(parts[2]), 10, 64)
		if err1 != nil || err2 != nil || p < 0 || offset < 0 {
			return nil, fmt.Errorf("line %d: %.300q is not a topic, a partition and an offset", i+3, line)
		}
		tp := protocol.TopicPartition{Topic: string(parts[0]), Partition: int32(p)}
		if _, twice := o[tp]; twice {
			return nil, fmt.Errorf("line %d: %v comes twice", i+3, tp)
		}
		o[tp] = protocol.Offset(offset)
	}
	return o, nil
}

// readOffsets is empty where the file does not exist.
func readOffsets(fsys vfs.FS, dir, name string) (offsets, error) {
	b, err := vfs.ReadFile(fsys, path.Join(dir, name), checkpointFileMax)
	if errors.Is(err, fs.ErrNotExist) {
		return offsets{}, nil
	}
	if err != nil {
		return nil, err
	}
	o, err := parseOffsets(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path.Join(dir, name), err)
	}
	return o, nil
}
