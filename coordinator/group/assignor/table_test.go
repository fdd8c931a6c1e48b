package assignor

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var changes = regexp.MustCompile(`([-+*])(\d+)`)

// TestJavaTables makes the changes to a table that Java made to a map, in the file that compat-tests/groupmath wrote or
// another that MOLDAU_TABLES names, and walks through it. The lines are described there, in Tables.java.
func TestJavaTables(t *testing.T) {
	tables, trees := 0, 0
	for _, line := range goldenLines(t, "MOLDAU_TABLES", "testdata/java-tables.gz") {
		f := strings.Fields(line)
		capacity, err := strconv.Atoi(f[0])
		if err != nil {
			t.Fatal(err)
		}
		table := newTable[int32](capacity)
		for _, change := range changes.FindAllStringSubmatch(f[1], -1) {
			n, err := strconv.Atoi(change[2])
			if err != nil {
				t.Fatal(err)
			}
			key, hash := int32(n), uint32(n)
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
		if got != f[2] {
			t.Errorf("%s %s: %s, with Java %s", f[0], f[1], got, f[2])
		}
		if tables++; len(table.branches) > 0 {
			trees++
		}
	}
	if tables < 200 || trees < 40 {
		t.Errorf("only %d tables, %d with trees", tables, trees)
	}
}
