package broker_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

func TestRule071_ASessionKeepsTheLastOffsetOfEachPartition(t *testing.T) {
	for _, version := range []int16{7, 11, 12, 13, 18} {
		w := newWorld(t)
		for i := range int64(3) {
			w.putAt(i, records(1, 10))
		}
		s, _ := w.begin(version, fetchFrom(0, 0), fetchFrom(1, 0))
		first := func(offset int64, parts ...kmsg.FetchRequestTopicPartition) {
			t.Helper()
			p := one(t, s.next(parts))
			if at := batch.Batch(p.RecordBatches).BaseOffset(); int64(at) != offset {
				t.Errorf("version %d: read from %d, want %d", version, at, offset)
			}
		}
		first(1, fetchFrom(0, 1))
		first(1)
		first(1)
		first(2, fetchFrom(0, 2))
		first(2)
		first(0, fetchFrom(0, 0)) // back
		first(0)
	}
}

// TestRule072_ARackChangesNothingWithoutAReplicaSelector: records come from the leader, which names nobody else.
func TestRule072_ARackChangesNothingWithoutAReplicaSelector(t *testing.T) {
	w := newWorld(t)
	for i := range int64(3) {
		w.putAt(i, records(1, 10))
	}
	deleteRecords(w.c, "t", 0, 1)
	for version := int16(4); version <= 18; version++ {
		req := fetchRequest(version, "t", w.id, fetchFrom(0, 1))
		req.Rack = "another-rack"
		p := one(t, w.c.Do(req).(*kmsg.FetchResponse))
		if p.PreferredReadReplica != -1 || countRecords(t, p.RecordBatches) != 2 {
			t.Errorf("version %d: replica %d, %d records", version, p.PreferredReadReplica, countRecords(t, p.RecordBatches))
		}
		start := int64(1)
		if version < 5 {
			start = -1 // has no such field
		}
		if p.LogStartOffset != start || p.HighWatermark != 3 || p.LastStableOffset != 3 {
			t.Errorf("version %d: log start %d, high watermark %d, last stable %d", version, p.LogStartOffset, p.HighWatermark, p.LastStableOffset)
		}
	}
}

// TestC19_C20_C117_NobodySeesHalfATopic: while topics are made, grow and go, every list is whole, and every partition in it has
// a leader.
func TestC19_C20_C117_NobodySeesHalfATopic(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{Quiet: true})
	stays := map[string]bool{}
	c := b.Dial()
	for i := range 20 {
		name := fmt.Sprint("stays-", i)
		createTopic(c, name, 2)
		stays[name] = true
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(stop)
		c := b.Dial()
		for i := range 30 {
			name := fmt.Sprint("new-", i)
			id := createTopic(c, name, 3)
			req := kmsg.NewPtrCreatePartitionsRequest()
			req.TimeoutMillis = 10_000
			req.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: name, Count: 5}}
			if code := c.Do(brokertest.Latest(req)).(*kmsg.CreatePartitionsResponse).Topics[0].ErrorCode; code != 0 {
				t.Errorf("%v", protocol.Code(code))
			}
			if i%2 == 0 {
				deleteTopic(c, id)
			}
		}
	})
	lists := 0
	for running := true; running || lists < 10; lists++ {
		select {
		case <-stop:
			running = false
		default:
		}
		found := 0
		for _, topic := range metadata(c, false).Topics {
			if stays[*topic.Topic] {
				found++
			}
			if topic.ErrorCode != 0 || len(topic.Partitions) == 0 {
				t.Fatalf("%s: %v with %d partitions", *topic.Topic, protocol.Code(topic.ErrorCode), len(topic.Partitions))
			}
			for _, p := range topic.Partitions {
				if p.Leader != 1 || p.ErrorCode != 0 || p.LeaderEpoch < 0 {
					t.Fatalf("%s: %+v", *topic.Topic, p)
				}
			}
		}
		if found != len(stays) {
			t.Fatalf("C117: %d of %d topics", found, len(stays))
		}
	}
	wg.Wait()
}

