package main

import (
	"fmt"
	"go/ast"
	"go/token"
	"log"
	"math"
	"strconv"
	"strings"
)

// generator turns decoders into Go literals of protocol's skim types.
type generator struct {
	decoders map[string][]ast.Stmt
	structs  []string
	rows     []string
}

// field is one value on the wire.
type field struct {
	kind     string
	from, to int    // versions that have it
	null     int    // the first version in which it may be null; never if it is above every version
	bytes    int    // of a fixed value
	elem     string // variable of the struct inside
	size     string // expression: memory of an array's element
	name     string
}

const (
	never    = math.MaxInt16
	forever  = math.MaxInt16
	unnested = ""
)

// fixedBytes is what kbin's methods for values of a fixed size take.
var fixedBytes = map[string]int{
	"Bool": 1, "Int8": 1, "Int16": 2, "Uint16": 2, "Int32": 4, "Uint32": 4, "Int64": 8, "Float64": 8, "Uuid": 16,
}

func variable(typeName string) string { return "&skim" + typeName }

func (g *generator) request(name string) {
	body, ok := g.decoders[name]
	if !ok {
		log.Fatalf("kmsg has no decoder for %s", name)
	}
	g.layout(name, body)
}

// layout writes the struct of a list of statements that decode fields one after the other.
func (g *generator) layout(name string, stmts []ast.Stmt) {
	var fields, tags []string
	var run *field // fixed values of the same versions are skipped in one step
	flush := func() {
		if run != nil {
			fields = append(fields, run.literal())
			run = nil
		}
	}
	for _, s := range stmts {
		if cond, ok := s.(*ast.IfStmt); ok && isIdent(cond.Cond, "isFlexible") {
			tags = g.tags(name, cond.Body.List)
			continue
		}
		block, from, to := versions(s)
		if block == nil {
			continue
		}
		f := g.value(name, block.List)
		f.from, f.to = from, to
		if f.kind == "skimFixed" && run != nil && run.from == from && run.to == to {
			run.bytes += f.bytes
			run.name += ", " + f.name
			continue
		}
		flush()
		if f.kind == "skimFixed" {
			run = &f
		} else {
			fields = append(fields, f.literal())
		}
	}
	flush()
	var b strings.Builder
	fmt.Fprintf(&b, "var skim%s = skimStruct{\n", name)
	if len(fields) > 0 {
		fmt.Fprintf(&b, "\tfields: []skimField{\n%s\t},\n", strings.Join(fields, ""))
	}
	if len(tags) > 0 {
		fmt.Fprintf(&b, "\ttags: []skimTag{\n%s\t},\n", strings.Join(tags, ""))
	}
	b.WriteString("}\n\n")
	g.structs = append(g.structs, b.String())
}

// versions recognises the statement around one field: a bare block, or an if on the version.
func versions(s ast.Stmt) (block *ast.BlockStmt, from, to int) {
	switch s := s.(type) {
	case *ast.BlockStmt:
		return s, 0, forever
	case *ast.IfStmt:
		from, to = 0, forever
		ok := comparisons(s.Cond, func(op token.Token, v int) {
			switch op {
			case token.GEQ:
				from = v
			case token.LEQ:
				to = v
			default:
				log.Fatalf("unknown comparison of the version: %v", op)
			}
		})
		if ok {
			return s.Body, from, to
		}
	}
	return nil, 0, 0
}

// comparisons calls f for each "version OP n" of a conjunction. It returns false where there is none.
func comparisons(e ast.Expr, f func(op token.Token, v int)) bool {
	b, ok := e.(*ast.BinaryExpr)
	if !ok {
		return false
	}
	if b.Op == token.LAND {
		l, r := comparisons(b.X, f), comparisons(b.Y, f)
		return l || r
	}
	if !isIdent(b.X, "version") {
		return false
	}
	f(b.Op, number(b.Y))
	return true
}

// value recognises the statements that decode one value.
func (g *generator) value(parent string, stmts []ast.Stmt) field {
	f := field{null: never, name: target(stmts)}
	switch first := stmts[0].(type) {
	case *ast.IfStmt: // if present := b.Int8(); present != -1
		if first.Init == nil {
			break
		}
		f.kind, f.name = "skimOptional", target(first.Body.List)
		elem := argument(first.Body.List, "new")
		g.layout(elem, first.Body.List)
		f.elem, f.size = variable(elem), sizeOf(elem)
		return f
	case *ast.AssignStmt: // v := &s.ReplicaState
		if ref, ok := first.Rhs[0].(*ast.UnaryExpr); ok && ref.Op == token.AND {
			f.kind, f.name = "skimInline", ref.X.(*ast.SelectorExpr).Sel.Name
			elem := parent + f.name
			g.layout(elem, stmts)
			f.elem = variable(elem)
			return f
		}
	}
	for _, s := range stmts {
		if loop, ok := s.(*ast.ForStmt); ok {
			return g.array(f, stmts, loop)
		}
	}
	g.scalar(&f, stmts)
	return f
}

