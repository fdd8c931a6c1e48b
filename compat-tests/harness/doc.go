// Package harness starts what the compatibility tests need: the broker under test (moldau, or Apache Kafka to prove the
// tests themselves), Kafka's command line tools, and the client programs. It owns processes, ports and folders; what is
// expected of a broker is the tests' business.
//
// Invariant: a test leaves no process behind, and every process of a test listens on loopback only.
package harness
