// Package assignor decides which member of a consumer group is to have which partitions: Kafka's server-side assignors
// uniform and range (KIP-848). It is a core: members and topics go in, an assignment comes out, the same one that Apache
// Kafka 4.4.0 comes to on the same input. It leaves to its caller who the members are and how they get there.
//
// Kafka's result depends on the order in which its hash maps are walked, so this package keeps account of that order: see
// table. What it depends on is in the input: lists whose order matters say so.
//
// Invariant: each partition of a topic that somebody is subscribed to has exactly one member, which is subscribed to it.
package assignor

import "moldau.io/moldau/protocol"

// Member is a member as an assignor sees it.
type Member struct {
	ID       string
	Instance *string
	Rack     *string
	Names    []string // of the topics that it names, sorted, also those that are not there
	Matched  []string // of the topics that its regular expression matches, sorted, also those that are not there
	Target   []Topic  // what it was to have so far, in the order in which the last Assignment had it
}

// Topic is partitions of one topic.
type Topic struct {
	ID         protocol.TopicID
	Partitions []int32
}

// Group is what an assignor decides about.
type Group struct {
	// Members in the order in which they joined. Kafka's result depends on it for members whose ids collide in two of its
	// hash tables at once; any other order that is always the same serves as well.
	Members []Member
	// Joining is set when the last of Members is not in the group yet, but is about to join it.
	Joining bool
	// Peak is the largest number of members that the group ever had at once, without the one that is joining: Kafka's
	// tables do not shrink. 0 stands for as many as there are now.
	Peak int
	// Homogeneous says that all members have the same subscription, as Kafka counts it: all have the same names, whether
	// such topics are there or not, or all have the same regular expression and no names.
	Homogeneous bool
	// Topics that are there, by name: at least those that a member is subscribed to.
	Topics map[string]TopicInfo
}

// TopicInfo is a topic that is there.
type TopicInfo struct {
	ID         protocol.TopicID
	Partitions int
}

// Assignment is what each member is to have, by member id. Members that are to have nothing may be missing. The order of
// the topics and of the partitions of one matters to the next assignment, so it is to be kept. A member that is to have
// the same partitions as before has its Target, as it was.
type Assignment map[string][]Topic
