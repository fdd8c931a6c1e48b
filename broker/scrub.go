package broker

import (
	"time"

	"moldau.io/moldau/storage"
)

// ScrubStatus is how far a scrub is that was asked for, and which partitions are damaged.
type ScrubStatus struct {
	Running  bool           `json:"running"`
	Began    time.Time      `json:"began"`    // zero: none was asked for since the broker started
	Ended    time.Time      `json:"ended"`    // zero while it runs
	Bytes    int64          `json:"bytes"`    // read and checked so far
	Of       int64          `json:"of"`       // to be read
	Segments int            `json:"segments"` // read and checked so far
	Mended   int            `json:"mended"`   // indexes that were damaged and have been made anew
	Unread   int            `json:"unread"`   // segments that could not be read, or were deleted meanwhile
	Damaged  []DamageStatus `json:"damaged"`  // partitions that are offline because of damage, whoever found it
}

// DamageStatus is a damaged partition.
type DamageStatus struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Reason    string `json:"reason"`
}

// Scrub has everything in the data folders read and checked now, as fast as the disks give it. It does not wait for the end.
func (b *Broker) Scrub() ScrubStatus { return b.scrubStatus(b.store.Scrub()) }

// ScrubStatus is that of the last scrub that was asked for.
func (b *Broker) ScrubStatus() ScrubStatus { return b.scrubStatus(b.store.ScrubState()) }

func (b *Broker) scrubStatus(st storage.ScrubState) ScrubStatus {
	out := ScrubStatus{
		Running: st.Running, Began: st.Began, Ended: st.Ended, Bytes: st.Bytes, Of: st.Of, Segments: st.Segments,
		Mended: st.Mended, Unread: st.Unread, Damaged: []DamageStatus{},
	}
	for _, d := range b.store.Damaged() {
		out.Damaged = append(out.Damaged, DamageStatus{
			Topic: d.Partition.Topic, Partition: d.Partition.Partition, Reason: d.Err.Error(),
		})
	}
	return out
}
