package storage

import (
	"cmp"
	"slices"

	"moldau.io/moldau/protocol"
)

// place is the folder for a new log: of those that are online and have room, the one with the fewest logs (as Kafka's),
// and of those with as many the one with the most free space, or the first.
func (s *Store) place(tp protocol.TopicPartition, cfg Config) (*dataDir, error) {
	online := s.online()
	if d := s.moves.takePreferred(tp); d != nil && slices.Contains(online, d) {
		return d, nil
	}
	if len(online) == 0 {
		return nil, protocol.Errorf(protocol.KafkaStorageError, "every data folder is offline")
	}
	best := looksLike(online[0], cfg)
	for _, d := range online[1:] {
		if c := looksLike(d, cfg); c.compare(best) < 0 {
			best = c
		}
	}
	return best.d, nil
}

// choice is a folder as it looks to a new log.
type choice struct {
	d     *dataDir
	tight bool // has no room for a whole segment
	logs  int64
	free  int64 // bytes, in sixteenths of the disk, so that folders on one disk are alike
}

func looksLike(d *dataDir, cfg Config) choice {
	c := choice{d: d, logs: d.health.logs.Load()}
	if seen := d.space.seen.Load(); seen != nil {
		part := max(seen.Total/16, 1)
		c.tight = seen.Full || seen.Free-seen.Reserve < cfg.SegmentBytes
		c.free = seen.Free / part * part
	}
	return c
}

// compare is negative where c is the better one.
func (c choice) compare(other choice) int {
	tight := func(c choice) int {
		if c.tight {
			return 1
		}
		return 0
	}
	return cmp.Or(cmp.Compare(tight(c), tight(other)), cmp.Compare(c.logs, other.logs), cmp.Compare(other.free, c.free))
}
