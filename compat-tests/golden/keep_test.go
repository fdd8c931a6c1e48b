//go:build compat

package golden

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
)

func names() []string {
	return []string{"appendtime", "codecs", "compact", "compacttxn", "deleted", "producers", "times", "txn"}
}

// facts are Kafka's answers about every partition:
//
//	offset TOPIC TIMESTAMP OFFSET FOUND EPOCH   ListOffsets, also of the special timestamps -1 to -3
//	stable TOPIC OFFSET                         ListOffsets of the end, for readers of committed records
//	producer TOPIC ID EPOCH SEQUENCE TIMESTAMP COORDINATOR FIRST   DescribeProducers
//	end TOPIC EPOCH FOUND OFFSET                OffsetForLeaderEpoch
func (s *story) facts() string {
	var out strings.Builder
	for _, topic := range names() {
		stamps := []int64{-1, -2, -3, 0, 1, 5, base - 1, base, base + 1, base + 2, base + 3, base + 4, base + 5, base + 6,
			base + 19, base + 20, base + 21, base + 30, base + 31, base + 32, base + 39, base + 40, base + 41, base + 50,
			base + 350, base + 1100, base + 2150, base + 5040, base + 9000, base + 25_000, base + 1_000_000, base + 1_000_101,
			base + 2_000_000, base + 2_003_101, base + 9_000_000, base + 9_000_101, base + 1_000_000_000_000,
			base + 1_000_000_000_001, 9_000_000_000_000_000, 9_000_000_000_000_001}
		for _, ts := range stamps {
			p := s.listOffset(topic, ts, 0)
			fmt.Fprintf(&out, "offset %s %d %d %d %d\n", topic, ts, p.Offset, p.Timestamp, p.LeaderEpoch)
		}
		fmt.Fprintf(&out, "stable %s %d\n", topic, s.listOffset(topic, -1, 1).Offset)
		s.producers(&out, topic)
		for epoch := range int32(6) {
			s.epochEnd(&out, topic, epoch)
		}
	}
	return out.String()
}

func (s *story) listOffset(topic string, ts int64, isolation int8) kmsg.ListOffsetsResponseTopicPartition {
	req := kmsg.NewPtrListOffsetsRequest()
	req.ReplicaID, req.IsolationLevel = -1, isolation
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = ts
	t := kmsg.NewListOffsetsRequestTopic()
	t.Topic, t.Partitions = topic, []kmsg.ListOffsetsRequestTopicPartition{p}
	req.Topics = []kmsg.ListOffsetsRequestTopic{t}
	resp, err := req.RequestWith(s.ctx, s.cl.Broker(1))
	s.must(err)
	got := resp.Topics[0].Partitions[0]
	if got.ErrorCode != 0 {
		s.t.Fatalf("list offsets of %s at %d: error %d", topic, ts, got.ErrorCode)
	}
	return got
}

func (s *story) producers(out *strings.Builder, topic string) {
	req := kmsg.NewPtrDescribeProducersRequest()
	t := kmsg.NewDescribeProducersRequestTopic()
	t.Topic, t.Partitions = topic, []int32{0}
	req.Topics = []kmsg.DescribeProducersRequestTopic{t}
	resp, err := req.RequestWith(s.ctx, s.cl.Broker(1))
	s.must(err)
	found := resp.Topics[0].Partitions[0].ActiveProducers
	slices.SortFunc(found, func(a, b kmsg.DescribeProducersResponseTopicPartitionActiveProducer) int {
		return int(a.ProducerID - b.ProducerID)
	})
	for _, p := range found {
		fmt.Fprintf(out, "producer %s %d %d %d %d %d %d\n", topic, p.ProducerID, p.ProducerEpoch, p.LastSequence,
			p.LastTimestamp, p.CoordinatorEpoch, p.CurrentTxnStartOffset)
	}
}

func (s *story) epochEnd(out *strings.Builder, topic string, epoch int32) {
	req := kmsg.NewPtrOffsetForLeaderEpochRequest()
	req.ReplicaID = -1
	p := kmsg.NewOffsetForLeaderEpochRequestTopicPartition()
	p.LeaderEpoch = epoch
	t := kmsg.NewOffsetForLeaderEpochRequestTopic()
	t.Topic, t.Partitions = topic, []kmsg.OffsetForLeaderEpochRequestTopicPartition{p}
	req.Topics = []kmsg.OffsetForLeaderEpochRequestTopic{t}
	resp, err := req.RequestWith(s.ctx, s.cl.Broker(1))
	s.must(err)
	got := resp.Topics[0].Partitions[0]
	fmt.Fprintf(out, "end %s %d %d %d\n", topic, epoch, got.LeaderEpoch, got.EndOffset)
}

// keep packs the folder, the facts, and what dump-log says of the files.
func (s *story) keep(out, name, facts string) {
	var packed bytes.Buffer
	zip, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	s.must(err)
	pack := tar.NewWriter(zip)
	add := func(name string, b []byte) {
		s.must(pack.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b)), ModTime: time.Unix(0, 0)}))
		_, err := pack.Write(b)
		s.must(err)
	}
	var logs []string
	err = filepath.WalkDir(s.b.DataDir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(s.b.DataDir, path)
		topic, _, inFolder := strings.Cut(rel, "-0/")
		if err != nil || inFolder && !slices.Contains(names(), topic) || strings.HasPrefix(rel, "__") ||
			strings.Contains(rel, "bootstrap") || rel == ".lock" {
			return err
		}
		if inFolder && (strings.HasSuffix(rel, ".log") || strings.HasSuffix(rel, ".txnindex")) {
			logs = append(logs, path)
		}
		b, err := os.ReadFile(path)
		if err == nil {
			add("data/"+rel, b)
		}
		return err
	})
	s.must(err)
	dump := harness.Tool(s.t, "dump-log", "--deep-iteration", "--print-data-log", "--files", strings.Join(logs, ","))
	add("dump.txt", []byte(strings.ReplaceAll(dump.Want(s.t).Stdout, s.b.DataDir+"/", "")))
	add("facts.tsv", []byte(facts))
	s.must(pack.Close())
	s.must(zip.Close())
	s.must(os.WriteFile(filepath.Join(out, name+".tar.gz"), packed.Bytes(), 0o644))
	s.t.Logf("%s: %d files, %d bytes", name, len(logs), packed.Len())
}
