// Package cluster runs brokers as processes of a machine, kills, freezes, empties and cuts them off under the load of real
// clients, and judges what the clients saw. Every client writes down what it does and what it is told; the histories are
// checked for what may never be seen: a record that was acknowledged and is lost or has moved, a read that goes back.
//
// Invariant: a story ends with all faults healed and everything read from the start, so that delay is not taken for loss.
package cluster
