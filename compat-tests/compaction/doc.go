// Package compaction holds tests of compaction from outside: what a consumer finds in a compacted topic, and the
// folders that Apache Kafka's own cleaner made, for package storage to be compared with.
package compaction
