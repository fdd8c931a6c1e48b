package inspect

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"moldau.io/moldau/storage/vfs"
)

// folderOf is the data folder that Apache Kafka 4.4.0 wrote, in memory.
func folderOf(t testing.TB) *vfs.Mem {
	t.Helper()
	const golden = "../testdata/kafka-4.4.0"
	m := vfs.NewMem()
	err := filepath.WalkDir(golden, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := "/data" + strings.TrimPrefix(filepath.ToSlash(name), golden)
		if d.IsDir() {
			return m.MkdirAll(to)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return vfs.WriteFile(m, to, b)
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func content(t testing.TB, m vfs.FS, name string) []byte {
	t.Helper()
	b, err := vfs.ReadFile(m, name, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// found verifies a folder and gives what was found.
func found(t testing.TB, m vfs.FS, name string) (damage, notes []Finding) {
	t.Helper()
	v := &Verifier{FS: m, Report: func(f Finding) {
		if f.Note {
			notes = append(notes, f)
		} else {
			damage = append(damage, f)
		}
	}}
	sum, err := v.Verify(name)
	if err != nil {
		t.Fatal(err)
	}
	if sum.Damage != len(damage) || sum.Notes != len(notes) {
		t.Fatalf("%+v, but %d and %d were reported", sum, len(damage), len(notes))
	}
	return damage, notes
}

func TestKafkasFolderIsWell(t *testing.T) {
	if damage, notes := found(t, folderOf(t), "/data"); len(damage)+len(notes) > 0 {
		t.Errorf("found %+v %+v", damage, notes)
	}
}

// TestEveryFlippedBitOfALogIsFound flips a bit of each byte of each log and each snapshot.
func TestEveryFlippedBitOfALogIsFound(t *testing.T) {
	m := folderOf(t)
	entries, err := m.List("/data/golden-0")
	must(t, err)
	for _, e := range entries {
		if k := KindOf(e.Name); k != Batches && k != Snapshot {
			continue
		}
		name := "/data/golden-0/" + e.Name
		whole := content(t, m, name)
		f, err := m.Open(name)
		must(t, err)
		for i := range whole {
			bit := byte(1) << (i % 8)
			_, err := f.WriteAt([]byte{whole[i] ^ bit}, int64(i))
			must(t, err)
			if damage, _ := found(t, m, "/data/golden-0"); len(damage) == 0 {
				t.Errorf("%s, byte %d, bit %02x: nothing was found", e.Name, i, bit)
			}
			_, err = f.WriteAt(whole[i:i+1], int64(i))
			must(t, err)
		}
		must(t, f.Close())
	}
}

func TestEachKindOfDamageIsNamed(t *testing.T) {
	const dir = "/data/golden-0/"
	first, second, txns := dir+"00000000000000000000", dir+"00000000000000000012", dir+"00000000000000000062"
	edit := func(name string, do func(b []byte) []byte) func(t *testing.T, m *vfs.Mem) {
		return func(t *testing.T, m *vfs.Mem) { must(t, vfs.WriteFile(m, name, do(content(t, m, name)))) }
	}
	remove := func(names ...string) func(t *testing.T, m *vfs.Mem) {
		return func(t *testing.T, m *vfs.Mem) {
			for _, n := range names {
				must(t, m.Remove(n))
			}
		}
	}
	put := func(at int, v uint32) func(b []byte) []byte {
		return func(b []byte) []byte { binary.BigEndian.PutUint32(b[at:], v); return b }
	}
	for _, c := range []struct {
		what string
		hurt func(t *testing.T, m *vfs.Mem)
		file string // in which the damage is found; empty: it is a note
		says string
	}{
		{"a segment lost that had not been flushed", func(t *testing.T, m *vfs.Mem) {
			remove(second+".log", second+".index", second+".timeindex", "/data/.kafka_cleanshutdown")(t, m)
			must(t, vfs.WriteFile(m, "/data/recovery-point-offset-checkpoint", []byte("0\n1\ngolden 0 3\n")))
		}, dir + "00000000000000000024.log", "offset 12 to 23 are missing"},
		{"a cut log", edit(first+".log", func(b []byte) []byte { return b[:700] }), first + ".log", "38 bytes are too few"},
		{"an index entry between batches", edit(first+".index", put(4, 332)), first + ".index", "byte 332, where none does"},
		{"an index entry that points too far", edit(first+".index", put(20, 99999)), first + ".index", "byte 99999"},
		{"an index entry of too low an offset", edit(first+".index", put(8, 7)), first + ".index", "ends at offset 7; it ends at 8"},
		{"a time entry that lies", edit(first+".timeindex", put(4, 7)), first + ".timeindex", "largest timestamp"},
		{"an aborted transaction left out", edit(txns+".txnindex", func(b []byte) []byte { return b[:34] }), txns + ".txnindex",
			"would be shown"},
		{"an aborted transaction made up", edit(txns+".txnindex", put(22, 64)), txns + ".txnindex", "it does not"},
		{"a missing index of aborted transactions", remove(txns + ".txnindex"), txns + ".txnindex", "would be shown"},
		{"a torn checkpoint", edit("/data/recovery-point-offset-checkpoint", func(b []byte) []byte { return b[:7] }),
			"/data/recovery-point-offset-checkpoint", "line"},
		{"a recovery point beyond the end", edit("/data/recovery-point-offset-checkpoint", func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte("73"), []byte("99"))
		}), "/data/recovery-point-offset-checkpoint", "records are missing"},
		{"other epochs", edit(dir+"leader-epoch-checkpoint", func([]byte) []byte { return []byte("0\n2\n0 0\n1 20\n") }),
			dir + "leader-epoch-checkpoint", "epoch 1 wrote offset 21; the batch says 0"},
		{"epochs that are none", edit(dir+"leader-epoch-checkpoint", func([]byte) []byte { return []byte("0\n1\nx y\n") }),
			dir + "leader-epoch-checkpoint", "line 3"},
		{"a topic id that is none", edit(dir+"partition.metadata", func([]byte) []byte { return []byte("hello") }),
			dir + "partition.metadata", "line 1"},
		{"a foreign file", edit(dir+"leader-epoch-checkpoint", func(b []byte) []byte { return b }), "", ""},
		{"a missing index", remove(first + ".index"), "", "is missing"},
	} {
		m := folderOf(t)
		if c.what == "a foreign file" {
			must(t, vfs.WriteFile(m, dir+"notes.txt", []byte("x")))
			c.says = "none of a broker's"
		}
		c.hurt(t, m)
		damage, notes := found(t, m, "/data")
		list, named := damage, c.file
		if c.file == "" {
			if list = notes; len(damage) > 0 {
				t.Errorf("%s is no damage: %+v", c.what, damage)
			}
		}
		if !slices.ContainsFunc(list, func(f Finding) bool {
			return strings.Contains(f.File, named) && strings.Contains(f.What, c.says) && f.Do != ""
		}) {
			t.Errorf("%s: found %+v", c.what, append(damage, notes...))
		}
	}
}

func TestATornEndIsNoDamageAfterACrash(t *testing.T) {
	m := folderOf(t)
	must(t, m.Remove("/data/.kafka_cleanshutdown"))
	must(t, vfs.WriteFile(m, "/data/recovery-point-offset-checkpoint", []byte("0\n1\ngolden 0 62\n")))
	name := "/data/golden-0/00000000000000000062.log"
	b := content(t, m, name)
	must(t, vfs.WriteFile(m, name, b[:len(b)-5]))
	damage, notes := found(t, m, "/data")
	if len(damage) > 0 || !strings.Contains(fmt.Sprint(notes), "torn end") {
		t.Errorf("damage %+v, notes %+v", damage, notes)
	}
	// Below the recovery point it is.
	must(t, vfs.WriteFile(m, "/data/recovery-point-offset-checkpoint", []byte("0\n1\ngolden 0 73\n")))
	if damage, _ := found(t, m, "/data"); len(damage) == 0 {
		t.Error("a cut below the recovery point is taken for a torn end")
	}
}

// FuzzVerify holds that no file can make it panic.
func FuzzVerify(f *testing.F) {
	m := folderOf(f)
	for i, name := range verified {
		f.Add(uint8(i), content(f, m, name))
	}
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		m := folderOf(t)
		must(t, vfs.WriteFile(m, verified[int(which)%len(verified)], b))
		v := &Verifier{FS: m, Report: func(Finding) {}}
		_, _ = v.Verify("/data")
	})
}

var verified = []string{
	"/data/golden-0/00000000000000000062.log", "/data/golden-0/00000000000000000062.index",
	"/data/golden-0/00000000000000000062.timeindex", "/data/golden-0/00000000000000000062.txnindex",
	"/data/golden-0/00000000000000000073.snapshot", "/data/golden-0/leader-epoch-checkpoint",
	"/data/recovery-point-offset-checkpoint", "/data/meta.properties", "/data/golden-0/partition.metadata",
}

// busy is a folder that a broker uses: the first time that an index is opened, it is one of another log, as if both had been
// replaced between the opening of the one and of the other.
type busy struct {
	vfs.FS
	other string
	once  bool
}

func (b *busy) Holder(string) (int, bool) { return 7, true }

func (b *busy) Open(name string) (vfs.File, error) {
	if strings.HasSuffix(name, "00000000000000000012.index") && !b.once {
		b.once = true
		name = b.other
	}
	return b.FS.Open(name)
}

func TestWhatIsReplacedMeanwhileIsLookedAtAgain(t *testing.T) {
	m := folderOf(t)
	other := "/data/golden-0/00000000000000000000.index"
	if damage, notes := found(t, &busy{FS: m, other: other}, "/data"); len(damage)+len(notes) > 0 {
		t.Errorf("found %+v %+v", damage, notes)
	}
	// What stays so is damage, also beside a broker.
	flipAt("00000000000000000012.log", 200)(t, m)
	if damage, _ := found(t, &busy{FS: m, other: other}, "/data"); len(damage) == 0 {
		t.Error("a flipped bit is not found beside a running broker")
	}
}
