// Package group decides what happens to the classic consumer groups of one partition of __consumer_offsets: who is a
// member, which generation runs, who leads it, which assignment each member holds, and which offsets are committed. It is
// a core: requests and the time go in, records and answers come out. It leaves to its shell (package coordinator) the
// log, the bytes of records, clocks and connections; subscriptions and assignments are opaque to it, but for the topic
// names of the "consumer" protocol, which it reads where it can to protect offsets of subscribed topics.
//
// Invariants: the generation of a group never falls while the machine lives; in one generation a member receives
// one assignment; committed offsets and saved groups change only in Apply, so that replaying the log rebuilds them.
package group
