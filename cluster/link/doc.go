// Package link carries everything that brokers of a cluster say to one another besides Kafka's own requests, over one port:
// calls and one-way messages over one TCP connection for each direction between two brokers, gossip over streams of their
// own and over UDP. It owns the handshake, the key, the bounds of what a peer may send, and networks that can be cut.
//
// It leaves to others: what calls and messages mean (cluster), who is a member (cluster/gossip), who is alive (leases).
//
// Invariant: a connection is used only after both ends have shown that they have the same key, or that neither has one, and
// that they belong to the same cluster. What a peer sends makes this process allocate no more than that plus a constant.
package link
