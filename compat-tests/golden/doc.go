// Package golden has Apache Kafka write data folders with everything in them that a log can have, and keeps them with
// what Kafka says of them, for storage's tests to read.
//
// Invariant: every fact beside a folder came from Kafka: its dump-log of the files, or its answers.
package golden
