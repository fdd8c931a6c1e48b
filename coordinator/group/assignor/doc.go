// Package assignor decides which member of a consumer group is to have which partitions: Kafka's server-side assignors
// uniform and range (KIP-848). It is a core: members and topics go in, an assignment comes out, the same one that Apache
// Kafka 4.4.0 comes to on the same input. It leaves to its caller who the members are and how they get there.
//
// Invariant: each partition of a topic that somebody is subscribed to has exactly one member, which is subscribed to it.
package assignor

import "moldau.io/moldau/protocol"

// Member is a member as an assignor sees it.
type Member struct {
	ID       string
	Instance *string
	Rack     *string
	Topics   []protocol.TopicID           // subscribed to, and there
	Target   map[protocol.TopicID][]int32 // what it was to have so far, ascending
}

// Group is what an assignor decides about.
type Group struct {
	Members []Member                 // sorted by id
	Topics  map[protocol.TopicID]int // the number of partitions of each topic that any member is subscribed to
}

// Assignment is what each member is to have, by member id: partitions, ascending, by topic. Members that are to have
// nothing may be missing.
type Assignment map[string]map[protocol.TopicID][]int32
