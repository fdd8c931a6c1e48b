package batch_test

import (
	"bytes"
	"io"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

func seeds(f *testing.F, add func(k kase)) {
	for _, l := range lines(f, "testdata/verdicts.tsv") {
		add(parseCase(f, l))
	}
}

func FuzzNext(f *testing.F) {
	seeds(f, func(k kase) { f.Add(k.bytes) })
	f.Fuzz(func(t *testing.T, b []byte) {
		for rest := b; ; {
			first, more, err := batch.Next(rest)
			if err != nil {
				if first != nil || len(more) != len(rest) {
					t.Fatal("an error consumed bytes")
				}
				if err != io.EOF && err != io.ErrUnexpectedEOF && protocol.CodeOf(err) == protocol.UnknownServerError {
					t.Fatal(err)
				}
				return
			}
			if len(first) < batch.HeaderBytes || len(first)+len(more) != len(rest) {
				t.Fatalf("%d and %d of %d bytes", len(first), len(more), len(rest))
			}
			first = bytes.Clone(first)
			first.Stamp(first.LastOffset(), first.LeaderEpoch()+1)
			first.CheckCRC()
			rest = more
		}
	})
}

// FuzzValidate seals what it is given, so that the fuzzer gets past the checksum.
func FuzzValidate(f *testing.F) {
	seeds(f, func(k kase) { f.Add(k.bytes, int8(k.rules.Target), k.rules.LogAppendTime, k.rules.Compacted) })
	f.Fuzz(func(t *testing.T, b []byte, target int8, appendTime, compacted bool) {
		if len(b) >= batch.HeaderBytes {
			b = seal(bytes.Clone(b))
		}
		first, err := batch.One(b, 13)
		if err != nil {
			return
		}
		r := rules()
		r.MaxDecompressed = 4 << 20
		r.LogAppendTime, r.Compacted = appendTime, compacted
		if c := compress.Codec(target); c.Valid() {
			r.Target = c
		}
		claimed := first.IsLogAppendTime() // then its largest timestamp stands for all, and is checked instead of them
		v, err := first.Validate(r)
		if err != nil {
			if protocol.CodeOf(err) == protocol.None {
				t.Fatal("an error without a code")
			}
			return
		}
		checkAccepted(t, v, r, claimed)
	})
}

// checkAccepted holds a batch that Validate took against what it promises.
func checkAccepted(t *testing.T, v batch.Verdict, r batch.Rules, claimed bool) {
	t.Helper()
	b, rest, err := batch.Next(v.Batch)
	if err != nil || len(rest) != 0 || !b.CheckCRC() || b.IsLogAppendTime() != r.LogAppendTime || len(b) > r.MaxBytes {
		t.Fatalf("%v, % x", err, v.Batch)
	}
	n, latest := int32(0), int64(-1)
	for rec, err := range b.Records(nil) {
		if err != nil {
			t.Fatalf("record %d of an accepted batch: %v", n, err)
		}
		if r.Compacted && rec.Key == nil {
			t.Fatal("a record without a key was accepted")
		}
		if v.Rebuilt && rec.OffsetDelta != n {
			t.Fatal("a rebuilt batch is not numbered")
		}
		for range rec.Headers.All() {
		}
		latest = max(latest, b.Timestamp(rec))
		n++
	}
	if n != b.Count() || n != b.LastOffsetDelta()+1 || b.MaxTimestamp() != v.MaxTimestamp ||
		latest != v.MaxTimestamp && !claimed {
		t.Fatalf("%d records of %d, latest %d, said to be %d", n, b.Count(), latest, v.MaxTimestamp)
	}
	if claimed {
		return
	}
	if again, err := changed(b, 22, byte(b.Attributes())&^8).Validate(r); err != nil || again.Rebuilt {
		t.Fatalf("an accepted batch is not accepted again: %v", err)
	}
}

// FuzzRecords walks records without having validated the batch, as readers of segments do.
func FuzzRecords(f *testing.F) {
	seeds(f, func(k kase) { f.Add(k.bytes) })
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, _, err := batch.Next(raw)
		if err != nil {
			return
		}
		total := 0
		for r, err := range b.Records(nil) {
			if err != nil {
				break
			}
			for k, v := range r.Headers.All() {
				total += len(k) + len(v)
			}
			if total += len(r.Key) + len(r.Value); total > 64<<20 {
				break
			}
		}
	})
}
