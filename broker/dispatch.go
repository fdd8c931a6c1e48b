package broker

// A handler starts the work of one request. It runs on the connection's reading goroutine, so what it does before it
// returns happens in request order; it answers by exactly one call of r.Reply, r.ReplyRaw, r.NoReply or r.Hangup, now or
// later, from any goroutine.
type handler func(b *Broker, r *request)

// handlers has one row for each row of protocol.APIs; a test holds the two equal.
var handlers = map[int16]handler{}
