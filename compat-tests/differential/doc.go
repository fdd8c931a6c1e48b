// Package differential asks Apache Kafka and moldau the same questions, byte for byte, at every version, good ones and
// hostile ones, and compares the answers field by field.
//
// It owns the questions (the script files) and what may differ (masks.go: ids, clocks, addresses; known.go: intended
// differences, each with its reason). It keeps no expectations of its own: what Kafka answers is right.
//
// Invariant: Kafka compared with a second Kafka shows no difference (MOLDAU_COMPAT_BROKER=kafka), so that a difference
// always says something about moldau.
package differential
