package storage

import (
	"testing"

	"moldau.io/moldau/protocol"
)

// TestI53_ATransactionIsStableWhenItsMarkerIsCommitted: also where another one ends later that began earlier, and where a
// marker is cut off again.
func TestI53_ATransactionIsStableWhenItsMarkerIsCommitted(t *testing.T) {
	l := memLog(t, DefaultConfig())
	stable := func(hw, want protocol.Offset) {
		t.Helper()
		l.SetHighWatermark(hw)
		if got := l.LastStable(); got != want {
			t.Errorf("high watermark %d: last stable %d, want %d", hw, got, want)
		}
	}
	mustAppend(t, l, records(t, 1000, "before"))
	mustAppend(t, l, txnBatch(1, 0)) // 1
	mustAppend(t, l, txnBatch(2, 0)) // 2
	stable(3, 1)
	mustAppend(t, l, txnMarker(2)) // 3
	mustAppend(t, l, txnMarker(1)) // 4
	mustAppend(t, l, records(t, 1000, "after"))
	stable(3, 1)
	stable(4, 1)
	stable(5, 5)
	stable(6, 6)

	mustAppend(t, l, txnBatch(1, 1)) // 6
	mustAppend(t, l, txnMarker(1))   // 7
	stable(7, 6)
	if err := l.Truncate(7); err != nil {
		t.Fatal(err)
	}
	stable(7, 6)
	mustAppend(t, l, txnMarker(1)) // 7
	stable(7, 6)
	stable(8, 8)
	if l.uncommitted.Load() != noUnstable || len(l.w.ended) != 0 {
		t.Errorf("%d transactions are remembered", len(l.w.ended))
	}
	mustAppend(t, l, txnBatch(1, 2))
	mustAppend(t, l, txnMarker(1))
	if err := l.TruncateFully(20); err != nil {
		t.Fatal(err)
	}
	if got := l.LastStable(); got != 20 {
		t.Errorf("an empty log at 20: last stable %d", got)
	}
}
