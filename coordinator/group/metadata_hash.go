package group

import (
	"encoding/binary"
	"slices"
	"unicode/utf16"

	"github.com/zeebo/xxh3"

	"moldau.io/moldau/protocol"
)

// topicHashes are the hashes of topics in one version of the metadata. Working one out takes a look at every partition.
type topicHashes struct {
	known   bool
	version int64
	of      map[protocol.TopicID]int64
}

// metadataHash is a number for the topics named, which are sorted, as they are now. Names of topics that are not there
// count for nothing; without any topic it is 0.
func (m *Machine) metadataHash(md Metadata, names []string) int64 {
	cache := &m.hashes
	if v := md.Version(); !cache.known || cache.version != v {
		*cache = topicHashes{true, v, map[protocol.TopicID]int64{}}
	}
	hashes := make([]int64, 0, len(names))
	for _, name := range names {
		t, ok := md.Topic(name)
		if !ok {
			continue
		}
		h, ok := cache.of[t.ID]
		if !ok {
			h = topicHash(md, t)
			cache.of[t.ID] = h
		}
		hashes = append(hashes, h)
	}
	return topicsHash(hashes)
}

// hashed is what the hash of a topic is taken of, little endian:
//
//	0: version (1 byte), id (two longs), name, number of partitions (int)
//	of each partition: its number (int); of each rack of its replicas, sorted: length (int), rack
//
// A string is its UTF-16 units and behind them their number (int). The hash is XXH3 with 64 bits. It stands in records
// that Kafka reads too, so all of this is Kafka's.
type hashed []byte

// topicHash is a number for a topic as it is now: it changes with the id, the name, the partitions and the racks of the
// replicas.
func topicHash(md Metadata, t Topic) int64 {
	h := make(hashed, 0, 64+4*t.Partitions)
	h = append(h, 0)
	h = binary.LittleEndian.AppendUint64(h, binary.BigEndian.Uint64(t.ID[:8]))
	h = binary.LittleEndian.AppendUint64(h, binary.BigEndian.Uint64(t.ID[8:]))
	h = h.string(utf16.Encode([]rune(t.Name)))
	h = h.int(t.Partitions)
	for p := range t.Partitions {
		h = h.int(p)
		for _, rack := range sortedRacks(md.Racks(t.ID, int32(p))) {
			h = h.int(len(rack))
			h = h.string(rack)
		}
	}
	return int64(xxh3.Hash(h))
}

// topicsHash puts the hashes of topics together, which are sorted by name. It is 0 without topics.
func topicsHash(hashes []int64) int64 {
	if len(hashes) == 0 {
		return 0
	}
	h := make(hashed, 0, 8*len(hashes))
	for _, hash := range hashes {
		h = binary.LittleEndian.AppendUint64(h, uint64(hash))
	}
	return int64(xxh3.Hash(h))
}

func (h hashed) int(n int) hashed { return binary.LittleEndian.AppendUint32(h, uint32(n)) }

func (h hashed) string(units []uint16) hashed {
	for _, u := range units {
		h = binary.LittleEndian.AppendUint16(h, u)
	}
	return h.int(len(units))
}

// sortedRacks are racks in UTF-16, sorted by their units, as Java sorts strings.
func sortedRacks(racks []string) [][]uint16 {
	sorted := make([][]uint16, len(racks))
	for i, rack := range racks {
		sorted[i] = utf16.Encode([]rune(rack))
	}
	slices.SortFunc(sorted, slices.Compare[[]uint16])
	return sorted
}
