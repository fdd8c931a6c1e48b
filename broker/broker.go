package broker

import (
	"log/slog"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"moldau.io/moldau/cluster"
	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/replica"
	"moldau.io/moldau/coordinator"
	"moldau.io/moldau/storage"
)

// Broker is one Kafka broker.
type Broker struct {
	log    *slog.Logger
	static *config.Static // what the broker was started with; dynamic values lie over it (config.NewView)

	cfg      Config // empty in tests of the connection loop
	started  time.Time
	registry *prometheus.Registry
	ready    atomic.Bool
	readied  chan struct{} // closed when ready has become true

	address     *cluster.Address // of this broker, for others; nil: none
	node        *cluster.Node    // nil in tests of the connection loop
	served      *served          // the newest image whose partitions are open here: image, awaitImage
	producerIDs *producerIDs
	groups      *coordinator.Groups
	lag         *groupLag // nil in tests of the connection loop

	allowsConsumerGroups bool // by group.coordinator.rebalance.protocols

	fromKafka  bool           // the data folder was Apache Kafka's, and may be again
	orderly    bool           // whoever used the data folders before ended in order
	adopted    *adoption      // what this start took over from Apache Kafka's metadata; nil for nothing
	store      *storage.Store // nil in tests of the connection loop
	partitions *partitions

	metadataDir string        // holds the folder of the metadata log
	troubled    chan struct{} // has a token after a log or a folder has gone offline
	fatal       chan error    // why Serve must return; holds one

	sessions *sessions

	handlers      map[int16]handler
	fetchMaxBytes int32 // fetch.max.bytes

	produces, fetches, replicaFetches sync.Pool // of *produce, *fetch and *replicaFetch

	replication     replica.Config
	replicaSessions *replicaSessions
	fetchers        *fetchers // nil in tests of the connection loop
	inSync          *inSync

	leaderRate, followerRate replicationRate

	ticks          chan struct{} // has a token where the leaders' cores are to be looked at soon
	followersServe bool          // consumers may be sent to followers, who must hear of the high watermark at once

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
		readied: make(chan struct{}), troubled: make(chan struct{}, 1), fatal: make(chan error, 1),
		served: newServed(), producerIDs: newProducerIDs(),
		replication:     replica.Config{LagTime: st.Millis("replica.lag.time.max.ms")},
		replicaSessions: &replicaSessions{byID: map[int32]*replicaSession{}},
		ticks:           make(chan struct{}, 1),
		loggers:         &loggers{level: new(slog.LevelVar)},
		sessions:        newSessions(int(st.Int("max.incremental.fetch.session.cache.slots"))),
		fetchMaxBytes:   int32(st.Int("fetch.max.bytes")),
	}
	b.inSync = newInSync(b)
	b.leaderRate.set(math.MaxInt64)
	b.followerRate.set(math.MaxInt64)
	selector, _ := st.Get("replica.selector.class")
	b.followersServe = selector == rackAware
	b.groups = newGroups(b, log)
	b.server = newServer(b, lim)
	return b
}
