package assignor

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var changes = regexp.MustCompile(`([-+*])(-?\d+)`)

// TestJavaTables makes the changes to a table that Java made to a map, in the file that compat-tests/groupmath wrote or
// another that MOLDAU_TABLES names, and walks through it. The lines are described there, in Tables.java.
func TestJavaTables(t *testing.T) {
	tables, trees := 0, 0
	for _, line := range goldenLines(t, "MOLDAU_TABLES", "testdata/java-tables.gz") {
		f := strings.Fields(line)
		capacity, sharing := number(t, f[0]), number(t, f[1])
		table := newTable[int32](capacity)
		table.compare = cmp.Compare[int32]
		for _, change := range changes.FindAllStringSubmatch(f[2], -1) {
			n := number(t, change[2])
			key, hash := int32(n), uint32(n/sharing)
			switch change[1] {
			case "+":
				table.put(key, hash)
			case "-":
				table.remove(key, hash)
			case "*":
				table.touch()
				if table.find(key, hash) == none {
					table.putFirst(key, hash)
				}
			}
		}
		var keys []string
		for _, key := range table.keys(nil) {
			keys = append(keys, fmt.Sprint(key))
		}
		got := strings.Join(keys, ",")
		if got == "" {
			got = "-"
		}
		if got != f[3] {
			t.Errorf("%s %s %s: %s, with Java %s", f[0], f[1], f[2], got, f[3])
		}
		if tables++; len(table.branches) > 0 {
			trees++
		}
	}
	if tables < 200 || trees < 40 {
		t.Errorf("only %d tables, %d with trees", tables, trees)
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}
