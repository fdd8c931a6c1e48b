// Package groups lets members of real clients join, leave, pause and come back, and judges the groups by what the
// members saw. Every client program (java, python, franz-go) runs many members by commands on its stdin and writes a
// history to its stdout: one JSON object an event, with the machine's monotonic clock, so that the histories of several
// processes are one.
//
// It owns the histories (history.go) and the stories (a test file each); brokers and processes are harness's. Nothing
// here asserts an absolute time: a story waits for what its histories show, and a stop is measured against the quiet
// part of the same run.
//
// Invariant: every story passes against Apache Kafka too (MOLDAU_COMPAT_BROKER=kafka).
package groups
