//go:build compat

package differential

import (
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
)

// TestFoldersAreKafkas moves logs between the data folders of brokers that have two.
func TestFoldersAreKafkas(t *testing.T) {
	var kafka, other *harness.Broker
	var both sync.WaitGroup
	dirs := [2][]string{{t.TempDir()}, {t.TempDir()}}
	both.Go(func() {
		kafka = harness.Start(t, harness.Config{Kind: harness.Kafka, Properties: properties, OtherDirs: dirs[0], JavaHeap: "512M"})
	})
	other = harness.Start(t, harness.Config{Properties: properties, OtherDirs: dirs[1]})
	both.Wait()
	if kafka == nil {
		t.Fatal("Apache Kafka did not start")
	}
	sc := script{"move-logs", scriptMoveLogs}
	t.Run(sc.title(), func(t *testing.T) { compare(t, sc, kafka, other, announced(t, kafka)) })
}

// place is an order to move partitions of a topic.
type place struct {
	dir, topic string
	partitions []int32
}

func moveRequest(v int16, places ...place) *kmsg.AlterReplicaLogDirsRequest {
	req := kmsg.NewPtrAlterReplicaLogDirsRequest()
	req.Version = v
	for _, p := range places {
		d := kmsg.NewAlterReplicaLogDirsRequestDir()
		t := kmsg.NewAlterReplicaLogDirsRequestDirTopic()
		d.Dir, t.Topic, t.Partitions = p.dir, p.topic, p.partitions
		d.Topics = append(d.Topics, t)
		req.Dirs = append(req.Dirs, d)
	}
	return req
}

// folderOf is the folder of partition 0 of a topic, and whether a move of it is under way.
func folderOf(resp kmsg.Response, topic string) (dir string, moving bool) {
	for _, d := range resp.(*kmsg.DescribeLogDirsResponse).Dirs {
		for _, t := range d.Topics {
			for _, p := range t.Partitions {
				if t.Topic != topic || p.Partition != 0 {
					continue
				}
				if moving = moving || p.IsFuture; !p.IsFuture {
					moving = moving || dir != "" // Kafka shows the log in both folders until it has let go of the old one
					dir = d.Dir
				}
			}
		}
	}
	return dir, moving
}

func scriptMoveLogs(s *session) {
	describe := kmsg.NewPtrDescribeLogDirsRequest()
	describe.Version = 5
	a, b := s.broker.Dirs()[0], s.broker.Dirs()[1]
	own := func(r kmsg.Response) {
		resp := r.(*kmsg.DescribeLogDirsResponse)
		for i := range resp.Dirs {
			d := &resp.Dirs[i]
			d.Topics = without(d.Topics, func(t kmsg.DescribeLogDirsResponseDirTopic) bool {
				return !strings.HasPrefix(t.Topic, s.prefix)
			})
		}
	}
	s.each(34, func(v int16) {
		name, _ := s.topic("t"+string(rune('a'+v)), 1)
		s.write(name, 0, simple(5).bytes())
		for _, to := range []string{a, b, b, a} {
			s.ask("move", moveRequest(v, place{to, name, []int32{0}}))
			s.until("the log in "+to, describe, func(r kmsg.Response) bool {
				dir, moving := folderOf(r, name)
				return dir == to && !moving
			})
			s.askOnly("after the move", describe, own)
			s.write(name, 0, simple(1).bytes())
			s.ask("the end", listAt(name))
		}
		long := strings.Repeat("n", 249)
		s.ask("refused", moveRequest(v,
			place{"/nowhere", name, []int32{0}}, place{b, name, []int32{7, -1}}, place{a, s.name("none"), []int32{0}},
			place{b, "bad name", []int32{0}}, place{b, "", []int32{0}}, place{b, long, []int32{0}},
			place{b, "__cluster_metadata", []int32{0}}))
		for _, dir := range []string{"", "data", a + "/", a + "/../" + "x", "/nowhere"} {
			s.ask("no folder", moveRequest(v, place{dir, name, []int32{0}}))
			s.ask("no folder, no topic", moveRequest(v, place{dir, s.name("none"), []int32{0}}))
		}
		s.ask("twice", moveRequest(v, place{a, name, []int32{0, 0}}, place{a, name, []int32{0}}))
		s.ask("nothing", moveRequest(v))
		s.ask("no topics", moveRequest(v, place{a, name, nil}))
		later := s.name("later" + string(rune('a'+v)))
		s.ask("not there yet", moveRequest(v, place{b, later, []int32{0, 1, 2}}))
		s.topic("later"+string(rune('a'+v)), 3)
		s.askOnly("there, in the folder that was asked for", describe, func(r kmsg.Response) {
			resp := r.(*kmsg.DescribeLogDirsResponse)
			for i := range resp.Dirs {
				d := &resp.Dirs[i]
				d.Topics = without(d.Topics, func(t kmsg.DescribeLogDirsResponseDirTopic) bool { return t.Topic != later })
			}
		})
	})
}

// listAt asks for the end of partition 0.
func listAt(topic string) *kmsg.ListOffsetsRequest {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version = 7
	t := kmsg.NewListOffsetsRequestTopic()
	p := kmsg.NewListOffsetsRequestTopicPartition()
	p.Timestamp = -1
	t.Topic, t.Partitions = topic, append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}
