package segment

import (
	"testing"

	"moldau.io/moldau/protocol"
)

// Who reads batch by batch finds each one where the batch before it ended. Where the segment was cut in between, and other
// batches were written, the old end must not be believed.
func TestWhatFollowsABatchIsForgottenWithACut(t *testing.T) {
	s, _ := newTestSegment(t, 0)
	for base := protocol.Offset(0); base < 30; base += 10 {
		write(t, s, 100, made(base, 1000, 10, 20))
	}
	s.Closed() // the ring of the newest batches would answer
	first, ok, err := s.Find(5)
	if err != nil || !ok {
		t.Fatal(first, ok, err)
	}
	if at, known := s.follows.Load().at(0, 10); !known || at.position != first.Bytes {
		t.Fatalf("after the batch of 0..9: %+v, %v", at, known)
	}
	second, ok, err := s.Find(10)
	if err != nil || !ok || second.Position != first.Bytes {
		t.Fatal(second, ok, err)
	}
	cut, err := s.PrepareCut(10)
	if err != nil {
		t.Fatal(err)
	}
	cut.Publish()
	if err := cut.Apply(); err != nil {
		t.Fatal(err)
	}
	for base := protocol.Offset(10); base < 30; base++ { // one by one: 20 begins elsewhere now
		write(t, s, 100, made(base, 1000, 1, 20))
	}
	s.Closed()
	for _, offset := range []protocol.Offset{20, 10, 11, 12, 28, 29} {
		p, ok, err := s.Find(offset)
		if err != nil || !ok {
			t.Fatalf("offset %d: %v, %v", offset, ok, err)
		}
		b, err := s.ReadBatch(p, nil)
		if err != nil || b.BaseOffset() != offset {
			t.Fatalf("offset %d: the batch at byte %d begins at %d, %v", offset, p.Position, b.BaseOffset(), err)
		}
	}
}
