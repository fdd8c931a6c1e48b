// Package groupmath has Apache Kafka's own classes work out, for random input, what the coordinator of consumer groups
// works out without talking to anybody, and has the tests of the coordinator compare. It starts no broker.
//
// Invariant: every expected value came from Kafka's jars.
package groupmath
