// Package compress is Kafka's five codecs over bytes in memory: gzip, snappy (raw and in the Xerial framing), LZ4 frames,
// Zstandard, and none. It knows nothing of record batches.
//
// Invariant: no input makes it panic, and decompressing costs at most a constant amount of memory beyond what the caller
// asked for: output is streamed, it is cut off at the caller's limit, and no declared length is believed before it is
// checked.
package compress