func (g *generator) array(f field, stmts []ast.Stmt, loop *ast.ForStmt) field {
	elem := argument(stmts, "make")
	f.size = sizeOf(elem)
	ast.Inspect(&ast.BlockStmt{List: stmts}, func(n ast.Node) bool {
		if n == loop {
			return false
		}
		if or, ok := n.(*ast.BinaryExpr); ok && or.Op == token.LOR { // version < 1 || l == 0
			f.null = number(or.X.(*ast.BinaryExpr).Y)
		}
		return true
	})
	if a, ok := loop.Body.List[0].(*ast.AssignStmt); ok {
		if _, ok := a.Rhs[0].(*ast.UnaryExpr); ok { // v := &a[i]
			g.layout(elem, loop.Body.List)
			f.kind, f.elem = "skimArray", variable(elem)
			return f
		}
	}
	var inner field
	g.scalar(&inner, loop.Body.List)
	switch inner.kind {
	case "skimFixed":
		f.kind, f.bytes = "skimFixedArray", inner.bytes
	case "skimString":
		f.kind = "skimStringArray"
	default:
		log.Fatalf("an array of %s", inner.kind)
	}
	return f
}

// scalar recognises a value without parts by the method of kbin that reads it.
func (g *generator) scalar(f *field, stmts []ast.Stmt) {
	nullable := false
	ast.Inspect(&ast.BlockStmt{List: stmts}, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.IfStmt: // if version < 10 { not nullable } else { nullable }
			if b, ok := n.Cond.(*ast.BinaryExpr); ok && b.Op == token.LSS && isIdent(b.X, "version") {
				f.null = number(b.Y)
			}
		case *ast.CallExpr:
			sel, ok := n.Fun.(*ast.SelectorExpr)
			if !ok || !isIdent(sel.X, "b") {
				return true
			}
			method := sel.Sel.Name
			nullable = nullable || strings.Contains(method, "Nullable")
			switch {
			case fixedBytes[method] > 0:
				f.kind, f.bytes = "skimFixed", fixedBytes[method]
			case strings.HasSuffix(method, "String"):
				f.kind = "skimString"
			case strings.HasSuffix(method, "Bytes"):
				f.kind = "skimBytes"
			default:
				log.Fatalf("unknown method of kbin: %s", method)
			}
		}
		return true
	})
	if nullable && f.null == never {
		f.null = 0
	}
	if f.kind == "" {
		log.Fatal("a field without a method of kbin")
	}
}

// tags recognises the known tagged fields of a struct.
func (g *generator) tags(parent string, stmts []ast.Stmt) (tags []string) {
	for _, s := range stmts {
		loop, ok := s.(*ast.ForStmt)
		if !ok {
			continue
		}
		for _, c := range loop.Body.List[0].(*ast.SwitchStmt).Body.List {
			clause := c.(*ast.CaseClause)
			if clause.List == nil {
				continue
			}
			f := g.value(parent, clause.Body[1:len(clause.Body)-1]) // between making the reader and asking it for errors
			f.to = forever
			tags = append(tags, fmt.Sprintf("{key: %d, field: skimField%s},%s\n", number(clause.List[0]), f.braces(), f.comment()))
		}
	}
	return tags
}

func (f *field) literal() string { return f.braces() + "," + f.comment() + "\n" }

func (f *field) comment() string {
	if f.name == unnested {
		return ""
	}
	return " /* " + f.name + " */"
}

func (f *field) braces() string {
	var b strings.Builder
	fmt.Fprintf(&b, "{kind: %s, from: %s, to: %s", f.kind, version(f.from), version(f.to))
	if f.kind != "skimFixed" && f.kind != "skimInline" && f.kind != "skimOptional" {
		fmt.Fprintf(&b, ", null: %s", version(f.null))
	}
	if f.bytes > 0 {
		fmt.Fprintf(&b, ", bytes: %d", f.bytes)
	}
	if f.elem != "" {
		fmt.Fprintf(&b, ", elem: %s", f.elem)
	}
	if f.size != "" {
		fmt.Fprintf(&b, ", size: %s", f.size)
	}
	b.WriteString("}")
	return b.String()
}

func version(v int) string {
	if v == never {
		return "skimNever"
	}
	return strconv.Itoa(v)
}

func sizeOf(typeName string) string {
	switch typeName {
	case "string":
		return `int(unsafe.Sizeof(""))`
	case "bool", "int8", "int16", "int32", "int64":
		return fmt.Sprintf("int(unsafe.Sizeof(%s(0)))", typeName)
	case "[16]byte":
		return "16"
	}
	return fmt.Sprintf("int(unsafe.Sizeof(kmsg.%s{}))", typeName)
}

// argument is the type in the first call of make or new.
func argument(stmts []ast.Stmt, fun string) (name string) {
	ast.Inspect(&ast.BlockStmt{List: stmts}, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || name != "" || !isIdent(call.Fun, fun) {
			return name == ""
		}
		t := call.Args[0]
		if a, ok := t.(*ast.ArrayType); ok && a.Len == nil {
			t = a.Elt
		}
		switch t := t.(type) {
		case *ast.Ident:
			name = t.Name
		case *ast.ArrayType:
			name = "[" + t.Len.(*ast.BasicLit).Value + "]byte"
		}
		return false
	})
	if name == "" {
		log.Fatalf("no %s in a block that should have one", fun)
	}
	return name
}

// target is the name of the field that the statements set: the last "s.Name = v".
func target(stmts []ast.Stmt) (name string) {
	for _, s := range stmts {
		if a, ok := s.(*ast.AssignStmt); ok {
			if sel, ok := a.Lhs[0].(*ast.SelectorExpr); ok && isIdent(sel.X, "s") {
				name = sel.Sel.Name
			}
		}
	}
	return name
}

func isIdent(e ast.Expr, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

func number(e ast.Expr) int {
	n, err := strconv.Atoi(e.(*ast.BasicLit).Value)
	if err != nil {
		log.Fatal(err)
	}
	return n
}
