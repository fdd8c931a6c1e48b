package broker

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
)

// newRegistry holds what is known of the process, and what the broker counts.
func newRegistry(b *Broker) *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		collectors.NewGoCollector(),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "moldau_build_info",
			Help:        "Always 1; the labels say which build is running.",
			ConstLabels: prometheus.Labels{"version": b.cfg.Version, "go": runtime.Version()},
		}, func() float64 { return 1 }),
	)
	r.MustRegister(collector{b})
	for _, a := range b.metrics.apis {
		r.MustRegister(a.latency)
	}
	return r
}