func TestC23_AnUnknownTopicIsWellFormedAtEveryVersion(t *testing.T) {
	w := newWorld(t)
	for version := int16(0); version <= 13; version++ {
		req := kmsg.NewPtrMetadataRequest()
		req.AllowAutoTopicCreation = false
		req.Topics = []kmsg.MetadataRequestTopic{{Topic: ptr("__transaction_state")}, {Topic: ptr("t")}}
		w.c.Send(w.c.Encode(brokertest.At(version, req)))
		raw := w.c.Recv()
		resp, _, err := brokertest.Decode(req, raw)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(resp.AppendTo(nil), bodyOf(req, raw)) { // null partitions would be read as none, and written as none
			t.Errorf("version %d: % x", version, raw)
		}
		topics := resp.(*kmsg.MetadataResponse).Topics // internal ones are not made by asking
		if len(topics) != 2 {
			t.Fatalf("version %d: %+v", version, topics)
		}
		unknown := topics[slices.IndexFunc(topics, func(rt kmsg.MetadataResponseTopic) bool { return *rt.Topic != "t" })]
		if protocol.Code(unknown.ErrorCode) != protocol.UnknownTopicOrPartition || unknown.Topic == nil ||
			*unknown.Topic != "__transaction_state" || unknown.TopicID != [16]byte{} || len(unknown.Partitions) != 0 {
			t.Errorf("version %d: %+v", version, unknown)
		}
		if version >= 12 {
			req.Topics = []kmsg.MetadataRequestTopic{{TopicID: [16]byte{9}}}
			byID := w.c.Do(brokertest.At(version, req)).(*kmsg.MetadataResponse).Topics[0]
			if protocol.Code(byID.ErrorCode) != protocol.UnknownTopicID || byID.Topic != nil || byID.TopicID != [16]byte{9} {
				t.Errorf("version %d: %+v", version, byID)
			}
		}
	}
}

// TestC29_NamesAreTheSameBytesEverywhere: tools match the names of one answer with those of another.
func TestC29_NamesAreTheSameBytesEverywhere(t *testing.T) {
	names := []string{"Orders.EU_west-1", "orders.eu-west-1", "public--default--t", "0", strings.Repeat("L", 249), "persistent_t"}
	groups := []string{"G.Group_1-x", "g.group 1", "grüße/ψ", strings.Repeat("g", 300)}
	w := newGroupWire(t, nil)
	want := append([]string{"t"}, names...)
	slices.Sort(want)
	for _, name := range names {
		createTopic(w.Client, name, 1)
	}
	same := func(what string, got []string) {
		t.Helper()
		got = slices.DeleteFunc(got, func(n string) bool { return n == "__consumer_offsets" })
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s:\ngot  %q\nwant %q", what, got, want)
		}
	}
	var all []string
	for _, topic := range metadata(w.Client, false).Topics {
		all = append(all, *topic.Topic)
	}
	same("Metadata", all)

	all = nil
	for _, topic := range w.Do(brokertest.Latest(kmsg.NewPtrDescribeTopicPartitionsRequest())).(*kmsg.DescribeTopicPartitionsResponse).Topics {
		all = append(all, *topic.Topic)
	}
	same("DescribeTopicPartitions", all)

	lo := kmsg.NewPtrListOffsetsRequest()
	lo.ReplicaID = -1
	for _, name := range want {
		lt := kmsg.NewListOffsetsRequestTopic()
		lp := kmsg.NewListOffsetsRequestTopicPartition()
		lp.Timestamp, lp.CurrentLeaderEpoch = -1, -1
		lt.Topic, lt.Partitions = name, append(lt.Partitions, lp)
		lo.Topics = append(lo.Topics, lt)
	}
	all = nil
	for _, rt := range w.Do(brokertest.Latest(lo)).(*kmsg.ListOffsetsResponse).Topics {
		if rt.Partitions[0].ErrorCode != 0 {
			t.Errorf("ListOffsets of %q: %v", rt.Topic, protocol.Code(rt.Partitions[0].ErrorCode))
		}
		all = append(all, rt.Topic)
	}
	same("ListOffsets", all)

	all = nil
	for _, rt := range w.Do(brokertest.Latest(kmsg.NewPtrDescribeLogDirsRequest())).(*kmsg.DescribeLogDirsResponse).Dirs[0].Topics {
		all = append(all, rt.Topic)
	}
	same("DescribeLogDirs", all)

	for _, group := range groups {
		commit := kmsg.NewPtrOffsetCommitRequest()
		commit.Group, commit.Generation = group, -1
		for _, name := range want {
			ct := kmsg.NewOffsetCommitRequestTopic()
			cp := kmsg.NewOffsetCommitRequestTopicPartition()
			cp.Offset = 3
			ct.Topic, ct.Partitions = name, append(ct.Partitions, cp)
			commit.Topics = append(commit.Topics, ct)
		}
		all = nil
		for _, rt := range w.Do(brokertest.At(9, commit)).(*kmsg.OffsetCommitResponse).Topics {
			all = append(all, rt.Topic)
		}
		same("OffsetCommit", all)
		fetched := kmsg.NewPtrOffsetFetchRequest()
		g := kmsg.NewOffsetFetchRequestGroup()
		g.Group = group
		fetched.Groups = append(fetched.Groups, g)
		answer := w.Do(brokertest.At(9, fetched)).(*kmsg.OffsetFetchResponse).Groups[0]
		all = nil
		for _, rt := range answer.Topics {
			all = append(all, rt.Topic)
		}
		same("OffsetFetch of all", all)
		describe := kmsg.NewPtrDescribeGroupsRequest()
		describe.Groups = []string{group}
		if got := w.Do(brokertest.Latest(describe)).(*kmsg.DescribeGroupsResponse).Groups[0]; got.Group != group || got.ErrorCode != 0 || answer.Group != group {
			t.Errorf("group %q is described as %q", group, got.Group)
		}
	}
	var listed []string
	for _, g := range w.Do(brokertest.Latest(kmsg.NewPtrListGroupsRequest())).(*kmsg.ListGroupsResponse).Groups {
		listed = append(listed, g.Group)
	}
	slices.Sort(listed)
	if slices.Sort(groups); !slices.Equal(listed, groups) {
		t.Errorf("ListGroups: %q, want %q", listed, groups)
	}
}

