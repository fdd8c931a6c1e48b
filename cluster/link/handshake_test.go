package link

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestWrongNeighbours: each is told at both ends what is wrong, and what to do.
func TestWrongNeighbours(t *testing.T) {
	key, other := bytes.Repeat([]byte{1}, 32), bytes.Repeat([]byte{2}, 16)
	for _, c := range []struct {
		name         string
		dials, takes Config
		kind         error
		told, logged string
	}{
		{"other cluster", Config{ClusterID: named1("AAA")}, Config{ClusterID: named1("BBB")}, ErrOtherCluster,
			"in cluster BBB, this one is in cluster AAA", "in cluster AAA, this one is in cluster BBB"},
		{"other key", Config{Key: key}, Config{Key: other}, ErrKey, "different cluster keys", "different cluster keys"},
		{"no key", Config{}, Config{Key: key}, ErrKey, "the dialing broker has none", "the dialing broker has none"},
		{"a key too many", Config{Key: key}, Config{}, ErrKey, "the dialed one has none", "the dialed one has none"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &logs{}
			c.takes.Logger = l.logger()
			a, b := listen(t, c.dials), listen(t, c.takes)
			b.Handle("echo", echo)
			for range 2 {
				_, err := a.Call(t.Context(), b.Addr(), "echo", nil)
				if !errors.Is(err, c.kind) || !errors.Is(err, ErrUnreachable) || !strings.Contains(err.Error(), c.told) ||
					!strings.Contains(err.Error(), b.Addr()) {
					t.Errorf("%v", err)
				}
			}
			eventually(t, "it is logged", func() bool { return strings.Contains(l.String(), c.logged) })
			eventually(t, "both are counted", func() bool { return b.Stats().Refused == 2 })
			if n := strings.Count(l.String(), "\n"); n != 1 {
				t.Errorf("logged %d times: %s", n, l)
			}
		})
	}
}

func TestOneThatJoinsIsTakenByEveryCluster(t *testing.T) {
	a, b := listen(t, Config{}), listen(t, Config{ClusterID: named1("BBB")})
	a.Handle("echo", echo)
	b.Handle("echo", echo)
	if _, err := a.Call(t.Context(), b.Addr(), "echo", nil); err != nil {
		t.Error(err)
	}
	if _, err := b.Call(t.Context(), a.Addr(), "echo", nil); err != nil {
		t.Error(err)
	}
	if _, err := a.Call(t.Context(), a.Addr(), "echo", nil); !errors.Is(err, ErrSelf) {
		t.Errorf("%v", err)
	}
}

func TestClocksMinutesApartAreSaid(t *testing.T) {
	la, lb := &logs{}, &logs{}
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a := listen(t, Config{Logger: la.logger(), Now: func() time.Time { return at }})
	b := listen(t, Config{Logger: lb.logger(), Now: func() time.Time { return at.Add(5 * time.Minute) }})
	b.Handle("echo", echo)
	for range 2 {
		if _, err := a.Call(t.Context(), b.Addr(), "echo", nil); err != nil {
			t.Fatal(err)
		}
		c, err := a.DialStream(t.Context(), b.Addr(), 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	if got := la.String(); strings.Count(got, "\n") != 1 ||
		!strings.Contains(got, "difference=5m0s here=2026-01-02T03:04:05Z there=2026-01-02T03:09:05Z") {
		t.Errorf("%s", got)
	}
	if got := lb.String(); !strings.Contains(got, "difference=-5m0s") || strings.Count(got, "\n") != 1 {
		t.Errorf("%s", got)
	}
}

// server takes one connection after the other.
func server(t *testing.T, f func(net.Conn)) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			f(c)
			_ = c.Close()
		}
	}()
	return l.Addr().String()
}

// TestAddressesThatAreNone: whoever joins by a wrong address is told what is there.
func TestAddressesThatAreNone(t *testing.T) {
	a := listen(t, Config{})
	web := server(t, func(c net.Conn) {
		if _, err := bufio.NewReader(c).ReadString('\n'); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 400 Bad Request\r\n\r\n")
		}
	})
	kafka := server(t, func(c net.Conn) { _, _ = io.ReadFull(c, make([]byte, 4)) }) // a frame of 2 GiB: it hangs up
	closed := server(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed = l.Addr().String()
	_ = l.Close()
	for addr, want := range map[string]string{
		web: "is not a broker's cluster address: what answers there is an HTTP server", kafka: "a Kafka port does so",
		closed: "refuses connections: no broker listens there", "127.0.0.1": "host:port is wanted",
		"127.0.0.1:0": "there is no port 0", "no-such-host.invalid:9190": "the name no-such-host.invalid is not known",
	} {
		_, err := a.Call(within(t, 10*time.Second), addr, "echo", nil)
		if err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, ErrUnreachable) {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestAnAddressThatDoesNotAnswer(t *testing.T) {
	hold := make(chan struct{})
	defer close(hold)
	silent := server(t, func(net.Conn) { <-hold })
	a := listen(t, Config{})
	_, err := a.Call(t.Context(), silent, "echo", nil)
	if err == nil || !strings.Contains(err.Error(), "does not answer") || errors.Is(err, ErrRefused) {
		t.Errorf("%v", err)
	}
}

// TestStrangersAreToldApart: what is no broker is said once, by what it is.
func TestStrangersAreToldApart(t *testing.T) {
	l := &logs{}
	a := listen(t, Config{Logger: l.logger()})
	for began, want := range map[string]string{
		"GET / HTTP/1.1\r\n\r\n":                   "an HTTP client",
		"\x16\x03\x01\x02\x00\x01\x00\x01":         "a TLS client",
		"\x00\x00\x00\x20\x00\x12\x00\x03\x00\x00": "a Kafka client",
		"anything else":                            "unknown (it began",
		"\x7fmoldau\n\x00\x00\x00\x00":             "a broker of an unknown build",
	} {
		for range 2 {
			c, err := net.Dial("tcp", a.Addr())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.WriteString(c, began); err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, c) // until it is closed
			_ = c.Close()
		}
		eventually(t, want, func() bool { return strings.Contains(l.String(), want) })
		if n := strings.Count(l.String(), want); n != 1 {
			t.Errorf("%s was said %d times", want, n)
		}
	}
	resp, err := http.Get("http://" + a.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if b, _ := io.ReadAll(resp.Body); resp.StatusCode != 400 || !strings.Contains(string(b), "--admin-listen") {
		t.Errorf("%d %s", resp.StatusCode, b)
	}
}

func TestKeysAreChecked(t *testing.T) {
	for text, want := range map[string]int{
		"": 0, "AAAAAAAAAAAAAAAAAAAAAA==": 16, " AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\n": 24, "AAAA": -1, "!!": -1,
	} {
		key, err := ParseKey(text)
		if want < 0 && (err == nil || !strings.Contains(err.Error(), "moldau.gossip.key")) || want >= 0 && len(key) != want {
			t.Errorf("%q: %d bytes, %v", text, len(key), err)
		}
	}
	if _, err := Listen(t.Context(), Config{Addr: "127.0.0.1:0", Key: []byte("short")}); err == nil {
		t.Error("a key of five bytes was taken")
	}
}
