// Package group decides what happens to the groups of one partition of __consumer_offsets, those of the classic protocol and
// those of the consumer protocol (KIP-848): who is a member, which generation or epoch runs, who is to have which partitions
// and has them, and which offsets are committed. It is a core: requests and the time go in, records, answers and events come
// out. It leaves to its shell (package coordinator) the log, the bytes of records, clocks and connections, and to package
// assignor how partitions are shared out on the broker's side. Of the subscriptions and assignments of classic members it
// reads only those of protocol type "consumer".
//
// Invariants: the generation or epoch of a group never falls while the machine lives; no two members of a generation are
// told that they have one partition; hard state (saved groups, the records of consumer groups, committed offsets) changes
// only in Apply, so that replaying the log rebuilds it.
//
// Where things are:
//
//	machine, request, record, event   what goes in and comes out, for both protocols
//	apply, offsets, pending           hard state: classic groups, committed offsets, those of open transactions
//	group, join, sync, heartbeat,     the classic protocol
//	leave, rebalance, subscription
//	consumer_*                        the consumer protocol: a heartbeat's way is consumer_heartbeat, _join, _subscription,
//	                                  _target, _reconcile; its records come back in consumer_apply
//	consumer_classic, convert         members of the classic protocol in consumer groups, and live groups that change
//	regex*, automaton, metadata_hash  which topics an expression means, and whether they changed
//	commit, fetch, committed          offsets
//	describe, delete, expire          what tools ask for, and what time does
package group
