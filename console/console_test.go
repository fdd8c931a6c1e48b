package console

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"moldau.io/moldau/broker"
	"moldau.io/moldau/protocol"
)

// fixed is a View of things that do not change.
type fixed struct{ notReady error }

func (f fixed) Ready() error { return f.notReady }

func (f fixed) NodeStatus() broker.NodeStatus {
	return broker.NodeStatus{
		ID: 7, ClusterID: "c1", Started: time.Now(), DataDirs: []string{"/data"},
		Brokers: []broker.BrokerStatus{{ID: 7, Listeners: []string{"PLAINTEXT://h:9092"}}, {ID: 8, Fenced: true}},
	}
}

func (f fixed) TopicStatus() []broker.TopicStatus {
	return []broker.TopicStatus{
		{Name: "__consumer_offsets", Internal: true, Partitions: []broker.PartitionStatus{{Bytes: -1}}},
		{Name: "<b>rides", Partitions: []broker.PartitionStatus{
			{Number: 0, Leader: 7, Replicas: []int32{7}, ISR: []int32{7}, Start: 3, End: 12, Bytes: 2048},
			{Number: 1, Leader: -1, Start: -1, End: -1, Bytes: -1},
		}},
	}
}

func (f fixed) ClusterStatus() broker.ClusterStatus {
	return broker.ClusterStatus{Cluster: "c1", Node: 7, Brokers: []broker.MemberStatus{{ID: 7, State: broker.MemberAlive, Version: "1.2"}}}
}

func (f fixed) Drain(_ context.Context, id int32, drain bool) error {
	switch {
	case id == 9:
		return protocol.BrokerIDNotRegistered
	case drain:
		return protocol.Errorf(protocol.InvalidRequest, "broker %d is the only one", id)
	}
	return nil
}

func (f fixed) GroupStatus(limit int) broker.GroupList {
	lag, seconds := int64(42), 3.25
	all := []broker.GroupStatus{
		{Name: "writers", State: "Stable", Lag: &lag, LagSeconds: &seconds, Last: &broker.RebalanceStatus{
			Began: time.Now().Add(-time.Hour), Reason: "member <b>m</b> on 10.0.0.3 missed its heartbeat for 45 s",
		}},
		{Name: "zz", State: "Empty"},
	}
	return broker.GroupList{Cluster: "c1", Node: 7, Total: 300, Groups: all[:min(limit, 2)]}
}

func (f fixed) GroupDetail(name string) (*broker.GroupDetail, error) {
	switch name {
	case "a/b", "..", "//", "":
		return &broker.GroupDetail{Cluster: "c1", GroupStatus: broker.GroupStatus{Name: name}}, nil
	case "busy":
		return nil, broker.ErrGroupBusy
	}
	return nil, broker.ErrGroupUnknown
}

func TestGroups(t *testing.T) {
	f := func(v View, path string, status int, want ...string) {
		t.Helper()
		s, body := get(t, v, path)
		if s != status {
			t.Errorf("%s: %d %q, want %d", path, s, body, status)
		}
		for _, w := range want {
			if !strings.Contains(body, w) {
				t.Errorf("%s: %q, want %s", path, body, w)
			}
		}
	}
	f(fixed{}, "/groups", 200, `"total":300`, `"group":"writers"`, `"lag":42`, `"lag_seconds":3.25`, `"lag":null`)
	f(fixed{}, "/groups?limit=0", 200, `"groups":[]`)
	f(fixed{}, "/groups?limit=10001", 400, "from 0 to 10000")
	f(fixed{}, "/groups?limit=-1", 400)
	f(fixed{}, "/groups?limit=x", 400)
	f(fixed{}, "/groups/a%2Fb", 200, `"group":"a/b"`)
	f(fixed{}, "/groups?group=%2F%2F", 200, `"group":"//"`)
	f(fixed{}, "/groups?group=..", 200, `"group":".."`)
	f(fixed{}, "/groups?group=", 200, `"group":""`)
	f(fixed{}, "/groups/busy", 503, "ask again")
	f(fixed{}, "/groups/nosuch", 404, "no such group")
	f(fixed{errors.New("starting")}, "/groups", 503, "starting")
	f(fixed{errors.New("starting")}, "/groups/a%2Fb", 503, "starting")
}

func (f fixed) Scrub() broker.ScrubStatus {
	return broker.ScrubStatus{Running: true, Of: 100, Damaged: []broker.DamageStatus{}}
}

func (f fixed) ScrubStatus() broker.ScrubStatus {
	return broker.ScrubStatus{Bytes: 100, Of: 100, Damaged: []broker.DamageStatus{{Topic: "rides", Partition: 3, Reason: "rot"}}}
}

