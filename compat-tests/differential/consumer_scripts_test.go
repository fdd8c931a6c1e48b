//go:build compat

package differential

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var consumerScripts = []script{
	{"consumer-refused", scriptConsumerRefused},
	{"consumer-of-one", scriptConsumerOfOne},
	{"consumer-of-two", scriptConsumerOfTwo},
	{"consumer-static", scriptConsumerStatic},
	{"consumer-commits", scriptConsumerCommits},
	{"consumer-regex", scriptConsumerRegex},
	{"consumer-assignors", scriptConsumerAssignors},
	{"consumer-and-admin", scriptConsumerAdmin},
	{"consumer-configs", scriptConsumerConfigs},
	{"consumer-and-topics", scriptConsumerTopics},
}

const consumerKey = 68

// beat is a heartbeat in which nothing has changed.
func beat(v int16, group, member string, epoch int32) *kmsg.ConsumerGroupHeartbeatRequest {
	req := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	req.Version, req.Group, req.MemberID, req.MemberEpoch = v, group, member, epoch
	return req
}

// entering is the first heartbeat of a member.
func entering(v int16, group, member string, topics ...string) *kmsg.ConsumerGroupHeartbeatRequest {
	req := beat(v, group, member, 0)
	req.RebalanceTimeoutMillis, req.SubscribedTopicNames = 30_000, topics
	req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	return req
}

// having is a heartbeat that says what the member has.
func having(v int16, group, member string, epoch int32, topic [16]byte,
	partitions ...int32) *kmsg.ConsumerGroupHeartbeatRequest {
	req := beat(v, group, member, epoch)
	req.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	if len(partitions) > 0 {
		req.Topics = append(req.Topics, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: topic, Partitions: partitions})
	}
	return req
}

// known waits until the coordinators know a topic too: they hear of it after Metadata does.
func (s *session) known(topic string, partitions int) {
	probe := s.name("probe-" + topic)
	for i := range 16 { // on every partition of the groups' topic
		group := fmt.Sprint(probe, i)
		s.coordinate(group)
		req := entering(0, group, "probe", topic)
		s.until("coordinator knows "+topic, req, func(r kmsg.Response) bool {
			resp := r.(*kmsg.ConsumerGroupHeartbeatResponse)
			n := 0
			if resp.Assignment != nil {
				for _, t := range resp.Assignment.Topics {
					n += len(t.Partitions)
				}
			}
			return n == partitions
		})
		s.quiet(beat(0, group, "probe", -1))
		remove := kmsg.NewPtrDeleteGroupsRequest()
		remove.Version, remove.Groups = 2, []string{group}
		s.quiet(remove)
	}
}

// subscribable makes a topic that coordinators know.
func (s *session) subscribable(suffix string, partitions int32) (string, [16]byte) {
	name, id := s.topic(suffix, partitions)
	s.known(name, int(partitions))
	return name, id
}

// beats asks and returns the answer, whose partitions are sorted: they are a set.
func (s *session) beats(label string, req *kmsg.ConsumerGroupHeartbeatRequest) *kmsg.ConsumerGroupHeartbeatResponse {
	var answer *kmsg.ConsumerGroupHeartbeatResponse
	var told []kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic
	s.askOnly(label, req, func(r kmsg.Response) {
		answer = r.(*kmsg.ConsumerGroupHeartbeatResponse)
		if answer.Assignment != nil {
			sortTopics(answer.Assignment.Topics)
			told = slices.Clone(answer.Assignment.Topics)
			for i, t := range answer.Assignment.Topics {
				answer.Assignment.Topics[i].Partitions = s.anonymous(t.Partitions)
			}
		}
	})
	if answer == nil {
		s.fail("%s: no answer", label)
	}
	if answer.Assignment != nil {
		answer.Assignment.Topics = told
	}
	return answer
}

// anonymous is ps, or as many others where it does not matter which they are.
func (s *session) anonymous(ps []int32) []int32 {
	if !s.anyPartition {
		return ps
	}
	out := make([]int32, len(ps))
	for i := range out {
		out[i] = int32(i)
	}
	return out
}

