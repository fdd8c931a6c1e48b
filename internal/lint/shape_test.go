package lint

import (
	"go/ast"
	"go/format"
	"path"
	"strings"
	"testing"
)

const (
	fileLinesMax     = 600
	functionLinesMax = 80
)

// longFiles and longFunctions are the exceptions, each with its reason.
var (
	longFiles     = map[string]string{"protocol/skim_table.go": "it is one generated table"}
	longFunctions = map[string]string{}
)

func TestFilesAndFunctionsAreShort(t *testing.T) {
	p := load(t)
	usedFiles, usedFunctions := map[string]bool{}, map[string]bool{}
	for _, s := range p.files {
		if s.test {
			continue
		}
		if lines := strings.Count(s.text, "\n"); lines > fileLinesMax {
			usedFiles[s.path] = true
			if longFiles[s.path] == "" {
				t.Errorf("%s has %d lines, more than %d: it holds more than one thing", s.path, lines, fileLinesMax)
			}
		}
		for _, d := range s.file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Body == nil {
				continue
			}
			lines := p.fset.Position(f.End()).Line - p.fset.Position(f.Pos()).Line + 1
			if lines <= functionLinesMax {
				continue
			}
			name := s.pkg + "." + f.Name.Name
			usedFunctions[name] = true
			if longFunctions[name] == "" {
				t.Errorf("%s: %s has %d lines, more than %d: let ifs rise to the caller and loops sink into helpers",
					p.fset.Position(f.Pos()), f.Name.Name, lines, functionLinesMax)
			}
		}
	}
	for name := range longFiles {
		if !usedFiles[name] {
			t.Errorf("%s is no exception any more: take it out of longFiles", name)
		}
	}
	for name := range longFunctions {
		if !usedFunctions[name] {
			t.Errorf("%s is no exception any more: take it out of longFunctions", name)
		}
	}
}

func TestEverythingIsFormatted(t *testing.T) {
	for _, s := range load(t).files {
		formatted, err := format.Source([]byte(s.text))
		if err != nil || string(formatted) != s.text {
			t.Errorf("%s is not as gofmt writes it: %v", s.path, err)
		}
	}
}

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	comments, packages := map[string]string{}, map[string]string{}
	for _, s := range load(t).files {
		if s.test {
			continue
		}
		packages[s.pkg] = s.file.Name.Name
		if s.file.Doc != nil {
			if comments[s.pkg] != "" {
				t.Errorf("%s: the package's comment is in another file already", s.path)
			}
			comments[s.pkg] = s.file.Doc.Text()
		}
	}
	for pkg, name := range packages {
		want := "Package " + name + " "
		if name == "main" {
			want = "Command " + path.Base(pkg) + " "
		}
		if !strings.HasPrefix(comments[pkg], want) {
			t.Errorf("package %s has no comment that begins with %q", pkg, want)
		}
	}
}

func TestThereIsNoInit(t *testing.T) {
	p := load(t)
	for _, s := range p.files {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: init runs behind everybody's back; let main or a constructor call it", p.fset.Position(f.Pos()))
			}
		}
	}
}
