package config

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var quoted = regexp.MustCompile(`"([a-z0-9._]+)"`)

// keysInSources are the broker keys that the program names somewhere outside of this package: directly, or through a topic
// key that they are the default of.
func keysInSources(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel("../..", path)
		if d.IsDir() {
			switch strings.Split(rel, string(filepath.Separator))[0] {
			case "bench", "compat-tests", "internal", ".git", ".cache", "docs":
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		if strings.HasPrefix(rel, "cluster/config/") && filepath.Base(path) != "listeners.go" && filepath.Base(path) != "supported.go" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range quoted.FindAllStringSubmatch(string(text), -1) {
			if _, ok := Broker(m[1]); ok {
				found[m[1]] = true
			}
			if k, ok := Topic(m[1]); ok {
				for _, s := range k.Synonyms {
					found[s] = true
				}
			}
			if k, ok := Group(m[1]); ok {
				for _, s := range k.Synonyms {
					found[s] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// TestKeysWithEffectAreThoseThatAreRead keeps the start from calling a key useless that works, and from being silent about
// one that does nothing.
func TestKeysWithEffectAreThoseThatAreRead(t *testing.T) {
	read := keysInSources(t)
	for _, key := range slices.Sorted(maps.Keys(effective)) {
		if !read[key] {
			t.Errorf("%s is said to have an effect, and nothing reads it", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(read)) {
		if !effective[key] {
			t.Errorf("%s is read, and said to have no effect", key)
		}
	}
}
