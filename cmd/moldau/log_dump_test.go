package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden files anew")

// The folder that Apache Kafka 4.4.0 wrote, and what its own tool prints of it.
const (
	kafkasFolder = "../../storage/testdata/kafka-4.4.0"
	kafkasDump   = kafkasFolder + ".dump"
)

// inside runs a command in this process.
func inside(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(context.Background(), world{strings.NewReader(""), &out, &errs, nil}, args)
	return code, out.String(), errs.String()
}

// dumped runs `moldau log dump` and gives its lines as JSON objects.
func dumped(t *testing.T, args ...string) []map[string]any {
	t.Helper()
	code, out, errs := inside(t, append([]string{"log", "dump", "-o", "json"}, args...)...)
	if code != 0 {
		t.Fatalf("dump %q: exit code %d, %s", args, code, errs)
	}
	var lines []map[string]any
	for l := range strings.Lines(out) {
		d := json.NewDecoder(strings.NewReader(l))
		d.UseNumber()
		m := map[string]any{}
		if err := d.Decode(&m); err != nil {
			t.Fatalf("%s: %v", l, err)
		}
		lines = append(lines, m)
	}
	return lines
}

var kafkasField = regexp.MustCompile(`(\w+): (\S+)`)

// TestDumpSaysWhatKafkasToolSays compares every batch and every record of the golden folder with kafka-dump-log's.
func TestDumpSaysWhatKafkasToolSays(t *testing.T) {
	text, err := os.ReadFile(kafkasDump)
	if err != nil {
		t.Fatal(err)
	}
	var ours []map[string]any
	for _, l := range dumped(t, "--records", filepath.Join(kafkasFolder, "golden-0")) {
		if l["type"] == "batch" || l["type"] == "record" {
			ours = append(ours, l)
		}
	}
	names := map[string]string{
		"baseOffset": "base_offset", "lastOffset": "last_offset", "count": "count", "baseSequence": "base_sequence",
		"lastSequence": "last_sequence", "producerId": "producer_id", "producerEpoch": "producer_epoch",
		"partitionLeaderEpoch": "leader_epoch", "isTransactional": "transactional", "isControl": "is_control",
		"position": "position", "size": "bytes", "compresscodec": "codec", "crc": "crc", "isvalid": "valid",
		"offset": "offset", "sequence": "sequence",
	}
	compared := 0
	for l := range strings.Lines(string(text)) {
		isBatch, isRecord := strings.HasPrefix(l, "baseOffset:"), strings.HasPrefix(l, "| offset:")
		if !isBatch && !isRecord {
			continue
		}
		if len(ours) == 0 {
			t.Fatalf("we print nothing for %s", l)
		}
		mine, data := ours[0], ""
		ours = ours[1:]
		if isRecord {
			l, data, _ = strings.Cut(l, " headerKeys:")
		}
		for _, f := range kafkasField.FindAllStringSubmatch(l, -1) {
			name, ok := names[f[1]]
			if !ok {
				continue
			}
			got, _ := json.Marshal(mine[name])
			if strings.Trim(string(got), `"`) != f[2] {
				t.Errorf("%s: we say %s=%s of %s", f[1], name, got, l)
			}
			compared++
		}
		if _, payload, ok := strings.Cut(strings.TrimRight(data, "\n"), " payload: "); ok {
			value, _ := mine["value"].(map[string]any)
			if value["text"] != payload {
				t.Errorf("payload %q, we say %v", payload, mine["value"])
			}
			compared++
		}
	}
	if len(ours) > 0 || compared < 500 {
		t.Errorf("%d lines of ours are left, %d facts were compared", len(ours), compared)
	}
}

func TestDumpOfTheGoldenFolderAsText(t *testing.T) {
	code, out, errs := inside(t, "log", "dump", "--records", "--from", "55", "--to", "70", kafkasFolder)
	if code != 0 {
		t.Fatal(code, errs)
	}
	out = strings.ReplaceAll(out, filepath.ToSlash(filepath.Clean(kafkasFolder)), "DATA")
	const golden = "testdata/dump.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out != string(want) {
		t.Errorf("dump printed\n%s\nnot what %s says (go test -update writes it anew)", out, golden)
	}
}

