package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"
)

func numbers(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		fmt.Fprintln(&b, i)
	}
	return b.String()
}

func TestProduceThenConsume(t *testing.T) {
	s := newShell(t)
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		for _, acks := range []string{"all", "1", "0"} {
			topic := codec + "-" + acks
			s.do("topic", "create", topic)
			s.feed(numbers(1, 500), "produce", topic, "--compression", codec, "--acks", acks)
			if out := s.do("consume", topic, "-n", "500", "--from", "beginning"); out != numbers(1, 500) {
				t.Errorf("%s: %d bytes came back", topic, len(out))
			}
		}
	}
	if out := s.do("consume", "none-all", "--from", "-3", "-e"); out != numbers(498, 500) {
		t.Errorf("the last three: %q", out)
	}
	if out := s.do("consume", "none-all", "--from", "490", "-n", "2", "-f", "%p@%o %v\\n"); out != "0@490 491\n0@491 492\n" {
		t.Errorf("from offset 490: %q", out)
	}
	if out := s.do("consume", "none-all", "--from", "end", "-e"); out != "" {
		t.Errorf("from the end: %q", out)
	}
	if out := s.do("consume", "none-all", "--from", "10000", "-e"); out != "" {
		t.Errorf("from beyond the end: %q", out)
	}
	if out := s.do("consume", "none-all", "--since", "1h", "-e"); out != numbers(1, 500) {
		t.Errorf("since an hour ago: %d bytes", len(out))
	}
	if out := s.do("consume", "none-all", "--since", time.Now().Add(time.Hour).Format(time.RFC3339), "-e"); out != "" {
		t.Errorf("since in an hour: %q", out)
	}
}

func TestConsumeSince(t *testing.T) {
	s := newShell(t)
	s.do("topic", "create", "t")
	now := time.Now()
	var in strings.Builder
	for _, age := range []time.Duration{10 * time.Hour, 3 * time.Hour, time.Minute} {
		fmt.Fprintf(&in, `{"value":%q,"timestamp":%d}`+"\n", age, now.Add(-age).UnixMilli())
	}
	s.feed(in.String(), "produce", "t", "--input", "json")
	if out := s.do("consume", "t", "--since", "4h", "-e"); out != "3h0m0s\n1m0s\n" {
		t.Errorf("%q", out)
	}
	if out := s.do("consume", "t", "--since", now.Add(-time.Hour).UTC().Format(time.RFC3339), "-e"); out != "1m0s\n" {
		t.Errorf("%q", out)
	}
}

func TestKeysHeadersPartitions(t *testing.T) {
	s := newShell(t)
	s.do("topic", "create", "t", "-p", "4")
	s.feed("a:1\nb:2:3\n:4\n", "produce", "t", "-K", ":", "-H", "k=v", "-p", "2")
	if out := s.do("consume", "t", "--from", "beginning", "-e", "-f", "%t/%p/%o %k=%v %h{%k=%v}\\n"); out !=
		"t/2/0 a=1 k=v\nt/2/1 b=2:3 k=v\nt/2/2 =4 k=v\n" {
		t.Errorf("%q", out)
	}
	s.feed("x\n\n", "produce", "t", "-k", "key", "-T", "-p", "1")
	var got []recordView
	for l := range strings.Lines(s.do("consume", "t", "-p", "1", "--from", "beginning", "-e", "-o", "json")) {
		var r recordView
		if err := json.Unmarshal([]byte(l), &r); err != nil {
			t.Fatal(err)
		}
		got = append(got, r)
	}
	if len(got) != 2 || *got[0].Key != "key" || *got[0].Value != "x" || got[1].Value != nil || got[1].Offset != 1 ||
		got[1].Partition != 1 || got[1].Topic != "t" {
		t.Errorf("%+v", got)
	}
	// Records with the same key share a partition.
	s.do("topic", "create", "keyed", "-p", "8")
	s.feed(strings.Repeat("k1:x\nk2:y\n", 50), "produce", "keyed", "-K", ":")
	where := map[string]string{}
	for l := range strings.Lines(s.do("consume", "keyed", "--from", "beginning", "-e", "-f", "%k %p\\n")) {
		key, partition, _ := strings.Cut(strings.TrimSpace(l), " ")
		if where[key] == "" {
			where[key] = partition
		}
		if where[key] != partition {
			t.Fatalf("%s is in %s and %s", key, where[key], partition)
		}
	}
	if len(where) != 2 {
		t.Errorf("%v", where)
	}
}