// TestScrub asks for one and for how it goes. Another site's page may not ask.
func TestScrub(t *testing.T) {
	if status, body := get(t, fixed{}, "/scrub"); status != 200 || !strings.Contains(body, `"topic":"rides"`) {
		t.Errorf("state: %d %s", status, body)
	}
	post := func(v View, header, value string, want int, says string) {
		t.Helper()
		srv := httptest.NewServer(Handler(v, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)))
		defer srv.Close()
		req, err := http.NewRequest("POST", srv.URL+"/scrub", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(header, value)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if body, _ := io.ReadAll(resp.Body); resp.StatusCode != want || !strings.Contains(string(body), says) {
			t.Errorf("%s %s: %d %s", header, value, resp.StatusCode, body)
		}
	}
	post(fixed{}, "Accept", "*/*", 202, `"running":true`)
	post(fixed{}, "Sec-Fetch-Site", "cross-site", 403, "")
	post(fixed{errors.New("starting")}, "Accept", "*/*", 503, "starting")
}

func get(t *testing.T, v View, path string) (int, string) {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "moldau_test_total"},
		func() float64 { return 5 }))
	srv := httptest.NewServer(Handler(v, registry, slog.New(slog.DiscardHandler)))
	defer srv.Close()
	resp, err := http.Get(srv.URL + path)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

func TestHealth(t *testing.T) {
	f := func(v View, path string, status int, text string) {
		t.Helper()
		if s, body := get(t, v, path); s != status || !strings.Contains(body, text) {
			t.Errorf("%s: %d %q, want %d %q", path, s, body, status, text)
		}
	}
	f(fixed{}, "/livez", 200, "ok")
	f(fixed{}, "/readyz", 200, "ok")
	f(fixed{errors.New("partitions are being recovered")}, "/livez", 200, "ok")
	f(fixed{errors.New("partitions are being recovered")}, "/readyz", 503, "partitions are being recovered")
	f(fixed{}, "/metrics", 200, "moldau_test_total 5")
	f(fixed{}, "/debug/pprof/", 200, "goroutine")
	f(fixed{}, "/nothing", 404, "")
}

func TestThePageShowsWhatIsThereAndEscapesIt(t *testing.T) {
	status, body := get(t, fixed{errors.New("starting")}, "/")
	if status != 200 {
		t.Fatal("status", status)
	}
	for _, want := range []string{
		"node 7 of cluster c1", "&lt;b&gt;rides", "2.0 KiB", "writers", "Stable", "not ready: starting", "fenced", "/data", "none",
		"42", "3s", "1h0m0s ago", "goes on", "missed its heartbeat for 45 s", "the first 2 of 300",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if strings.Contains(body, "<b>") {
		t.Error("a topic's name reached the page as HTML")
	}
	if !strings.Contains(body, "</html>") {
		t.Error("the page is cut short")
	}
}

func TestByteText(t *testing.T) {
	for n, want := range map[int64]string{-1: "-", 0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 5 << 30: "5.0 GiB"} {
		if got := byteText(n); got != want {
			t.Errorf("%d bytes are %q, want %q", n, got, want)
		}
	}
}

func TestDrainIsAskedForByTheOperatorAlone(t *testing.T) {
	ask := func(v View, method, path, site string) (int, string) {
		req := httptest.NewRequest(method, path, nil)
		if site != "" {
			req.Header.Set("Sec-Fetch-Site", site)
		}
		w := httptest.NewRecorder()
		Handler(v, prometheus.NewRegistry(), slog.New(slog.DiscardHandler)).ServeHTTP(w, req)
		return w.Code, w.Body.String()
	}
	for _, c := range []struct {
		v                  View
		method, path, site string
		status             int
		says               string
	}{
		{fixed{}, "GET", "/cluster", "", http.StatusOK, `"version":"1.2"`},
		{fixed{}, "DELETE", "/cluster/drain/7", "", http.StatusOK, `"state":"alive"`},
		{fixed{}, "POST", "/cluster/drain/7", "", http.StatusConflict, "the only one"},
		{fixed{}, "POST", "/cluster/drain/9", "", http.StatusNotFound, ""},
		{fixed{}, "POST", "/cluster/drain/x", "", http.StatusNotFound, "no broker's id"},
		{fixed{}, "DELETE", "/cluster/drain/7", "cross-site", http.StatusForbidden, ""},
		{fixed{}, "GET", "/cluster/drain/7", "", http.StatusMethodNotAllowed, ""},
		{fixed{notReady: errors.New("not yet")}, "DELETE", "/cluster/drain/7", "", http.StatusServiceUnavailable, "not yet"},
	} {
		if status, body := ask(c.v, c.method, c.path, c.site); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s %s %s: %d %s", c.method, c.path, c.site, status, body)
		}
	}
}
