package group

import "strconv"

// metadataHash is a number for the topics named, as they are now: ids, partitions and racks. Names of topics that are not
// there count for nothing; without any topic it is 0.
func (m *Machine) metadataHash(md Metadata, names []string) int64 {
	h, any := uint64(fnvOffset), false
	for _, name := range names {
		t, ok := md.Topic(name)
		if !ok {
			continue
		}
		any = true
		h = fnv(fnv(fnv(h, name), string(t.ID[:])), strconv.Itoa(t.Partitions))
		for p := range t.Partitions {
			for _, rack := range md.Racks(t.ID, int32(p)) {
				h = fnv(fnv(h, rack), ",")
			}
			h = fnv(h, ";")
		}
	}
	if !any {
		return 0
	}
	return int64(h)
}
