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
	replicationOut         counter // bytes of records sent to followers
	replicationIn          counter // bytes of records that leaders have sent
	panics                 counter
	refused                counter
	connectionsRefused     counter
	closedIdle, closedSlow counter
	closedReader           counter

	errorFields errorFields

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
	s.count(code)
	if s.isStep(code) {
		return
	}
	b := r.conn.b
	b.firsts.warn(b.log, "error "+strconv.Itoa(int(s.key))+" "+strconv.Itoa(int(code)), "a client is sent an error",
		"api", s.name, "version", r.header.Version, "code", code.Error(), "text", brief(text),
		"client", brief(r.client()), "address", r.conn.remote)
}

// count counts an error that the log need not tell of.
func (s *apiStats) count(code protocol.Code) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.errors[code]++
}

// isStep says that the error is a step of something that goes well: into a group, to the first use of groups at all, or of a
// tool that finds out which type a group has.
func (s *apiStats) isStep(code protocol.Code) bool {
	switch code {
	case protocol.MemberIDRequired, protocol.RebalanceInProgress:
		return true
	case protocol.CoordinatorNotAvailable:
		return s.key == int16(kmsg.FindCoordinator)
	case protocol.GroupIDNotFound:
		return s.key == int16(kmsg.ConsumerGroupDescribe)
	}
	return false
}

// brief is the beginning of what a client has sent, for the log: names may be 32 KiB long.
func brief(s string) string { return s[:min(len(s), 256)] }

// noteErrors counts every error code in an answer.
func (s *apiStats) noteErrors(r *request, resp kmsg.Response) {
	v := reflect.ValueOf(resp).Elem()
	r.conn.b.metrics.errorFields.walk(v, func(code int16, text *string) {
		t := ""
		if text != nil {
			t = *text
		}
		s.note(r, protocol.Code(code), t)
	})
}

// errorFields knows where in the answers of each API the error codes are, so that looking for them costs a few
// nanoseconds each.
type errorFields struct {
	byType sync.Map // of reflect.Type to *errorPlan
}

// errorPlan is where a struct has an error code, and what of it may hold more of them.
type errorPlan struct {
	code, message int // indexes of the fields; -1 for none
	slices        []int
	plans         []*errorPlan // of the elements of slices
}

func (e *errorFields) plan(t reflect.Type) *errorPlan {
	if p, ok := e.byType.Load(t); ok {
		return p.(*errorPlan)
	}
	p := &errorPlan{code: -1, message: -1}
	for i := range t.NumField() {
		switch f := t.Field(i); {
		case f.Name == "ErrorCode" && f.Type.Kind() == reflect.Int16:
			p.code = i
		case f.Name == "ErrorMessage" && f.Type == reflect.TypeFor[*string]():
			p.message = i
		case f.Type.Kind() == reflect.Slice && f.Type.Elem().Kind() == reflect.Struct:
			if below := e.plan(f.Type.Elem()); below.code >= 0 || len(below.slices) > 0 {
				p.slices, p.plans = append(p.slices, i), append(p.plans, below)
			}
		}
	}
	e.byType.Store(t, p)
	return p
}

// walk calls f for each error code in v that is not zero, with the message beside it.
func (e *errorFields) walk(v reflect.Value, f func(code int16, text *string)) {
	e.plan(v.Type()).walk(v, f)
}

func (p *errorPlan) walk(v reflect.Value, f func(code int16, text *string)) {
	if p.code >= 0 {
		if code := v.Field(p.code).Int(); code != 0 {
			var text *string
			if p.message >= 0 {
				text, _ = v.Field(p.message).Interface().(*string)
			}
			f(int16(code), text)
		}
	}
	for i, field := range p.slices {
		elems := v.Field(field)
		for j := range elems.Len() {
			p.plans[i].walk(elems.Index(j), f)
		}
	}
}
