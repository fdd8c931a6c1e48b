// Package protocol is the wire: bytes to values and back. It knows request and response headers, the table of the
// APIs that this broker answers, and Kafka's error codes. It opens no sockets and no files.
//
// Invariant: no input makes it panic, and decoding a body costs memory and time in proportion to the bytes received.
package protocol
