package lint

import (
	"go/ast"
	"slices"
	"testing"
)

// cores are the packages that decide: time and events go in, effects come out. The same input must give the same output,
// in production and in a simulation of it.
var cores = []string{
	"cluster/adopt", "cluster/config", "cluster/meta", "cluster/replica", "coordinator/group", "coordinator/group/assignor", "coordinator/txn", "storage/compact",
	"storage/epoch", "storage/producers",
}

// notInCores says what a core must do in place of an import.
var notInCores = map[string]string{
	"os":          "cores open no files; they are given bytes",
	"net":         "cores open no sockets",
	"net/http":    "cores open no sockets",
	"sync":        "cores are used by one goroutine at a time",
	"context":     "cores do not wait",
	"log/slog":    "cores do not log; they return what happened",
	"log":         "cores do not log; they return what happened",
	"crypto/rand": "cores are given a generator",
}

// callsNotInCores says the same of calls, by package and function.
var callsNotInCores = map[string]map[string]string{
	"time": {
		"Now": "cores are told the time", "Since": "cores are told the time", "Until": "cores are told the time",
		"After": "cores say when they are due", "AfterFunc": "cores say when they are due", "Sleep": "cores do not wait",
		"NewTimer": "cores say when they are due", "NewTicker": "cores say when they are due", "Tick": "cores say when they are due",
	},
	"rand": {
		"Int": "", "IntN": "", "Int64": "", "Int64N": "", "Int32": "", "Int32N": "", "Uint32": "", "Uint64": "", "N": "",
		"Float64": "", "Perm": "", "Shuffle": "",
	},
}

func TestCoresAreDeterministic(t *testing.T) {
	p := load(t)
	for _, s := range p.files {
		if s.test || !slices.Contains(cores, s.pkg) {
			continue
		}
		for _, imp := range s.imports {
			if why, bad := notInCores[imp]; bad {
				t.Errorf("%s imports %s: %s", s.path, imp, why)
			}
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.GoStmt:
				t.Errorf("%s: go statement: cores start no goroutines", p.fset.Position(n.Pos()))
			case *ast.CallExpr:
				if pkg, name, ok := packageCall(n); ok {
					if why, bad := callsNotInCores[pkg][name]; bad {
						if why == "" {
							why = "cores are given a generator"
						}
						t.Errorf("%s: %s.%s: %s", p.fset.Position(n.Pos()), pkg, name, why)
					}
				}
			}
			return true
		})
	}
}

// packageCall splits a call of the form pkg.Name(...). A local variable called like the package is taken for it, which has
// not happened yet.
func packageCall(c *ast.CallExpr) (pkg, name string, ok bool) {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", "", false
	}
	id, ok := sel.X.(*ast.Ident)
	if !ok || id.Obj != nil {
		return "", "", false
	}
	return id.Name, sel.Sel.Name, true
}
