package broker

import (
	"path"
	"path/filepath"

	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/vfs"
)

// DescribeLogDirs, versions 1 to 5: the data folders, and what lies in them.
//
//	v3  an error of the whole request
//	v4  the size of the volume and what is free of it (KIP-827)
//	v5  whether the folder takes no new partitions; here every one does

func handleDescribeLogDirs(b *Broker, r *request) {
	req := r.msg.(*kmsg.DescribeLogDirsRequest)
	resp := req.ResponseKind().(*kmsg.DescribeLogDirsResponse)
	var wanted map[protocol.TopicPartition]bool // nil: everything
	if req.Topics != nil {
		wanted = map[protocol.TopicPartition]bool{}
		for _, t := range req.Topics {
			for _, p := range t.Partitions {
				wanted[protocol.TopicPartition{Topic: t.Topic, Partition: p}] = true
			}
		}
	}
	moves := map[protocol.TopicPartition]storage.Moving{}
	for _, m := range b.store.Moves() {
		moves[m.Partition] = m
	}
	for _, dir := range b.store.Dirs() {
		rd := kmsg.NewDescribeLogDirsResponseDir()
		rd.Dir = b.absolute(dir.Path)
		if dir.Offline != nil {
			rd.ErrorCode, rd.TotalBytes, rd.UsableBytes = int16(protocol.KafkaStorageError), -1, -1
			resp.Dirs = append(resp.Dirs, rd)
			continue
		}
		rd.TotalBytes, rd.UsableBytes = b.volume(dir.Path)
		rd.Topics = b.logsIn(dir, moves, wanted)
		resp.Dirs = append(resp.Dirs, rd)
	}
	r.Reply(resp)
}

// logsIn is what is asked for of the logs in one data folder, and of those that are on their way there, sorted by topic
// and partition.
func (b *Broker) logsIn(dir storage.Dir, moves map[protocol.TopicPartition]storage.Moving,
	wanted map[protocol.TopicPartition]bool) (
	out []kmsg.DescribeLogDirsResponseDirTopic) {
	add := func(tp protocol.TopicPartition, rp kmsg.DescribeLogDirsResponseDirTopicPartition) {
		if len(out) == 0 || out[len(out)-1].Topic != tp.Topic {
			t := kmsg.NewDescribeLogDirsResponseDirTopic()
			t.Topic = tp.Topic
			out = append(out, t)
		}
		t := &out[len(out)-1]
		t.Partitions = append(t.Partitions, rp)
	}
	for _, l := range b.store.All() {
		tp := l.Partition()
		if wanted != nil && !wanted[tp] {
			continue
		}
		rp := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		rp.Partition = tp.Partition
		if path.Dir(l.Dir()) == dir.Path {
			rp.Size = l.Size()
			if p := b.partitions.get(tp); p != nil {
				rp.OffsetLag = p.lag()
			}
			add(tp, rp)
			continue
		}
		if m, moves := moves[tp]; moves && m.Dir == dir.Path {
			rp.IsFuture, rp.Size = true, m.Bytes
			rp.OffsetLag = max(0, int64(l.Bounds().End-m.End))
			add(tp, rp)
		}
	}
	return out
}

// absolute is a data folder's path as Kafka gives it.
func (b *Broker) absolute(dir string) string {
	if abs, err := filepath.Abs(dir); err == nil && b.cfg.FS == vfs.OS() {
		return abs
	}
	return dir
}

// volume is the size of the volume that a folder lies on, and what is free of it, in bytes; -1 where that cannot be
// known.
func (b *Broker) volume(dir string) (total, usable int64) {
	var st unix.Statfs_t
	if b.cfg.FS != vfs.OS() || unix.Statfs(dir, &st) != nil {
		return -1, -1
	}
	return int64(st.Blocks) * st.Bsize, int64(st.Bavail) * st.Bsize
}
