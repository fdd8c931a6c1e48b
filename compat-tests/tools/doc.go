// Package tools runs Apache Kafka's own command line tools against a broker and reads what they print. They are what
// operators type, and each is a client with habits of its own.
package tools
