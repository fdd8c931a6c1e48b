package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"

	"moldau.io/moldau/protocol"
)

// A journal is the files 000, 001, ... in one folder. They are written full of zeros when they are made, and then
// overwritten and used again, so that a sync of them has no size and no block to write down besides the bytes.
//
// A file, big endian:
//
//	0                  4096
//	+------------------+---------------+---------------+-----+
//	| header           | piece         | piece         | ... |   every piece begins at a multiple of 4096
//	+------------------+---------------+---------------+-----+
//
// The header is written once, before the file gets its name:
//
//	0          8         12        16         24            25
//	+----------+---------+---------+----------+-------------+---------+-------------+---------+
//	| magic    | version | CRC-32C | journal  | length: u8  | cluster | length: u8  | folder  |
//	+----------+---------+---------+----------+-------------+---------+-------------+---------+
//
// journal is a number that a journal gets when it begins; cluster and folder are the cluster.id and the directory.id of
// meta.properties. The CRC is that of everything behind it, to byte 4096.
//
// A piece is what was written in one go and then synced: entries, each at a multiple of 8. An entry:
//
//	0       4         8         16         24        32     33       34      36          40         56     64
//	+-------+---------+---------+----------+---------+------+--------+-------+-----------+----------+------+-----+
//	| magic | CRC-32C | journal | sequence | durable | kind | length | flags | partition | topic id | from | end |
//	+-------+---------+---------+----------+---------+------+--------+-------+-----------+----------+------+-----+
//	72       76         80
//	+--------+----------+-------+---------+-------+
//	| length | reserved | topic | batches | zeros |
//	+--------+----------+-------+---------+-------+
//
// The CRC is that of everything behind it to the last byte of the batches. The sequence rises from entry to entry and is
// never used twice; durable is the highest sequence that was synced before the entry's piece was written. from and end are
// the log's end before and after the batches. The first length is the topic's, the second that of all batches together.
//
// Where the entry that should follow does not check out, or has a lower sequence (it is of the file's former use), there is
// nothing more: the tail was torn. Unless an entry further on says that what is missing had been durable: that is damage.
const (
	fileMagic    = "moldauJN"
	fileVersion  = 1
	headerBytes  = 4096
	pieceAlign   = 4096
	entryMagic   = 0x6d4a6e31
	entryBytes   = 80
	entryAlign   = 8
	idBytesMax   = 255
	topicBytesMx = 255
)

// Kinds of entries.
const (
	kindBatches = 1 // batches that a log was given
	kindVoid    = 2 // earlier entries of the log count no more: it was truncated, deleted or has left the journal
	kindSkip    = 3 // batches that did not come to count: the log they follow on could not be synced
)

// flagLast says that an entry is the last of its piece.
const flagLast = 1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Name is what a log is known by: the same partition of another topic of that name has another id.
type Name struct {
	ID        protocol.TopicID
	Partition protocol.TopicPartition
}

func alignUp(n, to int64) int64 { return (n + to - 1) / to * to }

// header is a file's.
type header struct {
	journal         uint64
	cluster, folder string
}

func (h header) encode() []byte {
	b := make([]byte, headerBytes)
	copy(b, fileMagic)
	binary.BigEndian.PutUint32(b[8:], fileVersion)
	binary.BigEndian.PutUint64(b[16:], h.journal)
	at := 24
	for _, s := range []string{h.cluster, h.folder} {
		s = s[:min(len(s), idBytesMax)]
		b[at] = byte(len(s))
		at += 1 + copy(b[at+1:], s)
	}
	binary.BigEndian.PutUint32(b[12:], crc32.Checksum(b[16:], castagnoli))
	return b
}