func TestDumpStopsWhereAsked(t *testing.T) {
	count := func(args ...string) (batches, records int) {
		for _, l := range dumped(t, append(args, filepath.Join(kafkasFolder, "golden-0"))...) {
			switch l["type"] {
			case "batch":
				batches++
			case "record":
				records++
			}
		}
		return batches, records
	}
	if b, r := count("--records", "--from", "13", "--to", "16"); b != 2 || r != 4 {
		t.Errorf("offsets 13 to 16 are in %d batches with %d records, not 2 with 4", b, r)
	}
	if _, r := count("--records", "--max-records", "7"); r != 7 {
		t.Errorf("%d records of at most 7", r)
	}
	if _, r := count(); r != 0 {
		t.Errorf("%d records were printed though nobody asked", r)
	}
}

func TestDumpOfWhatIsNoBrokersIsBadUsage(t *testing.T) {
	dir := t.TempDir()
	foreign := filepath.Join(dir, "holiday.jpg")
	if err := os.WriteFile(foreign, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{}, {dir}, {foreign}, {filepath.Join(dir, "none")}, {"--from", "5", "--to", "4", dir}} {
		if code, out, errs := inside(t, append([]string{"log", "dump"}, args...)...); code != exitUsage || out != "" {
			t.Errorf("dump %q: exit code %d, printed %q, said %s", args, code, out, errs)
		}
	}
}

func TestDumpGoesOnBehindDamage(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join(kafkasFolder, "golden-0", "00000000000000000000.log"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	name := filepath.Join(dir, "00000000000000000000.log")
	for what, hurt := range map[string]func(b []byte){
		"a flipped bit in a record": func(b []byte) { b[331+200] ^= 4 },
		"a damaged length":          func(b []byte) { b[331+8] = 0x70 },
		"a damaged magic":           func(b []byte) { b[331+16] = 9 },
		"zeros over a batch":        func(b []byte) { clear(b[331:662]) },
	} {
		b := bytes.Clone(raw)
		hurt(b)
		if err := os.WriteFile(name, b, 0o644); err != nil {
			t.Fatal(err)
		}
		var good []string
		damaged := false
		for _, l := range dumped(t, name) {
			switch {
			case l["type"] == "batch" && l["valid"] == true:
				good = append(good, l["base_offset"].(json.Number).String())
			case l["type"] == "batch", l["type"] == "damage":
				damaged = damaged || l["position"].(json.Number).String() == "331"
			}
		}
		if got := strings.Join(good, ","); got != "0,6,9" || !damaged {
			t.Errorf("%s: the batches %s are good, damage at byte 331 is shown: %v", what, got, damaged)
		}
	}
}

// TestDumpOfAJournal prints what a killed broker has acknowledged by its journal.
func TestDumpOfAJournal(t *testing.T) {
	dir := t.TempDir()
	sv := start(t, dir, nil, "--set", "moldau.durability=fsync")
	s := &shell{t, sv.kafka}
	s.do("topic", "create", "rides", "-p", "2")
	var records strings.Builder // with keys, so that both partitions have some
	for i := range 50 {
		fmt.Fprintf(&records, "%d:%d\n", i, i)
	}
	for range 3 { // the first files of a log are synced themselves
		s.feed(records.String(), "produce", "rides", "--key-separator", ":")
	}
	sv.kill()
	journal := filepath.Join(dir, "moldau.journal")
	if _, err := os.Stat(journal); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{journal, dir} {
		entries, inside, records := 0, false, map[string]bool{}
		for _, l := range dumped(t, "--records", path) {
			switch l["type"] {
			case "file":
				inside = l["kind"] == "journal"
			case "journal_entry":
				entries++
			case "record":
				if value, _ := l["value"].(map[string]any); inside {
					records[value["text"].(string)] = true
				}
			}
		}
		if entries == 0 || len(records) != 50 {
			t.Errorf("%s: %d entries with %d different records", path, entries, len(records))
		}
	}
	if code, out, errs := command(t, nil, "log", "repair", dir, "--yes"); code != exitData && code != exitOK ||
		code == exitData && !strings.Contains(errs, "start moldau on the folder once") {
		t.Errorf("repair beside a journal: exit code %d, %s%s", code, out, errs)
	}
}
