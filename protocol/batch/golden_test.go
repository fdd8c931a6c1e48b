package batch_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/protocol/compress"
)

// The golden files hold what Apache Kafka 4.4.0's own classes wrote and decided; testdata/Golden.java made them.

var writeCases = flag.String("write-cases", "", "write the cases of verdicts.tsv without their answers to this file")

func lines(t testing.TB, file string) [][]string {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out [][]string
	for l := range strings.Lines(string(raw)) {
		out = append(out, strings.Split(strings.TrimSuffix(l, "\n"), "\t"))
	}
	return out
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// goldenValue is Golden.java's value.
func goldenValue(i, size int) []byte {
	if i%5 == 4 {
		return nil
	}
	v := make([]byte, size)
	for j := range v {
		v[j] = byte((i*31 + j*j) >> 3)
	}
	return v
}

func TestKafkasOwnBatchesAreRead(t *testing.T) {
	for _, l := range lines(t, "testdata/batches.tsv") {
		t.Run(l[0], func(t *testing.T) {
			var codec, count, size int
			if _, err := fmt.Sscanf(l[0], "%d/%dx%d", &codec, &count, &size); err != nil {
				t.Fatal(err)
			}
			b, rest, err := batch.Next(unhex(t, l[1]))
			if err != nil || len(rest) != 0 || !b.CheckCRC() {
				t.Fatalf("%v, %d left", err, len(rest))
			}
			if int(b.Codec()) != codec || int(b.Count()) != count || b.BaseOffset() != 5 || b.LeaderEpoch() != 7 ||
				b.MaxTimestamp() != now.UnixMilli()+int64(count-1)*7 || b.IsTransactional() != (codec == 3) ||
				b.HasProducer() != (codec == 3) || codec == 3 && b.LastSequence() != int32(8+count) {
				t.Fatalf("header % x", b[:batch.HeaderBytes])
			}
			i := 0
			for r, err := range b.Records(nil) {
				if err != nil {
					t.Fatal(err)
				}
				key := fmt.Appendf(nil, "key-%d", i)
				if i%3 == 1 {
					key = nil
				}
				if !same(r.Key, key) || !same(r.Value, goldenValue(i, size)) || b.Timestamp(r) != now.UnixMilli()+int64(i)*7 ||
					r.Headers.Len() != 2*(i%2) {
					t.Fatalf("record %d: %+v", i, r)
				}
				i++
			}
			if i != count {
				t.Fatalf("%d records", i)
			}
			b.Stamp(0, 0)
			if _, err := b.Validate(rules()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func same(a, b []byte) bool { return bytes.Equal(a, b) && (a == nil) == (b == nil) }

// kase is one batch with the rules it is held against.
type kase struct {
	name    string
	rules   batch.Rules
	version int16
	bytes   []byte
}

func (k kase) String() string {
	lat, compacted := 0, 0
	if k.rules.LogAppendTime {
		lat = 1
	}
	if k.rules.Compacted {
		compacted = 1
	}
	return fmt.Sprintf("%s\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t%x", k.name, k.rules.Target, lat, k.rules.TimestampBeforeMaxMs,
		k.rules.TimestampAfterMaxMs, compacted, k.rules.MaxBytes, k.rules.MaxDecompressedRecord, k.version, k.bytes)
}

func parseCase(t testing.TB, f []string) kase {
	t.Helper()
	var n [8]int64
	for i := range n {
		var err error
		if n[i], err = strconv.ParseInt(f[i+1], 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	r := rules()
	r.Target, r.LogAppendTime, r.TimestampBeforeMaxMs, r.TimestampAfterMaxMs = compress.Codec(n[0]), n[1] == 1, n[2], n[3]
	r.Compacted, r.MaxBytes, r.MaxDecompressedRecord = n[4] == 1, int(n[5]), int(n[6])
	return kase{f[0], r, int16(n[7]), unhex(t, f[9])}
}

// seal writes length and CRC of a batch that a case has broken in other ways.
func seal(b []byte) []byte {
	binary.BigEndian.PutUint32(b[8:], uint32(len(b)-12))
	binary.BigEndian.PutUint32(b[17:], crc32.Checksum(b[21:], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// packed is a batch with this header and these records, compressed by c.
func packed(t testing.TB, header []byte, c compress.Codec, records []byte) []byte {
	t.Helper()
	e := compress.NewEncoder()
	out := bytes.Clone(header[:batch.HeaderBytes])
	out[22] = out[22]&^7 | byte(c)
	if err := e.Reset(out, c, compress.DefaultLevel); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Write(records); err != nil {
		t.Fatal(err)
	}
	out, err := e.Close()
	if err != nil {
		t.Fatal(err)
	}
	return seal(out)
}

// cases are batches good and bad. The hostile ones among them are also the seeds of the fuzz targets.
func cases(t testing.TB) []kase {
	var out []kase
	add := func(name string, b []byte, change ...func(*batch.Rules)) {
		k := kase{name: name, rules: rules(), version: 13, bytes: b}
		for _, f := range change {
			f(&k.rules)
		}
		out = append(out, k)
	}
	lat := func(r *batch.Rules) { r.LogAppendTime = true }
	compacted := func(r *batch.Rules) { r.Compacted = true }
	hour := func(r *batch.Rules) { r.TimestampBeforeMaxMs = 3_600_000 }
	ms := now.UnixMilli()
	make3 := func(c compress.Codec, change func(*batch.BuilderOptions)) batch.Batch {
		o := batch.BuilderOptions{Codec: c, LeaderEpoch: -1}
		if change != nil {
			change(&o)
		}
		b := batch.NewBuilder(o)
		b.Add(ms-5, []byte("a"), []byte("one"))
		b.Add(ms-1, nil, bytes.Repeat([]byte("two"), 50), batch.Header{Key: "h", Value: []byte("v")})
		b.Add(ms-3, []byte("c"), nil)
		return b.Build()
	}
	put := func(b []byte, at int, v ...byte) []byte { b = bytes.Clone(b); copy(b[at:], v); return seal(b) }
	records := make3(compress.None, nil)[batch.HeaderBytes:]
	for _, c := range codecs {
		good := make3(c, nil)
		in := func(s string) string { return c.String() + ": " + s }
		add(in("good"), good)
		add(in("good, log append time"), good, lat)
		add(in("compacted, a key is missing"), good, compacted)
		add(in("compacted and late"), good, compacted, func(r *batch.Rules) { r.TimestampBeforeMaxMs = 2 })
		add(in("compacted topic with append time"), good, compacted, lat)
		add(in("too late"), good, func(r *batch.Rules) { r.TimestampBeforeMaxMs = 2 })
		add(in("too early"), put(good, 27, 0, 0, 1, 0x8b, 0xd0, 0, 0, 0), hour)
		add(in("negative timestamps"), put(good, 27, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0), hour)
		add(in("lowest timestamp"), put(good, 27, 0x80, 0, 0, 0, 0, 0, 0, 0))
		add(in("highest timestamp"), put(good, 27, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0))
		add(in("no timestamp first"), put(good, 27, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), hour)
		add(in("wrong max timestamp"), put(good, 35, 0, 0, 0, 0, 0, 0, 0, 9))
		add(in("broker's time claimed"), put(good, 22, good[22]|8))
		add(in("broker's time claimed, log append time"), put(good, 22, good[22]|8), lat)
		add(in("broker's time claimed, none there"), put(put(good, 22, good[22]|8), 35, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
		add(in("size is the limit"), good, func(r *batch.Rules) { r.MaxBytes = len(good) })
		add(in("size is over the limit"), good, func(r *batch.Rules) { r.MaxBytes = len(good) - 1 })
		add(in("a record is the limit"), good, func(r *batch.Rules) { r.MaxDecompressedRecord = 162 })
		add(in("a record is over the limit"), good, func(r *batch.Rules) { r.MaxDecompressedRecord = 161 })
		add(in("transactional"), make3(c, func(o *batch.BuilderOptions) {
			o.Transactional, o.Producer = true, &batch.Producer{ID: 9, Epoch: 0, Sequence: 0}
		}))
		add(in("producer without a sequence"), make3(c, func(o *batch.BuilderOptions) {
			o.Producer = &batch.Producer{ID: 9, Epoch: 0, Sequence: -1}
		}))
		add(in("control"), put(good, 22, good[22]|0x20))
		add(in("delete horizon and unknown bits"), put(good, 21, 0x81, good[22]|0xc0))
		add(in("unknown bits, log append time"), put(good, 21, 0x81, good[22]|0xc0), lat)
		add(in("base offset 1"), put(good, 7, 1))
		add(in("base offset -1"), put(good, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff))
		add(in("leader epoch of the client"), put(good, 12, 0, 0, 0, 77))
		add(in("wrong checksum"), func() []byte { b := bytes.Clone(good); b[17] ^= 1; return b }())
		add(in("magic 0"), put(good, 16, 0))
		add(in("magic 1"), put(good, 16, 1))
		add(in("magic 3"), put(good, 16, 3))
		add(in("magic -1"), put(good, 16, 0xff))
		for _, n := range []uint32{0, 2, 4, 1 << 30, math.MaxInt32, 1 << 31, math.MaxUint32} {
			count := binary.BigEndian.AppendUint32(nil, n)
			add(in(fmt.Sprintf("count %d", int32(n))), put(good, 57, count...))
			last := binary.BigEndian.AppendUint32(nil, n-1)
			add(in(fmt.Sprintf("last offset delta %d", int32(n-1))), put(good, 23, last...))
			add(in(fmt.Sprintf("count %d and its delta", int32(n))), put(put(good, 57, count...), 23, last...))
		}
		for id := byte(5); id < 8; id++ {
			add(in(fmt.Sprintf("codec %d", id)), put(good, 22, good[22]&^7|id))
		}
		add(in("no records at all"), put(put(packed(t, good, c, nil), 57, 0, 0, 0, 0), 23, 0xff, 0xff, 0xff, 0xff))
		add(in("cut by one"), good[:len(good)-1])
		add(in("cut to the header"), good[:batch.HeaderBytes])
		add(in("cut in the header"), good[:40])
		add(in("cut before the magic"), good[:16])
		add(in("twice"), append(bytes.Clone(good), good...))
		add(in("and a little more"), append(bytes.Clone(good), 1, 2, 3))
		add(in("and a torn batch"), append(bytes.Clone(good), good[:50]...))
		add(in("and noise"), append(bytes.Clone(good), bytes.Repeat([]byte{0xee}, 30)...))
		add(in("and zeros"), append(bytes.Clone(good), make([]byte, 30)...))
		add(in("and magic 3"), append(bytes.Clone(good), put(good, 16, 3)...))
		add(in("and magic 1"), append(bytes.Clone(good), put(good, 16, 1)...))
		for _, target := range codecs {
			to := func(r *batch.Rules) { r.Target = target }
			add(in("to "+target.String()), good, to)
			add(in("to "+target.String()+", log append time"), good, to, lat)
			add(in("to "+target.String()+", broker's time claimed"), put(good, 22, good[22]|8), to)
			add(in("to "+target.String()+", unknown bits"), put(good, 21, 0x81, good[22]|0xc0), to)
			add(in("to "+target.String()+", transactional"), make3(c, func(o *batch.BuilderOptions) {
				o.Transactional, o.Producer = true, &batch.Producer{ID: 9, Epoch: 1, Sequence: 5}
			}), to)
			add(in("to "+target.String()+", compacted"), good, to, compacted)
			add(in("to "+target.String()+", no timestamp first"),
				put(good, 27, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff), to)
		}
		if c != compress.None {
			add(in("empty payload"), seal(bytes.Clone(good[:batch.HeaderBytes])))
			add(in("noise for payload"), seal(append(bytes.Clone(good[:batch.HeaderBytes]), bytes.Repeat([]byte{0xa5, 1}, 20)...)))
			add(in("one byte for payload"), seal(append(bytes.Clone(good[:batch.HeaderBytes]), 7)))
			for _, n := range []int{1, 4, 9, 20} {
				add(in(fmt.Sprintf("payload cut by %d", n)), seal(bytes.Clone(good[:len(good)-n])))
			}
			flip := bytes.Clone(good)
			flip[len(flip)-12] ^= 0x10
			add(in("a bit flipped in the payload"), seal(flip))
			add(in("bytes after the payload"), seal(append(bytes.Clone(good), 1, 2, 3, 4, 5, 6, 7, 8)))
		}
		for name, r := range brokenRecords(records) {
			add(in(name), packed(t, good, c, r))
		}
	}
	old := kase{name: "zstd in version 6", rules: rules(), version: 6, bytes: make3(compress.Zstd, nil)}
	out = append(out, old, kase{name: "lz4 in version 3", rules: rules(), version: 3, bytes: make3(compress.LZ4, nil)},
		kase{name: "no bytes", rules: rules(), version: 9, bytes: nil})
	return out
}

// brokenRecords are variants of three good records.
func brokenRecords(good []byte) map[string][]byte {
	out := map[string][]byte{}
	edit := func(name string, at int, v ...byte) {
		b := bytes.Clone(good)
		copy(b[at:], v)
		out[name] = b
	}
	edit("first size one more", 0, good[0]+2)
	edit("first size one less", 0, good[0]-2)
	edit("first size -1", 0, 1)
	edit("first size 0", 0, 0)
	edit("first size too long an integer", 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)
	edit("first size 2^31-1", 0, 0xfe, 0xff, 0xff, 0xff, 0x0f)
	edit("record attributes", 1, 0xff)
	edit("offset delta 5", 3, 10)
	edit("offset delta -1", 3, 1)
	edit("key length -2", 4, 3)
	edit("key length 100", 4, 0xc8, 1)
	edit("key length 60", 4, 120)
	edit("value length -5", 6, 9)
	edit("header count -1", 10, 1)
	edit("header count 1", 10, 2)
	edit("header count 40", 10, 80)
	out["a byte less"] = good[:len(good)-1]
	out["a byte more"] = append(bytes.Clone(good), 0)
	out["a record more"] = append(bytes.Clone(good), good[:11]...)
	out["a record less"] = good[11:]
	header := bytes.Index(good, []byte("h\x02v"))
	edit("header key length -1", header-1, 1)
	edit("header value length -1", header+1, 1)
	edit("header value length 9", header+1, 18)
	edit("header key length 99", header-1, 0xc6)
	return out
}

// deliberate are the cases in which we do not do as Kafka 4.4.0 does, by the end of their names, with the code that we give.
var deliberate = map[string]protocol.Code{
	// Kafka means to number the records again and fails on its own iterator, which has skipped the keys that it then asks
	// for: the client sees an unknown server error. We number them again.
	": offset delta 5": protocol.None, ": offset delta -1": protocol.None, "zstd: a bit flipped in the payload": protocol.None,
	// Where records are compressed Kafka does not compare a record's size with its fields, and stores what its own
	// consumer then stumbles over. We refuse it, as Kafka does where they are not compressed.
	": first size one more": protocol.InvalidRecord, ": first size one less": protocol.InvalidRecord,
	": first size 0": protocol.InvalidRecord, ": header value length -1": protocol.InvalidRecord,
	"lz4: a bit flipped in the payload": protocol.InvalidRecord,
	// Kafka reads the size of an uncompressed record outside of its try: an unknown server error.
	"none: first size too long an integer": protocol.InvalidRecord,
}

func TestVerdictsAreKafkas(t *testing.T) {
	if *writeCases != "" {
		var b strings.Builder
		for _, k := range cases(t) {
			fmt.Fprintln(&b, k)
		}
		if err := os.WriteFile(*writeCases, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, l := range lines(t, "testdata/verdicts.tsv") {
		t.Run(l[0], func(t *testing.T) {
			k := parseCase(t, l)
			want := l[10:]
			b, err := batch.One(k.bytes, k.version)
			var v batch.Verdict
			if err == nil {
				v, err = b.Validate(k.rules)
			}
			for end, code := range deliberate {
				if strings.HasSuffix(l[0], end) && (l[0] == end || !strings.HasPrefix(l[0], "none")) {
					if protocol.CodeOf(err) != code || want[0] == strconv.Itoa(int(code)) {
						t.Fatalf("code %v (%v) is not the deliberate %v", protocol.CodeOf(err), err, code)
					}
					return
				}
			}
			if code := strconv.Itoa(int(protocol.CodeOf(err))); code != want[0] {
				t.Fatalf("code %s, want %s %s (%v)", code, want[0], want[1], err)
			}
			if err != nil {
				compareReject(t, err, want)
				return
			}
			compareVerdict(t, b, v, want)
		})
	}
}

func compareReject(t *testing.T, err error, want []string) {
	t.Helper()
	var r *batch.RejectError
	if !errors.As(err, &r) {
		t.Fatalf("%T is not a RejectError", err)
	}
	var records strings.Builder
	for _, e := range r.Records {
		fmt.Fprintf(&records, "%d=%s|", e.Index, e.Message)
	}
	if records.String() != want[2] {
		t.Errorf("record errors %s\nwant %s", records.String(), want[2])
	}
	if want[2] != "" && r.Message != want[1] {
		t.Errorf("message %s\nwant %s", r.Message, want[1])
	}
}

func compareVerdict(t *testing.T, b batch.Batch, v batch.Verdict, want []string) {
	t.Helper()
	kafkas := batch.Batch(unhex(t, want[3]))
	if strconv.FormatBool(v.Rebuilt) != want[5] || v.Rebuilt == (&v.Batch[0] == &b[0]) {
		t.Errorf("rebuilt %v, want %s", v.Rebuilt, want[5])
	}
	if strconv.FormatInt(v.MaxTimestamp, 10) != want[4] || v.Batch.MaxTimestamp() != v.MaxTimestamp {
		t.Errorf("max timestamp %d, want %s", v.MaxTimestamp, want[4])
	}
	if !v.Batch.CheckCRC() {
		t.Error("wrong checksum")
	}
	if !v.Rebuilt {
		if !bytes.Equal(v.Batch, kafkas[:len(v.Batch)]) {
			t.Errorf("got  % x\nwant % x", v.Batch, kafkas)
		}
		return
	}
	// Length and CRC differ with the compression libraries; everything else must not.
	for _, at := range [][2]int{{0, 8}, {12, 17}, {21, batch.HeaderBytes}} {
		if got, want := v.Batch[at[0]:at[1]], kafkas[at[0]:at[1]]; !bytes.Equal(got, want) {
			t.Errorf("header bytes %d to %d: % x, want % x", at[0], at[1], got, want)
		}
	}
	if got, want := dump(t, v.Batch), dump(t, kafkas); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func dump(t *testing.T, b batch.Batch) string {
	t.Helper()
	var out strings.Builder
	for r, err := range b.Records(nil) {
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&out, "%d %d %q %q", r.OffsetDelta, r.TimestampDelta, r.Key, r.Value)
		for k, v := range r.Headers.All() {
			fmt.Fprintf(&out, " %q=%q", k, v)
		}
		fmt.Fprintln(&out)
	}
	return out.String()
}