func sortTopics(topics []kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic) {
	for _, t := range topics {
		slices.Sort(t.Partitions)
	}
	slices.SortFunc(topics, func(a, b kmsg.ConsumerGroupHeartbeatResponseAssignmentTopic) int {
		return bytes.Compare(a.TopicID[:], b.TopicID[:])
	})
}

// looks describes groups by ConsumerGroupDescribe, members and partitions sorted.
func (s *session) looks(label string, groups ...string) {
	s.each(69, func(v int16) {
		req := kmsg.NewPtrConsumerGroupDescribeRequest()
		req.Version, req.Groups, req.IncludeAuthorizedOperations = v, groups, v == 1
		s.askOnly(label, req, func(r kmsg.Response) {
			for _, g := range r.(*kmsg.ConsumerGroupDescribeResponse).Groups {
				slices.SortFunc(g.Members, func(a, b kmsg.ConsumerGroupDescribeResponseGroupMember) int {
					return strings.Compare(a.MemberID, b.MemberID)
				})
				for i, m := range g.Members {
					if shortID.MatchString(m.MemberID) {
						g.Members[i].MemberID = "<made>"
					}
					slices.Sort(m.SubscribedTopics)
					s.sortAssigned(m.Assignment.TopicPartitions)
					s.sortAssigned(m.TargetAssignment.TopicPartitions)
				}
			}
		})
	})
}

func (s *session) sortAssigned(topics []kmsg.AssignmentTopicPartition) {
	for i, t := range topics {
		slices.Sort(t.Partitions)
		topics[i].Partitions = s.anonymous(t.Partitions)
	}
	slices.SortFunc(topics, func(a, b kmsg.AssignmentTopicPartition) int { return strings.Compare(a.Topic, b.Topic) })
}

