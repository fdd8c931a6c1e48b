// Package gossip finds the other brokers of a cluster: hashicorp/memberlist over the cluster's one port. It owns what a broker
// says of itself, the memory of those that were there, and how members find each other again after a partition.
//
// It leaves to others: who is alive, who leads, who may be a member. What it says are hints, which may be old or wrong; no
// decision is taken and nothing is written to the metadata on its word.
//
// Invariant: members of another cluster never appear. A broker that is alone keeps no timer.
package gossip
