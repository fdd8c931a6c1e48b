// Package migration moves data folders between Apache Kafka and moldau, and holds what each serves against what the other
// served.
package migration