func scriptConsumerRefused(s *session) {
	topic, id := s.subscribable("t", 1)
	s.each(consumerKey, func(v int16) {
		group := s.name("g" + string(rune('a'+v)))
		s.coordinate(group)
		n := 0
		refused := func(label string, change func(*kmsg.ConsumerGroupHeartbeatRequest)) {
			n++ // what is not refused makes a group
			name := fmt.Sprint(group, n)
			s.coordinate(name)
			req := entering(v, name, fmt.Sprint("member-", n), topic)
			change(req)
			s.beats(label, req)
		}
		refused("empty group", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group = "" })
		if v >= 1 {
			refused("empty member id", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID = "" })
			refused("blank member id", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberID = "  " })
		}
		refused("empty instance", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = ptr("") })
		refused("blank instance", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.InstanceID = ptr(" ") })
		refused("empty rack", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RackID = ptr("") })
		refused("epoch -3", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -3 })
		refused("epoch -2 without an instance", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -2 })
		refused("epoch -2 with an instance", func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.MemberEpoch, r.InstanceID = -2, ptr("i")
		})
		refused("epoch -1", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = -1 })
		refused("epoch 1", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.MemberEpoch = 1 })
		refused("no rebalance timeout", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -1 })
		refused("rebalance timeout 0", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = 0 })
		refused("rebalance timeout -2", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.RebalanceTimeoutMillis = -2 })
		refused("no subscription", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = nil })
		refused("empty subscription", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.SubscribedTopicNames = []string{} })
		refused("nothing said of what it has", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Topics = nil })
		refused("has something already", func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.Topics = having(v, "", "", 0, id, 0).Topics
		})
		refused("unknown assignor", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = ptr("best") })
		refused("empty assignor", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = ptr("") })
		refused("assignor in capitals", func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.ServerAssignor = ptr("RANGE") })
		refused("unknown topic", func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.SubscribedTopicNames = []string{s.name("none")}
		})
		refused("topic twice", func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.SubscribedTopicNames = []string{topic, topic}
		})
		refused("topic with a bad name", func(r *kmsg.ConsumerGroupHeartbeatRequest) {
			r.SubscribedTopicNames = []string{"a b/c", ""}
		})
		if v >= 1 {
			for i, bad := range []string{"(", "[a", "a{2,1}", "*", `\`, "(?<n>a)", `(?=a)`, `a\1`, "a**", "(?i)A.*", `\pL+`, ""} {
				refused(fmt.Sprint("expression ", i), func(r *kmsg.ConsumerGroupHeartbeatRequest) {
					r.SubscribedTopicRegex = &bad
				})
			}
			refused("only an expression", func(r *kmsg.ConsumerGroupHeartbeatRequest) {
				r.SubscribedTopicNames, r.SubscribedTopicRegex = nil, ptr("nothing-.*")
			})
			refused("only an empty expression", func(r *kmsg.ConsumerGroupHeartbeatRequest) {
				r.SubscribedTopicNames, r.SubscribedTopicRegex = nil, ptr("")
			})
		}
		for _, strange := range []string{"a b", "..", "ä/ö", strings.Repeat("g", 300)} {
			refused("group "+strange[:2], func(r *kmsg.ConsumerGroupHeartbeatRequest) { r.Group += strange })
		}
	})
}

func scriptConsumerOfOne(s *session) {
	topic, id := s.subscribable("t", 3)
	other, otherID := s.subscribable("u", 2)
	s.each(consumerKey, func(v int16) {
		group := s.name("g" + string(rune('a'+v)))
		s.coordinate(group)
		m := "member"
		s.beats("heartbeat of an unknown group", beat(v, group, m, 1))
		s.beats("leave of an unknown group", beat(v, group, m, -1))
		s.looks("before", group)
		if v == 0 {
			s.beats("joins without a member id", entering(v, group+"-made", "", topic))
		}
		e := s.beats("joins", entering(v, group, m, topic)).MemberEpoch
		s.looks("joined", group)
		s.beats("heartbeat of another member", beat(v, group, "nobody", e))
		s.beats("leave of another member", beat(v, group, "nobody", -1))
		s.beats("heartbeat", beat(v, group, m, e))
		s.beats("says what it has", having(v, group, m, e, id, 0, 1, 2))
		s.beats("says that it has less", having(v, group, m, e, id, 0))
		s.beats("says that it has nothing", having(v, group, m, e, id))
		s.beats("says that it has what is not there", having(v, group, m, e, [16]byte{9}, 7))
		full := having(v, group, m, e, id, 0, 1, 2)
		full.RebalanceTimeoutMillis, full.SubscribedTopicNames = 30_000, []string{topic}
		s.beats("says everything", full)
		s.beats("epoch too high", beat(v, group, m, e+1))
		s.beats("epoch too low", beat(v, group, m, e-1))
		s.beats("epoch too low, with what it has", having(v, group, m, e-1, id, 0, 1, 2))
		s.beats("heartbeat again", beat(v, group, m, e))
		s.beats("joins again", entering(v, group, m, topic))
		s.looks("joined again", group)
		changed := beat(v, group, m, e)
		changed.SubscribedTopicNames = []string{other, topic}
		e = s.beats("subscribes to more", changed).MemberEpoch
		s.looks("subscribed to more", group)
		s.beats("epoch of before", beat(v, group, m, e-1))
		changed = beat(v, group, m, e)
		changed.SubscribedTopicNames = []string{other}
		r := s.beats("subscribes to less", changed)
		s.looks("subscribed to less", group)
		s.beats("heartbeat while it revokes", beat(v, group, m, r.MemberEpoch))
		r = s.beats("has revoked", having(v, group, m, r.MemberEpoch, otherID, 0, 1))
		s.beats("heartbeat after", beat(v, group, m, r.MemberEpoch))
		s.looks("revoked", group)
		changed = beat(v, group, m, r.MemberEpoch)
		changed.SubscribedTopicNames = []string{}
		r = s.beats("subscribes to nothing", changed)
		r = s.beats("has nothing", having(v, group, m, r.MemberEpoch, id))
		s.looks("nothing", group)
		changed = beat(v, group, m, r.MemberEpoch)
		changed.ServerAssignor = ptr("range")
		r = s.beats("prefers range", changed)
		changed = beat(v, group, m, r.MemberEpoch)
		changed.RackID, changed.RebalanceTimeoutMillis = ptr("rack"), 10_000
		r = s.beats("says where it is", changed)
		s.looks("placed", group)
		s.beats("leaves", beat(v, group, m, -1))
		s.looks("left", group)
		s.beats("leaves again", beat(v, group, m, -1))
		s.beats("heartbeat after leaving", beat(v, group, m, r.MemberEpoch))
		s.beats("comes back", entering(v, group, m, topic))
		s.looks("back", group)
	})
}

func scriptConsumerOfTwo(s *session) {
	topic, id := s.subscribable("t", 4)
	s.each(consumerKey, func(v int16) {
		group := s.name("g" + string(rune('a'+v)))
		s.coordinate(group)
		a, b := "member-a", "member-b"
		ea := s.beats("a joins", entering(v, group, a, topic)).MemberEpoch
		s.beats("a has all", having(v, group, a, ea, id, 0, 1, 2, 3))
		eb := s.beats("b joins", entering(v, group, b, topic)).MemberEpoch
		s.looks("b waits", group)
		s.beats("b is alive", beat(v, group, b, eb))
		ra := s.beats("a hears of it", beat(v, group, a, ea))
		s.looks("a revokes", group)
		s.beats("a is still busy", beat(v, group, a, ra.MemberEpoch))
		s.beats("a still has all", having(v, group, a, ra.MemberEpoch, id, 0, 1, 2, 3))
		s.beats("b still waits", beat(v, group, b, eb))
		s.looks("both wait", group)
		if ra.Assignment == nil || len(ra.Assignment.Topics) == 0 {
			s.fail("a was not told what to keep")
		}
		keep := ra.Assignment.Topics[0].Partitions
		ra = s.beats("a has revoked", having(v, group, a, ra.MemberEpoch, id, keep...))
		s.looks("a is done", group)
		rb := s.beats("b gets its part", beat(v, group, b, eb))
		s.looks("both have theirs", group)
		s.beats("a goes on", beat(v, group, a, ra.MemberEpoch))
		s.beats("b goes on", beat(v, group, b, rb.MemberEpoch))
		ec := s.beats("c joins", entering(v, group, "member-c", topic)).MemberEpoch
		s.beats("c leaves before it has anything", beat(v, group, "member-c", -1))
		s.beats("c is gone", beat(v, group, "member-c", ec))
		ra = s.beats("a after c", beat(v, group, a, ra.MemberEpoch))
		rb = s.beats("b after c", beat(v, group, b, rb.MemberEpoch))
		s.looks("after c", group)
		s.beats("a leaves", beat(v, group, a, -1))
		rb = s.beats("b takes over", beat(v, group, b, rb.MemberEpoch))
		s.looks("only b", group)
		s.beats("b leaves", beat(v, group, b, -1))
		s.looks("nobody", group)
	})
}

func scriptConsumerStatic(s *session) {
	topic, id := s.subscribable("t", 2)
	s.each(consumerKey, func(v int16) {
		group := s.name("g" + string(rune('a'+v)))
		s.coordinate(group)
		static := func(req *kmsg.ConsumerGroupHeartbeatRequest) *kmsg.ConsumerGroupHeartbeatRequest {
			req.InstanceID = ptr("instance")
			return req
		}
		e := s.beats("joins", static(entering(v, group, "one", topic))).MemberEpoch
		s.beats("has all", static(having(v, group, "one", e, id, 0, 1)))
		s.beats("heartbeat without the instance", beat(v, group, "one", e))
		s.beats("another takes the instance", static(entering(v, group, "two", topic)))
		wrong := beat(v, group, "one", e)
		wrong.InstanceID = ptr("other")
		s.beats("heartbeat with another instance", wrong)
		s.beats("heartbeat of another with the instance", static(beat(v, group, "two", e)))
		s.beats("leave of another with the instance", static(beat(v, group, "two", -1)))
		s.beats("goes for a while", static(beat(v, group, "one", -2)))
		s.looks("gone for a while", group)
		s.beats("heartbeat while gone", static(beat(v, group, "one", e)))
		r := s.beats("comes back as another", static(entering(v, group, "two", topic)))
		s.looks("back", group)
		s.beats("heartbeat of who was fenced", static(beat(v, group, "one", e)))
		s.beats("heartbeat of who was fenced, without the instance", beat(v, group, "one", e))
		s.beats("leave of who was fenced", static(beat(v, group, "one", -1)))
		s.beats("goes on", static(beat(v, group, "two", r.MemberEpoch)))
		s.beats("joins again as itself", static(entering(v, group, "two", topic)))
		s.beats("goes for a while again", static(beat(v, group, "two", -2)))
		s.beats("goes twice", static(beat(v, group, "two", -2)))
		changed := static(entering(v, group, "three", topic))
		changed.SubscribedTopicNames = []string{topic, s.name("none")}
		r = s.beats("comes back with another subscription", changed)
		s.looks("changed", group)
		s.beats("is alive", static(beat(v, group, "three", r.MemberEpoch)))
		s.beats("leaves for good", static(beat(v, group, "three", -1)))
		s.looks("left", group)
		s.beats("leaves again", static(beat(v, group, "three", -1)))
	})
}

func scriptConsumerCommits(s *session) {
	topic, id := s.subscribable("t", 2)
	v := int16(1)
	s.each(8, func(cv int16) {
		group := s.name("g" + string(rune('a'+cv)))
		s.coordinate(group)
		e := s.beats("joins", entering(v, group, "one", topic)).MemberEpoch
		s.beats("has all", having(v, group, "one", e, id, 0, 1))
		send := func(label, member string, epoch int32, partition int32) {
			req := commit(cv, group, member, epoch, topic, partition, 7)
			req.Topics[0].TopicID = id
			s.ask(label, req)
		}
		send("the member commits", "one", e, 0)
		send("the member commits for a partition that is not there", "one", e, 5)
		send("an unknown member commits", "nobody", e, 0)
		send("with a newer epoch", "one", e+1, 0)
		send("with an older epoch", "one", e-1, 0)
		send("with epoch 0", "one", 0, 0)
		send("with epoch -1", "one", -1, 0)
		send("nobody commits", "", -1, 0)
		more := beat(v, group, "one", e)
		more.SubscribedTopicNames = []string{topic, s.name("none")}
		e2 := s.beats("a new epoch", more).MemberEpoch
		send("with the epoch of before", "one", e, 1)
		send("with the new epoch", "one", e2, 1)
		s.each(9, func(fv int16) {
			fetch := func(label string, member *string, epoch int32) {
				req := fetchOffsets(fv, group, topic, 0, 1)
				req.Groups[0].Topics[0].TopicID = id
				if fv >= 9 {
					req.Groups[0].MemberID, req.Groups[0].MemberEpoch = member, epoch
				}
				s.ask(label, req)
			}
			fetch("fetches without saying who", nil, -1)
			if fv >= 9 {
				fetch("fetches", ptr("one"), e2)
				fetch("fetches with an older epoch", ptr("one"), e2-1)
				fetch("fetches with a newer epoch", ptr("one"), e2+1)
				fetch("a stranger fetches", ptr("nobody"), e2)
				fetch("an empty member fetches", ptr(""), -1)
			}
		})
		remove := kmsg.NewPtrOffsetDeleteRequest()
		remove.Group = group
		remove.Topics = []kmsg.OffsetDeleteRequestTopic{{Topic: topic,
			Partitions: []kmsg.OffsetDeleteRequestTopicPartition{{Partition: 0}}}}
		s.ask("offsets are deleted under the member", remove)
		s.beats("leaves", beat(v, group, "one", -1))
		send("commits after leaving", "one", e2, 0)
		send("nobody commits to the empty group", "", -1, 0)
		s.ask("offsets are deleted", remove)
	})
}

func scriptConsumerRegex(s *session) {
	_, _ = s.subscribable("ra", 1)
	_, _ = s.subscribable("rb", 1)
	v := int16(1)
	group := s.name("g")
	s.coordinate(group)
	req := entering(v, group, "one")
	req.SubscribedTopicNames, req.SubscribedTopicRegex = nil, ptr(s.name("r")+"[a-m]*")
	// When the expression is resolved is the broker's affair; where it leads is not.
	one := s.settled(req, 2)
	s.looksAt("resolved", group)
	bad := beat(v, group, "one", one)
	bad.SubscribedTopicRegex = ptr("(")
	s.ask("a bad one", bad)
	second := beat(v, group, "one", one)
	second.SubscribedTopicRegex = ptr("")
	second.SubscribedTopicNames = []string{s.name("ra")}
	s.settled(second, 1)
	s.looksAt("by name", group)
}

// settled sends heartbeats, as a client that does what it is told, until the member has so many partitions.
func (s *session) settled(first *kmsg.ConsumerGroupHeartbeatRequest, partitions int) int32 {
	owned := []kmsg.ConsumerGroupHeartbeatRequestTopic{}
	held := -1
	req := *first
	s.until(fmt.Sprintf("%s has %d partitions", req.MemberID, partitions), &req, func(r kmsg.Response) bool {
		resp := r.(*kmsg.ConsumerGroupHeartbeatResponse)
		if resp.ErrorCode != 0 {
			s.fail("heartbeat of %s: error %d", req.MemberID, resp.ErrorCode)
		}
		still := resp.Assignment == nil && resp.MemberEpoch == req.MemberEpoch
		req = *beat(1, req.Group, req.MemberID, resp.MemberEpoch)
		if resp.Assignment != nil {
			owned, held = owned[:0], 0
			for _, t := range resp.Assignment.Topics {
				owned = append(owned, kmsg.ConsumerGroupHeartbeatRequestTopic{TopicID: t.TopicID, Partitions: t.Partitions})
				held += len(t.Partitions)
			}
		}
		req.Topics = owned
		return held == partitions && still
	})
	return req.MemberEpoch
}

// looksAt is looks without epochs: how often the group was looked at anew is the broker's affair.
func (s *session) looksAt(label string, groups ...string) {
	req := kmsg.NewPtrConsumerGroupDescribeRequest()
	req.Version, req.Groups = 1, groups
	s.askOnly(label, req, func(r kmsg.Response) {
		for i := range r.(*kmsg.ConsumerGroupDescribeResponse).Groups {
			g := &r.(*kmsg.ConsumerGroupDescribeResponse).Groups[i]
			g.Epoch, g.AssignmentEpoch = 0, 0
			slices.SortFunc(g.Members, func(a, b kmsg.ConsumerGroupDescribeResponseGroupMember) int {
				return strings.Compare(a.MemberID, b.MemberID)
			})
			for j := range g.Members {
				g.Members[j].MemberEpoch = 0
				s.sortAssigned(g.Members[j].Assignment.TopicPartitions)
				s.sortAssigned(g.Members[j].TargetAssignment.TopicPartitions)
			}
		}
	})
}

// scriptConsumerAssignors compares who gets which partitions of one topic.
func scriptConsumerAssignors(s *session) {
	topic, id := s.subscribable("t", 13)
	_ = id
	for _, assignor := range []string{"uniform", "range"} {
		group := s.name(assignor)
		s.coordinate(group)
		epochs, had := map[string]int32{}, map[string][]int32{}
		settle := func() {
			for range 4 {
				for _, m := range slices.Sorted(mapKeys(epochs)) {
					r := s.quiet(having(1, group, m, epochs[m], id, had[m]...)).(*kmsg.ConsumerGroupHeartbeatResponse)
					if r.ErrorCode != 0 {
						s.fail("%s: error %d", m, r.ErrorCode)
					}
					epochs[m] = r.MemberEpoch
					if r.Assignment != nil {
						had[m] = nil
						for _, t := range r.Assignment.Topics {
							had[m] = append(had[m], t.Partitions...)
						}
					}
				}
			}
		}
		for i := range 6 {
			m := fmt.Sprint("member-", i)
			req := entering(1, group, m, topic)
			req.ServerAssignor = &assignor
			epochs[m] = s.quiet(req).(*kmsg.ConsumerGroupHeartbeatResponse).MemberEpoch
			settle()
			s.looks(fmt.Sprint(i+1, " members"), group)
		}
		for _, m := range []string{"member-2", "member-0", "member-5"} {
			s.quiet(beat(1, group, m, -1))
			delete(epochs, m)
			settle()
			s.looks("without "+m, group)
		}
	}
}

func mapKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func scriptConsumerAdmin(s *session) {
	topic, id := s.subscribable("t", 1)
	group, classic := s.name("modern"), s.name("old")
	s.coordinate(group)
	s.coordinate(classic)
	e := s.beats("joins", entering(1, group, "one", topic)).MemberEpoch
	s.member(joining(5, classic, ""))
	list := func(label string, change func(*kmsg.ListGroupsRequest)) {
		s.each(16, func(v int16) {
			req := kmsg.NewPtrListGroupsRequest()
			req.Version = v
			change(req)
			s.askOnly(label, req, func(r kmsg.Response) {
				resp := r.(*kmsg.ListGroupsResponse)
				resp.Groups = slices.DeleteFunc(resp.Groups, func(g kmsg.ListGroupsResponseGroup) bool {
					return !strings.HasPrefix(g.Group, s.prefix)
				})
				if len(resp.Groups) == 0 {
					resp.Groups = nil // whether other scripts had groups just then is not this one's
				}
				slices.SortFunc(resp.Groups, func(a, b kmsg.ListGroupsResponseGroup) int {
					return strings.Compare(a.Group, b.Group)
				})
			})
		})
	}
	all := func(label string) {
		list(label, func(*kmsg.ListGroupsRequest) {})
		for _, types := range [][]string{{"consumer"}, {"Classic"}, {"CONSUMER", "classic"}, {"share"}, {"odd"}, {" consumer "}} {
			list(label+" of types "+strings.Join(types, ","), func(r *kmsg.ListGroupsRequest) { r.TypesFilter = types })
		}
		for _, states := range [][]string{{"Stable"}, {"assigning"}, {"Reconciling"}, {"empty"}, {"dead"}, {"odd"}} {
			list(label+" in "+states[0], func(r *kmsg.ListGroupsRequest) { r.StatesFilter = states })
		}
	}
	all("both")
	for v := int16(0); v <= 6; v++ {
		s.describe("of the old kind", v, group, s.name("none"))
	}
	s.looks("several", group, classic, s.name("none"), "", group)
	s.looks("none at all")
	s.ask("classic heartbeat", heartbeat(4, group, "one", e))
	s.ask("classic sync", syncing(5, group, "one", e))
	s.ask("classic leave", leaving(5, group, "nobody"))
	s.ask("classic leave of the member", leaving(5, group, "one"))
	s.beats("and after", beat(1, group, "one", e))
	s.beats("joins again", entering(1, group, "one", topic))
	s.ask("join of another type", func() kmsg.Request {
		req := joining(5, group, "")
		req.ProtocolType = "connect"
		return req
	}())
	s.ask("join without subscription", joining(5, group, "")) // its metadata cannot be read
	s.beats("of a classic group with members", entering(1, classic, "two", topic))
	s.beats("heartbeat to a classic group", beat(1, classic, "two", 3))
	s.beats("leave of a classic group", beat(1, classic, "two", -1))
	remove := kmsg.NewPtrDeleteGroupsRequest()
	remove.Version, remove.Groups = 2, []string{group}
	s.ask("delete with a member", remove)
	s.beats("leaves", beat(1, group, "one", -1))
	s.quiet(func() kmsg.Request {
		req := commit(9, group, "", -1, topic, 0, 3)
		req.Topics[0].TopicID = id
		return req
	}())
	s.looks("empty", group)
	all("one empty")
	s.ask("delete", remove)
	s.ask("delete again", remove)
	s.ask("offsets after", fetchOffsets(8, group, topic, 0))
	s.looks("deleted", group)
	// An empty group changes its kind with its first member.
	turn := s.name("turn")
	s.coordinate(turn)
	s.quiet(commit(8, turn, "", -1, topic, 0, 5))
	list("with a group of offsets only", func(*kmsg.ListGroupsRequest) {})
	s.beats("joins a group of offsets", entering(1, turn, "one", topic))
	s.looks("turned", turn)
	s.ask("offsets are still there", fetchOffsets(8, turn, topic, 0))
	s.beats("leaves it", beat(1, turn, "one", -1))
	old := s.member(joining(5, turn, ""))
	s.ask("an old member syncs", syncing(3, turn, old.MemberID, old.Generation, assign(old.MemberID, "all")))
	s.describe("turned back", 6, turn)
	s.looks("turned back", turn)
	s.ask("offsets are still there after", fetchOffsets(8, turn, topic, 0))
	s.quiet(leaving(5, turn, old.MemberID))
	s.beats("joins again", entering(1, turn, "one", topic))
	s.looks("turned again", turn)
}

func scriptConsumerConfigs(s *session) {
	topic, _ := s.subscribable("t", 1)
	group := s.name("g")
	s.coordinate(group)
	e := s.beats("joins", entering(1, group, "one", topic)).MemberEpoch
	set := func(key, value string) {
		req := kmsg.NewPtrIncrementalAlterConfigsRequest()
		req.Version = 1
		r := kmsg.NewIncrementalAlterConfigsRequestResource()
		r.ResourceType, r.ResourceName = kmsg.ConfigResourceType(32), group
		c := kmsg.NewIncrementalAlterConfigsRequestResourceConfig()
		c.Name, c.Value = key, &value
		r.Configs = append(r.Configs, c)
		req.Resources = append(req.Resources, r)
		s.ask("sets "+key+" to "+value, req)
	}
	set("consumer.heartbeat.interval.ms", "7000")
	s.until("interval", beat(1, group, "one", e), func(r kmsg.Response) bool {
		return r.(*kmsg.ConsumerGroupHeartbeatResponse).HeartbeatIntervalMillis == 7000
	})
	s.beats("is told", beat(1, group, "one", e))
	set("consumer.heartbeat.interval.ms", "1")
	set("consumer.heartbeat.interval.ms", "16000")
	set("consumer.session.timeout.ms", "44999")
	set("consumer.session.timeout.ms", "60001")
	set("consumer.session.timeout.ms", "50000")
	set("consumer.assignment.interval.ms", "15001")
	set("consumer.assignment.interval.ms", "100")
	set("consumer.unknown", "1")
	set("share.session.timeout.ms", "50000")
	s.beats("goes on", beat(1, group, "one", e))
}

func scriptConsumerTopics(s *session) {
	later := s.name("later")
	topic, id := s.subscribable("t", 1)
	group := s.name("g")
	s.coordinate(group)
	e := s.beats("joins", entering(1, group, "one", topic, later)).MemberEpoch
	s.beats("has it", having(1, group, "one", e, id, 0))
	_, _ = s.topic("later", 2)
	e = s.settled(beat(1, group, "one", e), 3)
	s.looks("the other topic is there", group)
	grow := kmsg.NewPtrCreatePartitionsRequest()
	grow.Version = 3
	grow.Topics = []kmsg.CreatePartitionsRequestTopic{{Topic: topic, Count: 3}}
	grow.TimeoutMillis = 30_000
	s.quiet(grow)
	e = s.settled(beat(1, group, "one", e), 5)
	s.looks("more partitions", group)
	drop := kmsg.NewPtrDeleteTopicsRequest()
	drop.Version, drop.TimeoutMillis = 5, 30_000
	drop.TopicNames = []string{later}
	s.quiet(drop)
	e = s.settled(beat(1, group, "one", e), 3)
	s.looks("a topic is gone", group)
	s.beats("goes on", beat(1, group, "one", e))
}
