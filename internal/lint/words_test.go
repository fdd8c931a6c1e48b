package lint

import (
	"go/ast"
	"regexp"
	"strings"
	"testing"
)

// unfinished are words that say that something is still to be done. An issue is the place for them.
var unfinished = regexp.MustCompile(`\b(TO` + `DO|FIX` + `ME|XX` + `X|HA` + `CK)\b`)

func TestNothingIsLeftForLater(t *testing.T) {
	for _, s := range load(t).files {
		for i, line := range strings.Split(s.text, "\n") {
			if w := unfinished.FindString(line); w != "" {
				t.Errorf("%s:%d: %s: finish it, or write an issue", s.path, i+1, w)
			}
		}
	}
}

// notInTests says what a test must do in place of a call, by method or function name.
var notInTests = map[string]string{
	"Skip": "a test that does not run proves nothing", "Skipf": "a test that does not run proves nothing",
	"SkipNow": "a test that does not run proves nothing",
}

// TestTestsWaitForConditions: a sleep is either too short on a busy machine or too long on every other. Only a loop that
// looks at its condition again after each sleep may have one.
func TestTestsWaitForConditions(t *testing.T) {
	p := load(t)
	for _, s := range p.files {
		if !s.test {
			continue
		}
		var around []ast.Node
		ast.Inspect(s.file, func(n ast.Node) bool {
			if n == nil {
				around = around[:len(around)-1]
				return true
			}
			around = append(around, n)
			c, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			pkg, name, ok := packageCall(c)
			switch {
			case ok && pkg == "time" && name == "Sleep" && !inConditionLoop(around) && sleepers[s.path] == "":
				t.Errorf("%s: time.Sleep: wait for a condition", p.fset.Position(c.Pos()))
			case notInTests[methodOf(c)] != "":
				t.Errorf("%s: %s: %s", p.fset.Position(c.Pos()), methodOf(c), notInTests[methodOf(c)])
			}
			return true
		})
	}
}

// methodOf is the method's name in a call on t or b, else empty.
func methodOf(c *ast.CallExpr) string {
	sel, ok := c.Fun.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	if x, ok := sel.X.(*ast.Ident); ok && (x.Name == "t" || x.Name == "b" || x.Name == "tb") {
		return sel.Sel.Name
	}
	return ""
}

func inConditionLoop(around []ast.Node) bool {
	for i := len(around) - 1; i >= 0; i-- {
		switch n := around[i].(type) {
		case *ast.ForStmt:
			return n.Cond != nil
		case *ast.FuncLit, *ast.FuncDecl, *ast.RangeStmt:
			return false
		}
	}
	return false
}

// sleepers are test files in which real time must pass, each with its reason.
var sleepers = map[string]string{
	"bench/quick/loads_test.go": "a load of so many messages a second is paced by the clock",
}
