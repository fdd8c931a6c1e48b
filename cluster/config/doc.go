// Package config is Kafka's configuration as a value: every key of a broker, a topic and a group with its type, default,
// allowed values and documentation, and the rules by which the value in force is found among what was set where.
//
// It leaves to others: where dynamic values are kept (cluster/meta holds them, any Source will do), who may change them
// and how an answer is put on the wire (broker). It opens no file and reads no environment: both come in as values.
//
// Invariant: a value that Check accepts never makes a typed getter fail.
package config
