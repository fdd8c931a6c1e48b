//go:build !invariants

package invariant

// Costly says whether checks that cost more than a comparison are to be made.
const Costly = false