func TestWhatConsumePrintsAsJSONProduceTakes(t *testing.T) {
	s := newShell(t)
	s.do("topic", "create", "a", "b", "-p", "3")
	s.feed(`{"key":"k","value":"v","partition":2,"headers":[{"key":"h","value":"1"},{"key":"h","value":null}],"timestamp":1000}
{"key_base64":"/wA=","value_base64":"/v8=","partition":0,"timestamp":"2026-01-02T03:04:05.678Z"}
{"value":{"lat":50.08},"headers":{"x":"y"},"partition":1,"timestamp":2000}
{"key":"","value":null,"partition":1,"timestamp":3000}
`, "produce", "a", "--input", "json")
	dump := func(topic string) string {
		out := s.do("consume", topic, "--from", "beginning", "-e", "-o", "json")
		if strings.Count(out, "\n") != 4 {
			t.Fatalf("%s holds %s", topic, out)
		}
		byPartition := map[int32]string{}
		for l := range strings.Lines(out) {
			var r recordView
			if err := json.Unmarshal([]byte(l), &r); err != nil {
				t.Fatal(err)
			}
			byPartition[r.Partition] += strings.Replace(l, strconv.Quote(topic), `"T"`, 1)
		}
		return byPartition[0] + byPartition[1] + byPartition[2]
	}
	s.feed(s.do("consume", "a", "--from", "beginning", "-e", "-o", "json"), "produce", "b", "--input", "json")
	if a, b := dump("a"), dump("b"); a != b || !strings.Contains(a, `{\"lat\":50.08}`) || !strings.Contains(a, `"key_base64":"/wA="`) {
		t.Errorf("%s\n%s", a, b)
	}
	acks := s.feed(`{"value":"1"}`, "produce", "a", "--input", "json", "-p", "2", "-o", "json")
	if acks != `{"offset":1,"partition":2,"topic":"a"}`+"\n" {
		t.Errorf("%q", acks)
	}
}

func TestProduceFailures(t *testing.T) {
	s := newShell(t)
	s.do("topic", "create", "t", "-c", "max.message.bytes=1000")
	for _, x := range []struct {
		stdin string
		args  []string
		parts []string
	}{
		{strings.Repeat("a", 2000), nil, []string{"1 of 1", "MESSAGE_TOO_LARGE", "max.message.bytes"}},
		{"a\n", []string{"-p", "7"}, []string{"1 of 1", "7"}},
		{"a:1\nb\n", []string{"-K", ":"}, []string{"line 2", "key separator"}},
		{"{\"value\":\"1\"}\n{\n", []string{"--input", "json"}, []string{"line 2", "the lines before it were sent"}},
		{`{"valu":"1"}`, []string{"--input", "json"}, []string{"line 1", "valu"}},
		{`{"value":"1","timestamp":"noon"}`, []string{"--input", "json"}, []string{"line 1", "timestamp"}},
	} {
		code, out, errs := s.try(x.stdin, append([]string{"produce", "t"}, x.args...)...)
		if code != 1 || out != "" {
			t.Errorf("%q: exit code %d, printed %q", x.args, code, out)
		}
		for _, p := range x.parts {
			if !strings.Contains(errs, p) {
				t.Errorf("%q does not say %q but %s", x.args, p, errs)
			}
		}
	}
	for _, args := range [][]string{
		{"produce", "t", "-z", "rar"}, {"produce", "t", "--acks", "2"}, {"produce", "t", "--input", "xml"},
		{"produce", "t", "-H", "x"}, {"produce"}, {"produce", "a", "b"},
	} {
		s.fails(2, args)
	}
	if out := s.do("consume", "t", "--from", "beginning", "-e"); out != "1\n1\n" {
		t.Errorf("%q was stored", out)
	}
}

func TestConsumeFailures(t *testing.T) {
	s := newShell(t)
	s.fails(1, []string{"consume", "nosuch"}, "topic nosuch", "UNKNOWN_TOPIC_OR_PARTITION", "moldau topic list")
	s.fails(1, []string{"consume", "nosuch", "-g", "g"}, "topic nosuch")
	for _, args := range [][]string{
		{"consume", "t", "--from", "noon"}, {"consume", "t", "--since", "noon"}, {"consume", "t", "-f", "%"},
		{"consume", "t", "-g", "g", "-p", "0"}, {"consume"},
	} {
		s.fails(2, args)
	}
}

// An interrupted consumer prints what it has, commits it, and ends with 0.
func TestConsumeWaitsAndEndsOnInterrupt(t *testing.T) {
	s := newShell(t)
	s.do("topic", "create", "t")
	ctx, cancel := context.WithTimeout(context.Background(), testTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "consume", "t", "--from", "beginning", "-g", "g", "-b", s.bootstrap)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for i := 1; i <= 3; i++ { // each is printed before the next is sent
		s.feed(numbers(i, i), "produce", "t")
		if !lines.Scan() || lines.Text() != strconv.Itoa(i) {
			t.Fatalf("%q, %v", lines.Text(), lines.Err())
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	s.feed(numbers(4, 4), "produce", "t")
	if out := s.do("consume", "t", "-g", "g", "-e"); out != "4\n" {
		t.Errorf("after the commit: %q", out)
	}
}
