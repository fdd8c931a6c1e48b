// Package console is the admin side over HTTP: health, metrics, profiles, groups, a page that shows what is there, and the
// scrub. It reads through a View that the caller brings.
//
// Invariant: no GET changes anything or waits for longer than it takes to read what the View holds already, and no page of another
// site can send anything else.
package console

import (
	"context"
	"embed"
	"encoding/json"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"moldau.io/moldau/broker"
)

// View is what the console reads; a broker is one. All methods may be called by any goroutine at any time and return at once, or
// after a second where the coordinators of groups are busy.
type View interface {
	// Ready is nil once clients are served, else it says what is missing.
	Ready() error
	NodeStatus() broker.NodeStatus
	TopicStatus() []broker.TopicStatus // sorted by name
	// GroupStatus is the groups coordinated here, sorted by name, as far as limit allows. GroupDetail is one of them.
	GroupStatus(limit int) broker.GroupList
	GroupDetail(name string) (*broker.GroupDetail, error)
	// Scrub has everything read and checked, unless that is being done already; ScrubStatus says how it goes.
	Scrub() broker.ScrubStatus
	ScrubStatus() broker.ScrubStatus
	// Drain has everything moved off a broker of the cluster, or ends that. It waits until the cluster has agreed to it.
	Drain(ctx context.Context, id int32, drain bool) error
	ClusterStatus() broker.ClusterStatus
}

//go:embed page.html
var files embed.FS

// headerTime is how long a client may take to send the header of a request.
const headerTime = 10 * time.Second

// Server answers with v and the metrics of g. The caller gives it a listener.
func Server(v View, g prometheus.Gatherer, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:           Handler(v, g, log),
		ReadHeaderTimeout: headerTime,
		IdleTimeout:       time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

// Handler is /livez, /readyz, /metrics, /debug/pprof/, /scrub, /cluster, /groups and the page at /.
func Handler(v View, g prometheus.Gatherer, log *slog.Logger) http.Handler {
	page := template.Must(template.New("page.html").Funcs(template.FuncMap{
		"bytes": byteText, "since": sinceText, "sum": sumBytes, "span": spanText,
	}).ParseFS(files, "page.html"))

	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := v.Ready(); err != nil {
			answer(w, http.StatusServiceUnavailable, err.Error())
			return
		}
		answer(w, http.StatusOK, "ok")
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(g, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /scrub", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, v.ScrubStatus())
	})
	// It costs the disk's whole time, so that no page that an operator happens to look at may ask for it.
	mux.Handle("POST /scrub", http.NewCrossOriginProtection().Handler(
		http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if err := v.Ready(); err != nil {
				answer(w, http.StatusServiceUnavailable, err.Error())
				return
			}
			answerJSON(w, http.StatusAccepted, v.Scrub())
		})))
	mux.HandleFunc("GET /cluster", func(w http.ResponseWriter, _ *http.Request) {
		answerJSON(w, http.StatusOK, v.ClusterStatus())
	})
	own := http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { drain(v, w, r) }))
	mux.Handle("POST /cluster/drain/{id}", own)
	mux.Handle("DELETE /cluster/drain/{id}", own)
	mux.HandleFunc("GET /groups", func(w http.ResponseWriter, r *http.Request) { groups(v, w, r) })
	mux.HandleFunc("GET /groups/{name}", func(w http.ResponseWriter, r *http.Request) { group(v, w, r.PathValue("name")) })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		data := struct {
			Node   broker.NodeStatus
			Ready  error
			Topics []broker.TopicStatus
			Groups broker.GroupList
			Now    time.Time
		}{v.NodeStatus(), v.Ready(), v.TopicStatus(), v.GroupStatus(groupsOnPage), time.Now()}
		if err := page.Execute(w, data); err != nil {
			log.Debug("the console page was not sent", "err", err)
		}
	})
	return mux
}

func answer(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintln(w, text)
}

func answerJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // who does not wait for the answer does not get it
}

// byteText is n bytes for a person: 3.4 MiB.
func byteText(n int64) string {
	if n < 0 {
		return "-"
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB"}
	f, i := float64(n), 0
	for f >= 1024 && i < len(units)-1 {
		f, i = f/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d B", n)
	}
	return fmt.Sprintf("%.1f %s", f, units[i])
}

// sinceText is how long ago t was.
func sinceText(now, t time.Time) string { return now.Sub(t).Round(time.Second).String() }

// sumBytes is the size of all partitions that this broker holds; -1 for none.
func sumBytes(ps []broker.PartitionStatus) int64 {
	sum := int64(-1)
	for _, p := range ps {
		if p.Bytes >= 0 {
			sum = max(sum, 0) + p.Bytes
		}
	}
	return sum
}
