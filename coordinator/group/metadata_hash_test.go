package group

import (
	"bufio"
	"compress/gzip"
	"encoding/base64"
	"iter"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"moldau.io/moldau/protocol"
)

// racked is metadata in which every topic has the same racks.
type racked [][]string

func (racked) Version() int64                               { return 1 }
func (racked) Topic(string) (Topic, bool)                   { return Topic{}, false }
func (racked) TopicByID(protocol.TopicID) (Topic, bool)     { return Topic{}, false }
func (racked) Names() iter.Seq[string]                      { return slices.Values([]string(nil)) }
func (r racked) Racks(_ protocol.TopicID, p int32) []string { return r[p] }

// TestKafkaMetadataHashes hashes what Apache Kafka 4.4.0 hashed, in the file that compat-tests/groupmath wrote, or
// another that MOLDAU_HASHES names. The lines of it are described there, in Hashes.java.
func TestKafkaMetadataHashes(t *testing.T) {
	topics, groups, hashes := 0, 0, map[string]int64{}
	for _, line := range goldenLines(t, "MOLDAU_HASHES", "testdata/kafka-4.4.0-hashes.gz") {
		f := strings.Split(line, " ")
		if f[0] == "g" {
			groups++
			names := slices.Sorted(slices.Values(slices.DeleteFunc(f[2:], func(s string) bool { return s == "" })))
			var of []int64
			for _, name := range names {
				of = append(of, hashes[name])
			}
			if got, want := topicsHash(of), number(t, f[1]); got != want {
				t.Errorf("%s: hash %d, with Kafka %d", line, got, want)
			}
			continue
		}
		topics++
		id, err := base64.RawURLEncoding.DecodeString(f[2])
		if err != nil {
			t.Fatal(err)
		}
		topic := Topic{Name: f[1], ID: protocol.TopicID(id), Partitions: int(number(t, f[3]))}
		md := make(racked, topic.Partitions)
		if f[4] != "-" {
			for p, racks := range strings.Split(f[4], ";") {
				md[p] = strings.Split(racks, ",")
			}
		}
		hashes[topic.Name] = number(t, f[5])
		if got := topicHash(md, topic); got != hashes[topic.Name] {
			t.Errorf("%s: hash %d", line, got)
		}
	}
	if topics < 200 || groups < 100 {
		t.Errorf("only %d topics and %d groups", topics, groups)
	}
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// goldenLines reads a packed file, or the one that a variable names.
func goldenLines(t *testing.T, variable, name string) (lines []string) {
	t.Helper()
	if other := os.Getenv(variable); other != "" {
		name = other
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	scanner := bufio.NewScanner(z)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		lines = append(lines, scanner.Text())
	}
	if err := scanner.Err(); err != nil {
		t.Fatal(err)
	}
	return lines
}

// growing is metadata with one topic.
type growing struct {
	racked
	version int64
	topic   Topic
}

func (g growing) Version() int64                  { return g.version }
func (g growing) Topic(name string) (Topic, bool) { return g.topic, name == g.topic.Name }

func TestMetadataHashFollowsTheMetadata(t *testing.T) {
	md := growing{make(racked, 3), 1, Topic{"t", protocol.TopicID{1}, 2}}
	m := &Machine{}
	first := m.metadataHash(md, []string{"not there", "t"})
	if want := topicsHash([]int64{topicHash(md, md.topic)}); first != want {
		t.Errorf("hash %d, want %d", first, want)
	}
	if m.metadataHash(md, []string{"not there"}) != 0 {
		t.Error("the hash of nothing is not 0")
	}
	md.topic.Partitions, md.version = 3, 2
	if m.metadataHash(md, []string{"t"}) == first {
		t.Error("the topic grew, and its hash did not change")
	}
}
