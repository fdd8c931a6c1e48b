package inspect

import (
	"encoding/binary"
	"fmt"

	"moldau.io/moldau/protocol/batch"
)

// Marker is what a control batch says.
type Marker struct {
	Kind             string `json:"kind"`
	CoordinatorEpoch *int32 `json:"coordinator_epoch,omitempty"`
}

// The types of control records (ControlRecordType of Kafka).
var controlKinds = []string{"abort", "commit", "leader-change", "snapshot-header", "snapshot-footer", "kraft-version",
	"kraft-voters"}

const (
	abortMarker  = 0
	commitMarker = 1
	noMarker     = -1
)

// markerOf is the type of a control batch, noMarker where compaction has removed its record.
func markerOf(b batch.Batch) (kind int, coordinatorEpoch int32) {
	for r, err := range b.Records(nil) {
		if err != nil || len(r.Key) < 4 {
			return noMarker, -1
		}
		kind = int(binary.BigEndian.Uint16(r.Key[2:]))
		if kind <= commitMarker && len(r.Value) >= 6 {
			return kind, int32(binary.BigEndian.Uint32(r.Value[2:]))
		}
		return kind, -1
	}
	return noMarker, -1
}

// Control is what a control batch says, nil where compaction has removed its record.
func Control(b batch.Batch) *Marker {
	kind, epoch := markerOf(b)
	if kind == noMarker {
		return nil
	}
	m := &Marker{Kind: fmt.Sprintf("type-%d", kind)}
	if kind < len(controlKinds) {
		m.Kind = controlKinds[kind]
	}
	if kind <= commitMarker && epoch >= 0 {
		m.CoordinatorEpoch = &epoch
	}
	return m
}
