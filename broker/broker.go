package broker

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"moldau.io/moldau/cluster"
	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/coordinator"
)

// Broker is one Kafka broker.
type Broker struct {
	log    *slog.Logger
	static *config.Static // what the broker was started with; dynamic values lie over it (config.NewView)

	cfg      Config // empty in tests of the connection loop
	started  time.Time
	locks    locks
	registry *prometheus.Registry
	ready    atomic.Bool

	node        *cluster.Node // nil in tests of the connection loop
	served      *served       // the newest image whose partitions are open here: image, awaitImage
	producerIDs *producerIDs
	groups      *coordinator.Groups

	handlers map[int16]handler

	loggers *loggers // the log level, which clients may change
	server  *server
	firsts  firsts
	buffers buffers
	budget  *budget
	metrics *metrics
}

// newBroker is a broker without data: it can speak the protocol, and that is all.
func newBroker(st *config.Static, log *slog.Logger) *Broker {
	lim := newLimits(st)
	b := &Broker{
		log: log, static: st, handlers: handlers, budget: newBudget(lim.requestBytes), metrics: newMetrics(),
		served: newServed(), producerIDs: newProducerIDs(),
		loggers: &loggers{level: new(slog.LevelVar)},
	}
	b.groups = newGroups(b, log)
	b.server = newServer(b, lim)
	return b
}