func parseHeader(b []byte) (h header, err error) {
	switch {
	case len(b) < headerBytes:
		return h, fmt.Errorf("%d bytes are too few for a header", len(b))
	case string(b[:8]) != fileMagic:
		return h, errors.New("it does not begin as a journal does")
	case binary.BigEndian.Uint32(b[8:]) != fileVersion:
		return h, fmt.Errorf("version %d, only %d is known", binary.BigEndian.Uint32(b[8:]), fileVersion)
	case binary.BigEndian.Uint32(b[12:]) != crc32.Checksum(b[16:headerBytes], castagnoli):
		return h, errors.New("the checksum of its header is wrong")
	}
	h.journal = binary.BigEndian.Uint64(b[16:])
	at := 24
	for _, s := range []*string{&h.cluster, &h.folder} {
		n := int(b[at])
		*s = string(b[at+1 : at+1+n])
		at += 1 + n
	}
	return h, nil
}

// frame appends an entry without its sequence, which seal adds.
func frame(buf []byte, journal uint64, kind byte, n Name, from, end protocol.Offset, size int) []byte {
	var h [entryBytes]byte
	topic := n.Partition.Topic[:min(len(n.Partition.Topic), topicBytesMx)]
	binary.BigEndian.PutUint32(h[0:], entryMagic)
	binary.BigEndian.PutUint64(h[8:], journal)
	h[32], h[33] = kind, byte(len(topic))
	binary.BigEndian.PutUint32(h[36:], uint32(n.Partition.Partition))
	copy(h[40:], n.ID[:])
	binary.BigEndian.PutUint64(h[56:], uint64(from))
	binary.BigEndian.PutUint64(h[64:], uint64(end))
	binary.BigEndian.PutUint32(h[72:], uint32(size))
	buf = append(buf, h[:]...)
	return append(buf, topic...)
}

// pad fills an entry up to where the next one may begin.
func pad(buf []byte) []byte {
	var zeros [entryAlign]byte
	return append(buf, zeros[:alignUp(int64(len(buf)), entryAlign)-int64(len(buf))]...)
}

// seal completes an entry.
func seal(e []byte, sequence, durable uint64, flags uint16) {
	binary.BigEndian.PutUint64(e[16:], sequence)
	binary.BigEndian.PutUint64(e[24:], durable)
	binary.BigEndian.PutUint16(e[34:], flags)
	binary.BigEndian.PutUint32(e[4:], crc32.Checksum(e[8:contentBytes(e)], castagnoli))
}

// contentBytes is where an entry's batches end.
func contentBytes(e []byte) int {
	return entryBytes + int(e[33]) + int(binary.BigEndian.Uint32(e[72:]))
}

// entry is a parsed entry.
type entry struct {
	sequence, durable uint64
	kind              byte
	last              bool
	name              Name
	from, end         protocol.Offset
	batches           []byte
	bytes             int64 // in the file
}

// parseEntry reads the entry that b begins with. ok is false where there is none of this journal.
func parseEntry(b []byte, journal uint64) (e entry, ok bool) {
	if len(b) < entryBytes || binary.BigEndian.Uint32(b) != entryMagic || binary.BigEndian.Uint64(b[8:]) != journal {
		return e, false
	}
	size := int64(entryBytes) + int64(b[33]) + int64(binary.BigEndian.Uint32(b[72:]))
	if size > int64(len(b)) || binary.BigEndian.Uint32(b[4:]) != crc32.Checksum(b[8:size], castagnoli) {
		return e, false
	}
	topic := entryBytes + int(b[33])
	e = entry{
		sequence: binary.BigEndian.Uint64(b[16:]),
		durable:  binary.BigEndian.Uint64(b[24:]),
		kind:     b[32],
		last:     binary.BigEndian.Uint16(b[34:])&flagLast != 0,
		from:     protocol.Offset(binary.BigEndian.Uint64(b[56:])),
		end:      protocol.Offset(binary.BigEndian.Uint64(b[64:])),
		batches:  b[topic:size:size],
		bytes:    alignUp(size, entryAlign),
	}
	copy(e.name.ID[:], b[40:56])
	e.name.Partition.Topic = string(b[entryBytes:topic])
	e.name.Partition.Partition = int32(binary.BigEndian.Uint32(b[36:]))
	return e, e.sequence > e.durable
}
