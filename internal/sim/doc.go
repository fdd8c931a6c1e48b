// Package sim runs a world of several machines in one goroutine: virtual time, events in the order of a seeded generator,
// connections that keep their order and break, disks that lose what was not synced. It is for tests of cores, which are
// told the time and what has arrived. It knows nothing of what the machines do.
//
// Invariant: two runs with one seed are the same run. What is drawn for one purpose does not shift what is drawn for
// another, and Hash says whether two runs were the same.
package sim
