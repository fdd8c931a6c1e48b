// Package replica decides, for one replica of one partition, which records are committed, who belongs to the in-sync
// set, and what a follower does with what its leader answers. It does no I/O and starts no goroutine: the broker tells it
// what happened and does what its effects ask. Its rules are those of Kafka's Partition, Replica and fetcher threads.
//
// It leaves to others: the log itself (storage), who leads and who is in sync (cluster/meta), and every message.
//
// Invariant: within one leader epoch the high watermark never falls, and it rises only to what every member of the
// maximal in-sync set has: the committed one, and whoever a proposal that is under way would add.
package replica

import "moldau.io/moldau/protocol"

// Assignment is what the metadata says of one partition, as one of its replicas sees it.
type Assignment struct {
	Local          protocol.BrokerID   // this broker
	Leader         protocol.BrokerID   // -1: nobody
	Epoch          protocol.Epoch      // of the leader
	PartitionEpoch int32               // rises with every change to the partition
	Replicas       []protocol.BrokerID // in the order of preference
	ISR            []protocol.BrokerID // in sync with the leader, itself included
	ELR            []protocol.BrokerID // not in sync, yet with every committed record (KIP-966)
	Recovering     bool                // the leader was elected uncleanly and has not said yet that it has recovered

	Candidates []Candidate // the brokers that hold a replica, in any order; one that is not there is not alive
	MinInSync  int         // min.insync.replicas: with fewer in sync the high watermark stands still. 0 counts as 1
}

// Candidate is a broker that holds a replica.
type Candidate struct {
	ID    protocol.BrokerID
	Epoch int64 // of its registration
	Alive bool  // neither fenced nor in a controlled shutdown
}

// candidate is what is known of a broker, the zero Candidate for one that is not there.
func (a *Assignment) candidate(id protocol.BrokerID) Candidate {
	for _, c := range a.Candidates {
		if c.ID == id {
			return c
		}
	}
	return Candidate{ID: id, Epoch: unknownBrokerEpoch}
}

// unknown stands for an offset, and unknownBrokerEpoch for a registration, that has not been heard of.
const (
	unknown            = protocol.Offset(-1)
	unknownBrokerEpoch = int64(-1)
)
