// Package meta is what the brokers of a cluster agree on: brokers, topics, partitions, configurations, features and
// producer ids. An Image is all of it at one offset of the metadata log; a Record is one change to it; a Command is a
// wish, and the Controller turns a wish into records or refuses it.
//
// It does no I/O, takes no lock and reads no clock. It leaves to others: putting records into the log and onto disk
// (cluster/quorum), publishing images and answering callers (cluster), the tables of configuration keys
// (cluster/config).
//
// Invariant: an Image is a function of the records before its offset. Whoever applies the same records in the same
// order holds the same image, whether it was there when they were made or reads them back from a log or a snapshot.
package meta
