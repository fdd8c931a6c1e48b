package storage

import (
	"strings"
	"testing"
	"time"

	"moldau.io/moldau/protocol"
)

// TestJitterRollsEarlier: segment.jitter.ms takes something from segment.ms, for each segment anew, and never more than
// was said.
func TestJitterRollsEarlier(t *testing.T) {
	cfg := DefaultConfig()
	cfg.SegmentAge, cfg.SegmentJitter = 1000*time.Millisecond, 400*time.Millisecond
	l := memLog(t, cfg)
	seen := map[int64]bool{}
	begun, rolls := int64(0), 0
	mustAppend(t, l, records(t, 0, "first"))
	for ts := int64(1); rolls < 40; ts++ {
		if !mustAppend(t, l, records(t, ts, "x")).Rolled {
			if ts-begun > 1000 {
				t.Fatalf("a segment holds %d ms", ts-begun)
			}
			continue
		}
		if age := ts - begun; age <= 600 || age > 1001 {
			t.Fatalf("rolled after %d ms", age)
		} else {
			seen[age] = true
		}
		begun, rolls = ts, rolls+1
	}
	if len(seen) < 10 {
		t.Errorf("%d segments were rolled at %d different ages", rolls, len(seen))
	}
}

// TestAFullIndexRolls: segment.index.bytes bounds both indexes, as Kafka does: the offset index has an entry of 8 bytes for
// every index.interval.bytes, the time index one of 12, and one more at the segment's end.
func TestAFullIndexRolls(t *testing.T) {
	for _, c := range []struct {
		indexBytes int64
		rising     bool // timestamps
		want       int  // entries of the offset index in a full segment
	}{{80, false, 10}, {80, true, 5}, {120, true, 9}} {
		cfg := DefaultConfig()
		cfg.IndexInterval, cfg.IndexBytes = 100, c.indexBytes
		l := memLog(t, cfg)
		ts, begun, inSegment := int64(1), protocol.Offset(0), 0
		for range 100 {
			if c.rising {
				ts++
			}
			a := mustAppend(t, l, records(t, ts, strings.Repeat("x", 200)))
			if !a.Rolled {
				continue
			}
			inSegment, begun = int(a.Base-begun), a.Base
			if inSegment != c.want+1 { // the first batch gets no entry
				t.Errorf("%+v: %d batches in a segment", c, inSegment)
				break
			}
		}
		if inSegment == 0 {
			t.Errorf("%+v: never rolled", c)
		}
		for _, s := range *l.segments.Load() {
			for _, name := range s.Names() {
				e, err := l.files.FS().Stat(name)
				if err != nil {
					t.Fatal(err)
				}
				if strings.HasSuffix(name, "index") && e.Size > c.indexBytes {
					t.Errorf("%+v: %s has %d bytes", c, name, e.Size)
				}
			}
		}
	}
}
