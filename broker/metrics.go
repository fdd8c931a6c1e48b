package broker

import (
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

// latencyBuckets are in seconds: fine where an answer from memory lies, coarse where waiting does.
var latencyBuckets = []float64{.0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// counter is a count that costs one atomic addition and is read at scrape.
type counter struct{ n atomic.Uint64 }

func (c *counter) Inc()         { c.n.Add(1) }
func (c *counter) Add(n uint64) { c.n.Add(n) }
func (c *counter) load() uint64 { return c.n.Load() }

// metrics is what the broker counts. The way of a request touches only atomics; everything that must be looked for is
// collected at scrape (collector.go).
type metrics struct {
	bytesIn, bytesOut      counter
	recordsIn              counter
	recordBytesIn          counter
	recordBytesOut         counter
	panics                 counter
	refused                counter
	connectionsRefused     counter
	closedIdle, closedSlow counter
	closedReader           counter

	unknownAPI *apiStats
	apis       map[int16]*apiStats // fixed once made
}

// apiStats is what is counted for one API.
type apiStats struct {
	key     int16
	name    string
	latency prometheus.Histogram

	mu     sync.Mutex
	errors map[protocol.Code]uint64
}

func newMetrics() *metrics {
	m := &metrics{apis: map[int16]*apiStats{}, unknownAPI: newAPIStats(-1, "unknown")}
	for _, a := range protocol.APIs() {
		m.apis[a.Key] = newAPIStats(a.Key, a.Name)
	}
	return m
}

func newAPIStats(key int16, name string) *apiStats {
	return &apiStats{key: key, name: name, errors: map[protocol.Code]uint64{}, latency: prometheus.NewHistogram(
		prometheus.HistogramOpts{
			Name:        "moldau_request_seconds",
			Help:        "Time from a request's last byte to its answer's, by API.",
			Buckets:     latencyBuckets,
			ConstLabels: prometheus.Labels{"api": name},
		})}
}

func (m *metrics) api(key int16) *apiStats {
	if s, ok := m.apis[key]; ok {
		return s
	}
	return m.unknownAPI
}

func (m *metrics) overdue(reason string) {
	switch reason {
	case overdueFrame:
		m.closedSlow.Inc()
	case overdueSend:
		m.closedReader.Inc()
	default:
		m.closedIdle.Inc()
	}
}

// answered counts a request that is done.
func (s *apiStats) answered(took time.Duration) { s.latency.Observe(took.Seconds()) }

// note counts an error that a client is about to see. The first of a kind is logged.
func (s *apiStats) note(r *request, code protocol.Code, text string) {
	if code == protocol.None {
		return
	}
	s.mu.Lock()
	s.errors[code]++
	s.mu.Unlock()
	if code == protocol.MemberIDRequired || code == protocol.RebalanceInProgress {
		return // steps on the way into a group
	}
	b := r.conn.b
	b.firsts.warn(b.log, "error "+strconv.Itoa(int(s.key))+" "+strconv.Itoa(int(code)), "a client is sent an error",
		"api", s.name, "version", r.header.Version, "code", code.Error(), "text", text,
		"client", r.client(), "address", r.conn.remote)
}

// noteErrors counts every error code in an answer.
func (s *apiStats) noteErrors(r *request, resp kmsg.Response) {
	walkErrors(reflect.ValueOf(resp).Elem(), func(code int16, text *string) {
		if code != 0 {
			t := ""
			if text != nil {
				t = *text
			}
			s.note(r, protocol.Code(code), t)
		}
	})
}

// walkErrors calls f for each field ErrorCode in v and in the slices of structs below it, with the ErrorMessage beside it.
func walkErrors(v reflect.Value, f func(code int16, text *string)) {
	t := v.Type()
	for i := range t.NumField() {
		field := t.Field(i)
		switch {
		case field.Name == "ErrorCode" && field.Type.Kind() == reflect.Int16:
			var text *string
			if m := v.FieldByName("ErrorMessage"); m.IsValid() {
				text, _ = m.Interface().(*string)
			}
			f(int16(v.Field(i).Int()), text)
		case field.Type.Kind() == reflect.Slice && field.Type.Elem().Kind() == reflect.Struct:
			for j := range v.Field(i).Len() {
				walkErrors(v.Field(i).Index(j), f)
			}
		}
	}
}
