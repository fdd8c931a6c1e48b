// Package inspect looks into data folders from outside: it walks log files batch by batch, reads the files beside them,
// says what does not fit together, and puts damaged folders in order. It takes what it finds apart by itself, so that it
// can look at folders that a Store would refuse, and at folders that a running broker writes to. It leaves printing to
// its callers.
//
// Invariant: except for Repair nothing here writes, locks or removes anything, and no bytes make it panic or take more
// memory than one batch needs.
package inspect
