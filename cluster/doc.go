// Package cluster joins one broker to what all brokers agree on: a Node drives the metadata log (cluster/quorum) and the
// controller (cluster/meta) and publishes an image after each committed entry.
//
// It leaves to others: what the metadata says and which changes are allowed (cluster/meta), bytes on disk
// (cluster/quorum), and answering clients (broker).
//
// Invariant: what Image returns has been committed. Its offset never falls, and a change that Propose has answered is in it.
package cluster
