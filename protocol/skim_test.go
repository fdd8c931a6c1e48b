package protocol

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// allocated is how many bytes f allocates.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

func limitOf(body []byte) int { return decodeFactor*len(body) + decodeAllowance }

func TestSkimConsumesWhatKmsgEncodes(t *testing.T) {
	r := newRand(4)
	eachVersion(func(a API, v int16) {
		for range 40 {
			req := honest(randomRequest(r, a, v, true))
			body := req.AppendTo(nil)
			c, err := skim(a, v, append(body, 1, 2, 3))
			if err != nil {
				t.Fatalf("%v\n%x\n%+v", err, body, req)
			}
			if c.bytes != len(body) {
				t.Fatalf("%s version %d: %d bytes of %d\n%x\n%+v", a.Name, v, c.bytes, len(body), body, req)
			}
			for cut := range len(body) {
				if _, err := skim(a, v, body[:cut]); !errors.Is(err, InvalidRequest) {
					t.Fatalf("%s version %d cut at %d of %d bytes: %v\n%x", a.Name, v, cut, len(body), err, body)
				}
			}
			if _, err := DecodeBody(a, v, body); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// honest sets what kmsg writes as null though the version does not allow null there: Kafka refuses it, and so do we.
func honest(req kmsg.Request) kmsg.Request {
	if m, ok := req.(*kmsg.MetadataRequest); ok && m.Version < 10 {
		for i := range m.Topics {
			if m.Topics[i].Topic == nil {
				m.Topics[i].Topic = kmsg.StringPtr("")
			}
		}
	}
	return req
}

func TestSkimCountsAtLeastWhatKmsgAllocates(t *testing.T) {
	r := newRand(5)
	eachVersion(func(a API, v int16) {
		for range 20 {
			body := honest(randomRequest(r, a, v, true)).AppendTo(nil)
			c, err := skim(a, v, body)
			if err != nil {
				t.Fatal(err)
			}
			got := allocated(func() {
				if _, err := DecodeBody(a, v, body); err != nil {
					t.Fatal(err)
				}
			})
			if got > c.memory {
				t.Errorf("%s version %d: %d bytes allocated, %d counted\n%x", a.Name, v, got, c.memory, body)
			}
		}
	})
}

func TestSkimAllocatesNothing(t *testing.T) {
	r := newRand(6)
	eachVersion(func(a API, v int16) {
		body := honest(randomRequest(r, a, v, true)).AppendTo(nil)
		if n := testing.AllocsPerRun(10, func() { _, _ = skim(a, v, body) }); n != 0 {
			t.Errorf("%s version %d: %v allocations", a.Name, v, n)
		}
	})
}

// hostileBodies are bodies that cost a trusting decoder much: for each API and version, an honest body in which each
// position in turn is overwritten with numbers that are too large, negative, or null.
func hostileBodies(f func(a API, v int16, body []byte)) {
	numbers := [][]byte{
		{0xff, 0xff, 0xff, 0xff, 0x0f},             // the largest varint
		binary.AppendUvarint(nil, 100_000_000),     // 1e8 tagged fields or elements
		{0x7f, 0xff, 0xff, 0xff},                   // the largest int32
		{0xff, 0xff, 0xff, 0xff},                   // -1
		{0xff, 0xff, 0xff, 0xfe},                   // -2
		{0x80, 0, 0, 0},                            // the smallest int32
		{0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80}, // a varint that does not end
		{0}, {0x7f, 0xff}, {0xff, 0xff},
	}
	r := newRand(7)
	eachVersion(func(a API, v int16) {
		honestBody := honest(randomRequest(r, a, v, true)).AppendTo(nil)
		for at := range min(len(honestBody), 120) {
			for _, n := range numbers {
				body := append(append([]byte{}, honestBody[:at]...), n...)
				f(a, v, body)
				if at+len(n) < len(honestBody) {
					f(a, v, append(body, honestBody[at+len(n):]...))
				}
			}
		}
	})
}

func TestC14_HostileBodiesCostLittle(t *testing.T) {
	var slowest time.Duration
	refused := 0
	hostileBodies(func(a API, v int16, body []byte) {
		start := time.Now()
		_, err := skim(a, v, body)
		slowest = max(slowest, time.Since(start))
		if err != nil {
			refused++
			return
		}
		req := a.New()
		req.SetVersion(v)
		if err := req.ReadFrom(body); err != nil {
			t.Errorf("%s version %d: kmsg refuses what the skimmer let pass: %v\n%x", a.Name, v, err, body)
		}
	})
	if refused == 0 {
		t.Error("nothing was refused")
	}
	if slowest > 200*time.Millisecond { // a millisecond is allowed; the rest is for a machine that is busy otherwise
		t.Errorf("one body took %v", slowest)
	}
}

// expensive are bodies whose every byte is valid and that are made to take as much memory as possible.
func expensiveBodies() map[string][]byte {
	const n = 1 << 20
	uvarint := func(v int) string { return string(binary.AppendUvarint(nil, uint64(v))) }
	tags := func(n int) string {
		var b strings.Builder
		b.WriteString(uvarint(n))
		for i := range n {
			b.WriteString(uvarint(1000+i) + uvarint(0))
		}
		return b.String()
	}
	return map[string][]byte{
		// topics without a name or partitions
		"Produce 9": []byte("\x00" + "\x00\x01" + "\x00\x00\x00\x01" + uvarint(n+1) + strings.Repeat("\x01\x01\x00", n) + "\x00"),
		// topics without anything
		"CreateTopics 5": []byte(uvarint(n+1) + strings.Repeat("\x01"+"\x00\x00\x00\x01"+"\x00\x01"+"\x01\x01\x00", n) +
			"\x00\x00\x00\x01" + "\x00" + "\x00"),
		"Metadata 12":            []byte(uvarint(n+1) + strings.Repeat(strings.Repeat("\x01", 16)+"\x00\x00", n) + "\x00\x00\x00"),
		"Metadata 9":             []byte(uvarint(n+1) + strings.Repeat("\x01\x00", n) + "\x00\x00\x00\x00"),
		"DeleteGroups 2":         []byte(uvarint(n+1) + strings.Repeat("\x01", n) + "\x00"),
		"DescribeGroups 5":       []byte(uvarint(n+1) + strings.Repeat("\x02a", n) + "\x00\x00"),
		"ApiVersions 3":          []byte("\x02a\x02a" + tags(1024)),
		"Metadata 13":            []byte(uvarint(2000) + strings.Repeat(strings.Repeat("\x01", 16)+"\x00"+tags(1), 1999) + "\x00\x00\x00"),
		"ApiVersions 4":          []byte("\x02a\x02a" + tags(2000)),
		"DescribeLogDirs 2":      []byte(uvarint(n+1) + strings.Repeat("\x01\x01\x00", n) + "\x00"),
		"OffsetForLeaderEpoch 4": []byte("\xff\xff\xff\xff" + uvarint(n+1) + strings.Repeat("\x01\x01\x00", n) + "\x00"),
	}
}

func byName(t testing.TB, s string) (API, int16) {
	var name string
	var v int16
	if _, err := fmt.Sscan(s, &name, &v); err != nil {
		t.Fatal(err)
	}
	for _, a := range APIs() {
		if a.Name == name {
			return a, v
		}
	}
	t.Fatalf("no API %s", name)
	return API{}, 0
}

func TestC14_DecodingStaysWithinItsBudget(t *testing.T) {
	refused := 0
	for name, body := range expensiveBodies() {
		a, v := byName(t, name)
		start := time.Now()
		var err error
		got := allocated(func() { _, err = DecodeBody(a, v, body) })
		took := time.Since(start)
		if got > limitOf(body) {
			t.Errorf("%s: %d bytes took %d bytes of memory, %d are allowed (%v)", name, len(body), got, limitOf(body), err)
		}
		if allowed := 200*time.Millisecond + time.Duration(len(body))*time.Microsecond; took > allowed {
			t.Errorf("%s: %d bytes took %v", name, len(body), took)
		}
		switch {
		case errors.Is(err, InvalidRequest):
			refused++
		case err != nil:
			t.Errorf("%s: %v", name, err)
		}
	}
	if refused < 5 {
		t.Errorf("only %d were refused", refused)
	}
}

// TestC14: a header of six bytes behind which 100 million tagged fields are declared.
func TestC14_SevenBytesAreNotMinutes(t *testing.T) {
	start := time.Now()
	for _, a := range APIs() {
		if a.FlexibleFrom > a.Max {
			continue
		}
		head := binary.BigEndian.AppendUint16(nil, uint16(a.Key))
		head = binary.BigEndian.AppendUint16(head, uint16(a.Max))
		head = append(head, 0, 0, 0, 1, 0xff, 0xff) // correlation id, null client id
		for _, count := range []uint64{100_000_000, 1<<32 - 1, tagsMax + 1} {
			frame := binary.AppendUvarint(head, count)
			if _, _, err := ParseHeader(frame); !errors.Is(err, InvalidRequest) {
				t.Errorf("%s: header with %d tagged fields: %v", a.Name, count, err)
			}
			if _, err := DecodeBody(a, a.Max, frame[len(head):]); !errors.Is(err, InvalidRequest) {
				t.Errorf("%s: body with %d of something: %v", a.Name, count, err)
			}
		}
	}
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %v", took)
	}
}

func TestLargeHonestRequestsPass(t *testing.T) {
	commit := kmsg.NewPtrOffsetCommitRequest()
	commit.Group, commit.MemberID = "riders", "consumer-1-4f9a"
	for i := range 100 {
		topic := kmsg.NewOffsetCommitRequestTopic()
		topic.Topic = fmt.Sprintf("t%d", i)
		for p := range 100 {
			part := kmsg.NewOffsetCommitRequestTopicPartition()
			part.Partition, part.Offset, part.Metadata = int32(p), 1, kmsg.StringPtr("")
			topic.Partitions = append(topic.Partitions, part)
		}
		commit.Topics = append(commit.Topics, topic)
	}
	create := kmsg.NewPtrCreateTopicsRequest()
	deletes := kmsg.NewPtrDeleteTopicsRequest()
	metadata := kmsg.NewPtrMetadataRequest()
	configs := kmsg.NewPtrDescribeConfigsRequest()
	groups := kmsg.NewPtrDescribeGroupsRequest()
	fetched := kmsg.NewPtrOffsetFetchRequest()
	group := kmsg.NewOffsetFetchRequestGroup()
	for i := range 10_000 {
		name := fmt.Sprintf("topic%d", i)
		if i < 1000 {
			topic := kmsg.NewCreateTopicsRequestTopic()
			topic.Topic, topic.NumPartitions, topic.ReplicationFactor = name, 1, -1
			create.Topics = append(create.Topics, topic)
		}
		d := kmsg.NewDeleteTopicsRequestTopic()
		d.Topic = &name
		deletes.Topics = append(deletes.Topics, d)
		deletes.TopicNames = append(deletes.TopicNames, name)
		m := kmsg.NewMetadataRequestTopic()
		m.Topic = &name
		metadata.Topics = append(metadata.Topics, m)
		c := kmsg.NewDescribeConfigsRequestResource()
		c.ResourceType, c.ResourceName = 2, name
		configs.Resources = append(configs.Resources, c)
		groups.Groups = append(groups.Groups, name)
		old := kmsg.NewOffsetFetchRequestTopic()
		old.Topic, old.Partitions = name, []int32{0}
		fetched.Topics = append(fetched.Topics, old)
		now := kmsg.NewOffsetFetchRequestGroupTopic()
		now.Topic, now.Partitions, now.TopicID = name, []int32{0}, [16]byte{1}
		group.Topics = append(group.Topics, now)
	}
	group.Group = "riders"
	fetched.Groups = append(fetched.Groups, group)
	for _, req := range []kmsg.Request{commit, create, deletes, metadata, configs, groups, fetched} {
		a, _ := Lookup(req.Key())
		for v := a.Min; v <= a.Max; v++ {
			req.SetVersion(v)
			body := req.AppendTo(nil)
			c, err := skim(a, v, body)
			if err != nil {
				t.Errorf("%d bytes: %v", len(body), err)
			}
			t.Logf("%s version %d: %d bytes, memory %.1f times that", a.Name, v, len(body), float64(c.memory)/float64(len(body)))
		}
	}
}

func TestRule010_BytesBehindABodyAreTolerated(t *testing.T) {
	r := newRand(10)
	eachVersion(func(a API, v int16) {
		body := honest(randomRequest(r, a, v, false)).AppendTo(nil)
		want, err := DecodeBody(a, v, body)
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeBody(a, v, append(body, "left over"...))
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s version %d: %v\n%+v\n%+v", a.Name, v, err, got, want)
		}
	})
}

func TestRule011_NullTopicsAreNotNoTopics(t *testing.T) {
	metadata, _ := Lookup(3)
	for v := metadata.Min; v <= metadata.Max; v++ {
		for _, topics := range [][]kmsg.MetadataRequestTopic{nil, {}} {
			req := kmsg.NewPtrMetadataRequest()
			req.Version, req.Topics = v, topics
			if v == 0 && topics == nil {
				continue // version 0 has no null
			}
			got, err := DecodeBody(metadata, v, req.AppendTo(nil))
			if err != nil {
				t.Fatal(err)
			}
			if isNull := got.(*kmsg.MetadataRequest).Topics == nil; isNull != (topics == nil) {
				t.Errorf("version %d: null is %t, sent %t", v, isNull, topics == nil)
			}
		}
	}
	if _, err := DecodeBody(metadata, 0, []byte{0xff, 0xff, 0xff, 0xff}); !errors.Is(err, InvalidRequest) {
		t.Errorf("null in version 0: %v", err)
	}
}

// TestMessagesDoNotReferToTheFrame: the buffer of a frame is another request's as soon as this one has been decoded.
func TestMessagesDoNotReferToTheFrame(t *testing.T) {
	r := newRand(11)
	eachVersion(func(a API, v int16) {
		for range 10 {
			body := honest(randomRequest(r, a, v, true)).AppendTo(nil)
			got, err := DecodeBody(a, v, body)
			if err != nil {
				t.Fatal(err)
			}
			before := got.AppendTo(nil)
			for i := range body {
				body[i] = 0xDB
			}
			if after := got.AppendTo(nil); !bytes.Equal(before, after) {
				t.Fatalf("%s version %d changed with the frame", a.Name, v)
			}
		}
	})
}
