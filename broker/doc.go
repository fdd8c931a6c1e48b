// Package broker is the server: it accepts connections, reads requests in order, gives each to the handler of its
// API, and sends the answers in the order of the requests. It owns the partitions hosted here: a log, and what the
// log means.
//
// It leaves to others: bytes on the wire (protocol), files (storage), what all brokers agree on (cluster), groups
// (coordinator).
//
// Invariant: on one connection, requests take effect and are answered in the order in which they came.
package broker
