// Package batch is record batches of magic 2 as views over bytes: splitting, checking, stamping, walking, building. It
// leaves offsets, producer state and files to others.
//
//	 0        8     12       16   17   21    23        27          35          43         51     53       57      61
//	+--------+-----+--------+----+----+-----+---------+-----------+-----------+----------+------+--------+-------+---
//	| base   | len | leader |mag-| CRC|attri|last off-| base time-| max time- | producer | pro- | base   | count | re-
//	| offset |     | epoch  | ic |    |butes| set delt| stamp     | stamp     | id       | ducer| sequen-|       | co-
//	|        |     |        |    |    |     |         |           |           |          | epoch| ce     |       | rds
//	+--------+-----+--------+----+----+-----+---------+-----------+-----------+----------+------+--------+-------+---
//
// All integers are big endian. len counts from the leader epoch on. The CRC-32C covers everything from the attributes to
// the end, so that a leader can write the base offset and its epoch without touching it. The record layout is drawn at
// Record.
//
// Invariant: no input makes it panic, and a Batch that Next returned is long enough for all of its views.
package batch