// TestC72_EpochsAreRealEverywhere: a client that sees one in one answer compares it with those of the others.
func TestC72_EpochsAreRealEverywhere(t *testing.T) {
	w := newWorld(t)
	for want := range int32(3) {
		at := int64(2 * want)
		w.putAt(at, records(2, 10))
		if got := metadata(w.c, false, "t").Topics[0].Partitions[0].LeaderEpoch; got != want {
			t.Errorf("Metadata: epoch %d, want %d", got, want)
		}
		if got := batch.Batch(w.get(at).RecordBatches).LeaderEpoch(); int32(got) != want {
			t.Errorf("the stored batch: epoch %d, want %d", got, want)
		}
		if got := listOffset(w.c, 11, "t", 0, -1).LeaderEpoch; got != want {
			t.Errorf("ListOffsets of the latest: epoch %d, want %d", got, want)
		}
		if got := listOffset(w.c, 11, "t", 0, 0).LeaderEpoch; got != 0 {
			t.Errorf("ListOffsets of the first record: epoch %d, want 0", got)
		}
		pages := kmsg.NewPtrDescribeTopicPartitionsRequest()
		pages.ResponsePartitionLimit = 10
		pages.Topics = []kmsg.DescribeTopicPartitionsRequestTopic{{Topic: "t"}}
		if got := w.c.Do(pages).(*kmsg.DescribeTopicPartitionsResponse).Topics[0].Partitions[0].LeaderEpoch; got != want {
			t.Errorf("DescribeTopicPartitions: epoch %d, want %d", got, want)
		}
		for version := int16(2); version <= 4; version++ {
			if got := epochEnd(w.c, version, want, want); got.LeaderEpoch != want || got.EndOffset != at+2 {
				t.Errorf("OffsetForLeaderEpoch version %d: epoch %d ends at %d, want %d at %d", version, got.LeaderEpoch, got.EndOffset, want, at+2)
			}
			if got := epochEnd(w.c, version, -1, 0); got.LeaderEpoch != 0 || got.EndOffset != 2 {
				t.Errorf("OffsetForLeaderEpoch version %d: epoch 0 ends at %d, want 2", version, got.EndOffset)
			}
		}
		fp := fetchFrom(0, at)
		fp.CurrentLeaderEpoch, fp.LastFetchedEpoch = want, want
		if p := one(t, fetch(w.c, 18, "t", w.id, fp)); p.ErrorCode != 0 || p.DivergingEpoch.EndOffset >= 0 {
			t.Errorf("Fetch with the epochs that were told: %+v", p)
		}
		w.b.Restart()
		w.c = w.b.Dial()
	}
}

