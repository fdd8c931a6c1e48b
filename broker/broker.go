package broker

import (
	"log/slog"

	"moldau.io/moldau/cluster/config"
)

// Broker is one Kafka broker.
type Broker struct {
	log    *slog.Logger
	static *config.Static // what the broker was started with; dynamic values lie over it (config.NewView)

	server  *server
	firsts  firsts
	buffers buffers
	budget  *budget
	metrics *metrics
}
