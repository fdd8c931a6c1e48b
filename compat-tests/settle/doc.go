// Package settle measures how groups come to rest: 500 members that join one group while 2,000 groups of two form beside
// it, on moldau and on Apache Kafka in the same run. The members speak the protocol and nothing else, since so many
// clients would not fit on one machine.
package settle
