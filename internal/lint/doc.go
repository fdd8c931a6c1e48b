// Package lint holds the rules of this project that a compiler does not know: who may import whom, what a deterministic
// core may not call, how long a file may be. They are tests, so that `go test ./...` keeps them; there is nothing else in
// here.
package lint
