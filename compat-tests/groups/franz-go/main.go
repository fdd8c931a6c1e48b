// Command franz-go runs members of consumer groups with github.com/twmb/franz-go, by commands on stdin: see
// ../java/Members.java.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"golang.org/x/sys/unix"
)

func main() {
	members := map[string]*member{}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		words := strings.Fields(in.Text())
		if words[0] != "open" {
			members[words[1]].commands <- words[0]
			continue
		}
		m := &member{options: map[string]string{}, commands: make(chan string, 16), read: map[string]int64{}}
		for _, word := range words[2:] {
			key, value, _ := strings.Cut(word, "=")
			m.options[key] = value
		}
		m.name = m.options["name"]
		members[words[1]] = m
		go m.run(os.Args[1])
	}
}

// member is one client. Its callbacks run only while a poll waits (kgo.BlockRebalanceOnPoll), so that what was read is
// complete when partitions are given up.
type member struct {
	name     string
	options  map[string]string
	commands chan string
	client   *kgo.Client
	held     bool

	mu   sync.Mutex
	read map[string]int64 // the offset after the last record that was read and not committed, by "topic-0"
}

func (m *member) run(bootstrap string) {
	if err := m.live(bootstrap); err != nil {
		m.emit("failed", event{Why: err.Error()})
	}
}

func (m *member) live(bootstrap string) error {
	client, err := kgo.NewClient(m.config(bootstrap)...)
	if err != nil {
		return err
	}
	m.client = client
	m.emit("opened", event{})
	for m.obey() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
		fetches := client.PollRecords(ctx, 100)
		cancel()
		fetches.EachRecord(func(r *kgo.Record) {
			p := fmt.Sprintf("%s-%d", r.Topic, r.Partition)
			m.emit("polled", event{Partition: p, Offset: r.Offset, Value: string(r.Value)})
			m.mu.Lock()
			m.read[p] = r.Offset + 1
			m.mu.Unlock()
		})
		if m.options["commit"] == "each" {
			m.commit(nil)
		}
		client.AllowRebalance()
	}
	m.commit(nil)
	client.AllowRebalance()
	client.Close()
	m.emit("closed", event{})
	return nil
}

func (m *member) config(bootstrap string) []kgo.Opt {
	o := m.options
	opts := []kgo.Opt{kgo.SeedBrokers(bootstrap), kgo.ClientID(m.name),
		kgo.ConsumerGroup(o["group"]), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.MetadataMaxAge(time.Second),
		kgo.MetadataMinAge(100 * time.Millisecond), kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) {
			m.emit("assigned", event{Partitions: names(ps)})
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) {
			m.commit(names(ps))
			m.emit("revoked", event{Partitions: names(ps)})
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, ps map[string][]int32) {
			m.mu.Lock()
			for _, p := range names(ps) {
				delete(m.read, p)
			}
			m.mu.Unlock()
			m.emit("lost", event{Partitions: names(ps)})
		}),
	}
	if o["pattern"] != "" {
		opts = append(opts, kgo.ConsumeRegex(), kgo.ConsumeTopics(o["pattern"]))
	} else {
		opts = append(opts, kgo.ConsumeTopics(strings.Split(o["topics"], ",")...))
	}
	if o["protocol"] == "consumer" {
		opts = append(opts, kgo.ServerSideBalancer())
	}
	if o["instance"] != "" {
		opts = append(opts, kgo.InstanceID(o["instance"]))
	}
	for key, opt := range map[string]func(time.Duration) kgo.GroupOpt{"session": kgo.SessionTimeout,
		"heartbeat": kgo.HeartbeatInterval} {
		if ms, err := strconv.Atoi(o[key]); err == nil {
			opts = append(opts, opt(time.Duration(ms)*time.Millisecond))
		}
	}
	// The server's assignor is named as the balancer is: "range", or else uniform.
	if o["protocol"] == "range" || o["assignor"] == "range" {
		return append(opts, kgo.Balancers(kgo.RangeBalancer()))
	}
	return append(opts, kgo.Balancers(kgo.CooperativeStickyBalancer()))
}

// obey does what was commanded meanwhile; false to end.
func (m *member) obey() bool {
	for {
		var command string
		if m.held {
			command = <-m.commands
		} else {
			select {
			case command = <-m.commands:
			default:
				return true
			}
		}
		switch command {
		case "hold":
			m.held = true
			m.emit("held", event{})
		case "go":
			m.held = false
		case "commit":
			m.commit(nil)
		default:
			return false
		}
	}
}

// commit commits what has been read of some partitions; nil: of all.
func (m *member) commit(of []string) {
	m.mu.Lock()
	offsets := map[string]int64{}
	for p, next := range m.read {
		if of == nil || slices.Contains(of, p) {
			offsets[p] = next
		}
	}
	m.mu.Unlock()
	if len(offsets) == 0 {
		return
	}
	heads := map[string]map[int32]kgo.EpochOffset{}
	for p, next := range offsets {
		at := strings.LastIndexByte(p, '-')
		n, _ := strconv.ParseInt(p[at+1:], 10, 32)
		if heads[p[:at]] == nil {
			heads[p[:at]] = map[int32]kgo.EpochOffset{}
		}
		heads[p[:at]][int32(n)] = kgo.EpochOffset{Epoch: -1, Offset: next}
	}
	var refused error
	m.client.CommitOffsetsSync(context.Background(), heads,
		func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
			refused = err
			if err == nil {
				refused = firstError(resp)
			}
		})
	if refused != nil {
		m.emit("refused", event{Offsets: offsets, Why: refused.Error()})
		return
	}
	m.mu.Lock()
	for p := range offsets {
		delete(m.read, p)
	}
	m.mu.Unlock()
	m.emit("committed", event{Offsets: offsets})
}

func firstError(resp *kmsg.OffsetCommitResponse) error {
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return err
			}
		}
	}
	return nil
}

func names(ps map[string][]int32) []string {
	names := []string{}
	for topic, partitions := range ps {
		for _, p := range partitions {
			names = append(names, fmt.Sprintf("%s-%d", topic, p))
		}
	}
	slices.Sort(names)
	return names
}

// event is a line of ../history.go, which this program does not import, as the others cannot.
type event struct {
	At         int64            `json:"t"`
	Group      string           `json:"g"`
	Member     string           `json:"m"`
	Kind       string           `json:"e"`
	Partitions []string         `json:"ps,omitempty"`
	Partition  string           `json:"p,omitempty"`
	Offset     int64            `json:"o"`
	Value      string           `json:"v,omitempty"`
	Offsets    map[string]int64 `json:"os,omitempty"`
	Why        string           `json:"why,omitempty"`
}

func (m *member) emit(kind string, e event) {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	e.At, e.Group, e.Member, e.Kind = now.Nano(), m.options["group"], m.name, kind
	line, _ := json.Marshal(e)
	_, _ = os.Stdout.Write(append(line, '\n'))
}