// TestC83_SubscriptionsAreTheMembersOwn: whatever bytes a member sends, the leader and the tools get them as they are.
func TestC83_SubscriptionsAreTheMembersOwn(t *testing.T) {
	w := newGroupWire(t, nil)
	for i, meta := range [][]byte{
		nil, {0}, {0xff, 0xff, 0xff, 0xff}, {0, 1, 0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 0}, // the last is version 1 without owned partitions
		bytes.Repeat([]byte{0, 3, 0x7f, 0xff, 0xff, 0xff}, 1000), []byte("{\"json\":true}"),
	} {
		for _, kind := range []string{"consumer", "connect", "sr"} {
			group := fmt.Sprint("g-", i, kind)
			req := joinReq(group, "", ptr("i"), "range")
			req.ProtocolType, req.Protocols[0].Metadata = kind, meta
			j := w.Do(brokertest.Latest(req)).(*kmsg.JoinGroupResponse)
			if j.ErrorCode != 0 || len(j.Members) != 1 || !bytes.Equal(j.Members[0].ProtocolMetadata, meta) {
				t.Errorf("%s, % x: %s", kind, meta, text(j))
				continue
			}
			sync := syncReq(group, j.MemberID, ptr("i"), 1, j.MemberID, "\x00\xff any bytes")
			sync.ProtocolType = &kind
			if s := w.Do(brokertest.Latest(sync)).(*kmsg.SyncGroupResponse); string(s.MemberAssignment) != "\x00\xff any bytes" {
				t.Errorf("%s: %s", kind, text(s))
			}
			describe := kmsg.NewPtrDescribeGroupsRequest()
			describe.Groups = []string{group}
			g := w.Do(brokertest.Latest(describe)).(*kmsg.DescribeGroupsResponse).Groups[0]
			if len(g.Members) != 1 || !bytes.Equal(g.Members[0].ProtocolMetadata, meta) ||
				string(g.Members[0].MemberAssignment) != "\x00\xff any bytes" {
				t.Errorf("%s: described as %s", kind, text(&kmsg.DescribeGroupsResponse{Groups: []kmsg.DescribeGroupsResponseGroup{g}}))
			}
		}
	}
}

// TestC134_ListOffsetsLeavesNobodyOut: an entry for each that was asked for, with an error where there is no offset.
func TestC134_ListOffsetsLeavesNobodyOut(t *testing.T) {
	w, broken := brokenDisk(t, "Open")
	broken.Store(true)
	w.b.Restart() // t-0 is offline
	w.c = w.b.Dial()
	for version := int16(1); version <= 11; version++ {
		req := kmsg.NewPtrListOffsetsRequest()
		req.ReplicaID = -1
		for _, name := range []string{"t", "nope", "t2"} {
			lt := kmsg.NewListOffsetsRequestTopic()
			lt.Topic = name
			for partition := range int32(4) {
				lp := kmsg.NewListOffsetsRequestTopicPartition()
				lp.Partition, lp.Timestamp, lp.CurrentLeaderEpoch = partition, -1, -1
				lt.Partitions = append(lt.Partitions, lp)
			}
			req.Topics = append(req.Topics, lt)
		}
		resp := w.c.Do(brokertest.At(version, req)).(*kmsg.ListOffsetsResponse)
		if len(resp.Topics) != 3 {
			t.Fatalf("version %d: %+v", version, resp)
		}
		for i, rt := range resp.Topics {
			if len(rt.Partitions) != 4 || rt.Topic != req.Topics[i].Topic {
				t.Fatalf("version %d: %+v", version, rt)
			}
			for _, p := range rt.Partitions {
				ok := rt.Topic == "t" && p.Partition == 1
				if (p.ErrorCode == 0) != ok || (p.Offset == 0) != ok || !ok && p.Offset != -1 {
					t.Errorf("version %d, %s-%d: %+v", version, rt.Topic, p.Partition, p)
				}
			}
		}
	}
}

// TestC120_LogDirsOfNoTopicsAreAll, which user interfaces ask for sizes.
func TestC120_LogDirsOfNoTopicsAreAll(t *testing.T) {
	w := newWorld(t)
	w.putAt(0, records(3, 1000))
	for version := int16(1); version <= 5; version++ {
		resp := w.c.Do(brokertest.At(version, kmsg.NewPtrDescribeLogDirsRequest())).(*kmsg.DescribeLogDirsResponse)
		if resp.ErrorCode != 0 || len(resp.Dirs) != 1 || len(resp.Dirs[0].Topics) != 1 || len(resp.Dirs[0].Topics[0].Partitions) != 2 {
			t.Fatalf("version %d: %+v", version, resp)
		}
		for _, p := range resp.Dirs[0].Topics[0].Partitions {
			if (p.Size >= 3000) != (p.Partition == 0) || p.OffsetLag != 0 || p.IsFuture {
				t.Errorf("version %d: %+v", version, p)
			}
		}
		none := kmsg.NewPtrDescribeLogDirsRequest()
		none.Topics = []kmsg.DescribeLogDirsRequestTopic{}
		if resp := w.c.Do(brokertest.At(version, none)).(*kmsg.DescribeLogDirsResponse); len(resp.Dirs) != 1 || len(resp.Dirs[0].Topics) != 0 {
			t.Errorf("version %d, empty: %+v", version, resp)
		}
	}
}
