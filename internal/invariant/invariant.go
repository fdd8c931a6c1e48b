// Package invariant states what must hold. A broken invariant is a fault of ours, so it panics; it is never used on what
// came from outside. Cheap conditions are always checked; costly ones are guarded by Costly, which the build tag
// "invariants" sets.
//
// Invariant of this package: a condition that holds has no effect.
package invariant

import "fmt"

// That panics with the message unless ok. Arguments should be at hand: they are evaluated even if ok.
func That(ok bool, format string, args ...any) {
	if !ok {
		fail(format, args)
	}
}

//go:noinline
func fail(format string, args []any) { panic("invariant broken: " + fmt.Sprintf(format, args...)) }
