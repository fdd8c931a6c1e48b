package lint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const module = "moldau.io/moldau"

// source is one Go file of the project, parsed. Files are read from the tree and not asked of the go command, so that those
// behind build tags are judged too.
type source struct {
	path    string // from the root of the project, with slashes
	pkg     string // its folder
	test    bool
	text    string
	file    *ast.File
	imports []string
}

var tree = sync.OnceValues(func() (parsed, error) {
	root, err := findRoot()
	if err != nil {
		return parsed{}, err
	}
	p := parsed{fset: token.NewFileSet()}
	err = filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		base := d.Name()
		if d.IsDir() {
			if name != root && (strings.HasPrefix(base, ".") || base == "node_modules" || base == "testdata" || base == "vendor") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(base, ".go") {
			return nil
		}
		return p.add(root, name)
	})
	return p, err
})

type parsed struct {
	fset  *token.FileSet
	files []source
}

func (p *parsed) add(root, name string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	rel, err := filepath.Rel(root, name)
	if err != nil {
		return err
	}
	rel = filepath.ToSlash(rel)
	f, err := parser.ParseFile(p.fset, rel, text, parser.ParseComments)
	if err != nil {
		return err
	}
	s := source{path: rel, pkg: path.Dir(rel), test: strings.HasSuffix(rel, "_test.go"), text: string(text), file: f}
	for _, i := range f.Imports {
		v, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return err
		}
		s.imports = append(s.imports, v)
	}
	p.files = append(p.files, s)
	return nil
}

func findRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		if up := filepath.Dir(dir); up != dir {
			dir = up
			continue
		}
		err = fs.ErrNotExist
	}
	return "", err
}

func load(t *testing.T) parsed {
	t.Helper()
	p, err := tree()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// under says whether pkg is pattern or, where that ends in "/...", in it.
func under(pkg, pattern string) bool {
	base, deep := strings.CutSuffix(pattern, "/...")
	return pkg == base || deep && strings.HasPrefix(pkg, base+"/")
}

func anyUnder(pkg string, patterns []string) bool {
	for _, p := range patterns {
		if under(pkg, p) {
			return true
		}
	}
	return false
}
