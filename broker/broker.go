package broker

import (
	"log/slog"

	"moldau.io/moldau/cluster/config"
)

// Broker is one Kafka broker.
type Broker struct {
	log    *slog.Logger
	static *config.Static // what the broker was started with; dynamic values lie over it (config.NewView)

	handlers map[int16]handler

	server  *server
	firsts  firsts
	buffers buffers
	budget  *budget
	metrics *metrics
}

// newBroker is a broker without data: it can speak the protocol, and that is all.
func newBroker(st *config.Static, log *slog.Logger) *Broker {
	lim := newLimits(st)
	b := &Broker{log: log, static: st, handlers: handlers, budget: newBudget(lim.requestBytes), metrics: newMetrics()}
	b.server = newServer(b, lim)
	return b
}
