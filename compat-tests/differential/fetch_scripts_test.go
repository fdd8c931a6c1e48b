//go:build compat

package differential

import (
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var fetchScripts = []script{
	{"fetch-versions", scriptFetchVersions},
	{"fetch-limits", scriptFetchLimits},
	{"fetch-waiting", scriptFetchWaiting},
	{"fetch-wakes", scriptFetchWakes},
	{"fetch-sessions", scriptFetchSessions},
}

func scriptFetchVersions(s *session) {
	name, id := s.topic("t", 2)
	s.write(name, 0, simple(3).bytes())
	s.write(name, 0, simple(2).bytes())
	s.each(1, func(v int16) {
		for _, offset := range []int64{0, 1, 2, 3, 4, 5, 6, -1, -2, 1 << 60} {
			s.ask("offset", fetch(v, name, id, 0, offset))
		}
		committed := fetch(v, name, id, 0, 0)
		committed.IsolationLevel = 1
		s.ask("read committed", committed)
		committed.IsolationLevel = 2
		s.ask("isolation level 2", committed)
		s.ask("unknown topic", fetch(v, s.name("none"), [16]byte{8}, 0, 0))
		s.ask("zero id or empty name", fetch(v, "", [16]byte{}, 0, 0))
		s.ask("unknown partition", fetch(v, name, id, 2, 0))
		s.ask("negative partition", fetch(v, name, id, -1, 0))
		both := fetch(v, name, id, 0, 0)
		both.Topics[0].Partitions = append(both.Topics[0].Partitions, fetchPartition(1, 0))
		both.Topics = append(both.Topics, fetch(v, s.name("none"), [16]byte{9}, 0, 0).Topics...)
		s.ask("two and an unknown topic", both)
		both.Topics = both.Topics[:1]
		both.Topics[0].Partitions = append(both.Topics[0].Partitions, fetchPartition(7, 0))
		s.ask("two and an unknown partition", both)
		none := fetch(v, name, id, 0, 0)
		none.Topics = nil
		s.ask("no topics", none)
		if v >= 9 {
			for _, epoch := range []int32{-1, 0, 1, -2, 99} {
				req := fetch(v, name, id, 0, 0)
				req.Topics[0].Partitions[0].CurrentLeaderEpoch = epoch
				s.ask("current leader epoch", req)
			}
		}
		if v >= 12 {
			for _, epoch := range []int32{-1, 0, 1, 99} {
				req := fetch(v, name, id, 0, 3)
				req.Topics[0].Partitions[0].LastFetchedEpoch = epoch
				s.ask("last fetched epoch", req)
			}
		}
		if v >= 11 {
			req := fetch(v, name, id, 0, 0)
			req.Rack = "nowhere"
			s.ask("rack", req)
		}
	})
}

func scriptFetchLimits(s *session) {
	name, id := s.topic("t", 3)
	for p := range int32(3) {
		for range 4 {
			s.write(name, p, simple(5).bytes())
		}
	}
	size := len(simple(5).bytes())
	for _, v := range []int16{4, 11, 12, 17, 18} {
		negative := fetch(v, name, id, 0, 6)
		negative.Topics[0].Partitions[0].PartitionMaxBytes = -1
		s.ask("negative partition limit", negative)
		negative = fetch(v, name, id, 0, 6)
		negative.MaxBytes = -1
		s.ask("negative limit", negative)
		for _, limit := range []int{0, 1, size - 1, size, size + 30, 2 * size, 3*size + 70} {
			one := fetch(v, name, id, 0, 6)
			one.Topics[0].Partitions[0].PartitionMaxBytes = int32(limit)
			s.ask("partition limit", one)
			three := fetch(v, name, id, 0, 0)
			three.MaxBytes = int32(limit)
			three.Topics[0].Partitions = append(three.Topics[0].Partitions, fetchPartition(1, 3), fetchPartition(2, 19))
			s.ask("limit over three partitions", three)
			three.MaxBytes = 1 << 20
			for i := range three.Topics[0].Partitions {
				three.Topics[0].Partitions[i].PartitionMaxBytes = int32(limit)
			}
			s.ask("limit of each of three partitions", three)
		}
	}
}

// scriptFetchWaiting compares which fetches wait and which are answered at once.
func scriptFetchWaiting(s *session) {
	name, id := s.topic("t", 2)
	s.write(name, 0, simple(3).bytes())
	timed := func(label string, req *kmsg.FetchRequest) {
		began := time.Now()
		s.ask(label, req)
		length := "at once"
		if time.Since(began) > 1200*time.Millisecond {
			length = "waited"
		}
		s.note(label+", how long", length)
	}
	for _, v := range []int16{4, 12, 18} {
		req := fetch(v, name, id, 1, 0)
		req.MaxWaitMillis = 1500
		timed("empty partition", req)
		req = fetch(v, name, id, 0, 3)
		req.MaxWaitMillis = 1500
		timed("at the end", req)
		req = fetch(v, name, id, 0, 0)
		req.MaxWaitMillis, req.MinBytes = 1500, 100_000
		timed("more wanted than there is", req)
		req = fetch(v, name, id, 0, 0)
		req.MaxWaitMillis, req.MinBytes, req.MaxBytes = 1500, 100_000, 50
		timed("more wanted than the limit", req)
		req = fetch(v, name, id, 0, 0)
		req.MaxWaitMillis, req.MinBytes = 1500, 0
		timed("minimum 0", req)
		req = fetch(v, name, id, 1, 0)
		req.MaxWaitMillis, req.MinBytes = 1500, 0
		timed("minimum 0, empty partition", req)
		req = fetch(v, name, id, 0, 99)
		req.MaxWaitMillis = 1500
		timed("out of range", req)
		req = fetch(v, name, id, 1, 0)
		req.MaxWaitMillis = 1500
		req.Topics = append(req.Topics, fetch(v, s.name("none"), [16]byte{9}, 0, 0).Topics...)
		timed("unknown topic beside an empty partition", req)
		req = fetch(v, s.name("none"), [16]byte{9}, 0, 0)
		req.MaxWaitMillis = 1500
		timed("nothing but an unknown topic", req)
		req = fetch(v, name, id, 1, 0)
		req.MaxWaitMillis = -1
		timed("negative wait", req)
	}
}

// scriptFetchWakes has fetches wait for what comes while they wait.
func scriptFetchWakes(s *session) {
	for _, v := range []int16{4, 12, 18} {
		name, id := s.topic("t"+string(rune('a'+v)), 2)
		waiting := func(partition int32, minBytes int32) *kmsg.FetchRequest {
			req := fetch(v, name, id, partition, 0)
			req.MaxWaitMillis, req.MinBytes = 10_000, minBytes
			return req
		}
		size := int32(len(simple(3).bytes()))
		began := time.Now()
		one := s.start("wakes", waiting(0, 1))
		two := s.start("wakes at the second batch", waiting(0, size+1))
		other := s.start("other partition", waiting(1, 1))
		s.write(name, 0, simple(3).bytes())
		one()
		s.write(name, 0, simple(3).bytes())
		two()
		s.write(name, 1, simple(1).bytes())
		other()
		s.note("all came", map[bool]string{true: "at once", false: "late"}[time.Since(began) < 5*time.Second])
		tail := fetch(v, name, id, 0, 6)
		tail.MaxWaitMillis = 10_000
		gone := s.start("topic that is deleted", tail)
		s.quiet(deleteTopics(5, name))
		gone()
		s.note("came", map[bool]string{true: "at once", false: "late"}[time.Since(began) < 8*time.Second])
	}
}

func scriptFetchSessions(s *session) {
	for _, v := range []int16{7, 11, 12, 13, 18} {
		tag := string(rune('a' + v))
		name, id := s.topic("t"+tag, 3)
		s.write(name, 0, simple(2).bytes())
		full := fetch(v, name, id, 0, 0)
		full.SessionEpoch = 0
		full.Topics[0].Partitions = append(full.Topics[0].Partitions, fetchPartition(1, 0), fetchPartition(5, 0))
		resp, _ := s.ask("opens", full).(*kmsg.FetchResponse)
		if resp == nil || resp.SessionID == 0 {
			s.fail("no session")
		}
		next := func(epoch int32) *kmsg.FetchRequest {
			r := fetch(v, name, id, 0, 0)
			r.SessionID, r.SessionEpoch, r.Topics = resp.SessionID, epoch, nil
			return r
		}
		s.ask("same offsets again", next(1))
		moved := next(2)
		moved.Topics = fetch(v, name, id, 0, 2).Topics
		s.ask("moved on", moved)
		s.ask("nothing new", next(3))
		s.write(name, 1, simple(1).bytes())
		s.ask("new record in another partition", next(4))
		s.ask("and again", next(5))
		moved = next(6)
		moved.Topics = fetch(v, name, id, 1, 1).Topics
		s.ask("moved on there", moved)
		s.ask("wrong epoch", next(6))
		s.ask("right epoch after a wrong one", next(7))
		unknown := next(1)
		unknown.SessionID = 99
		s.ask("unknown session", unknown)
		forget := next(8)
		forget.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: name, TopicID: id, Partitions: []int32{5}}}
		s.ask("forgets one", forget)
		s.ask("without it", next(9))
		add := next(10)
		add.Topics = fetch(v, name, id, 2, 0).Topics
		add.Topics[0].Partitions = append(add.Topics[0].Partitions, fetchPartition(9, 0))
		s.ask("adds two", add)
		s.ask("with them", next(11))
		forget = next(12)
		forget.ForgottenTopics = []kmsg.FetchRequestForgottenTopic{{Topic: name, TopicID: id,
			Partitions: []int32{0, 1, 2, 9}}}
		s.ask("forgets all", forget)
		s.ask("after that", next(13))
		resp, _ = s.ask("opens another", full).(*kmsg.FetchResponse)
		closing := next(-1)
		s.ask("closes it", closing)
		s.ask("is closed", next(1))
		odd := fetch(v, name, id, 0, 0)
		odd.SessionEpoch, odd.SessionID = 5, 0
		s.ask("session 0, epoch 5", odd)
	}
}
