package config

import (
	"fmt"
	"strings"
	"testing"
)

func TestListeners(t *testing.T) {
	f := func(properties, want string) {
		t.Helper()
		values, err := ParseProperties([]byte(strings.ReplaceAll(properties, " ", "\n")))
		if err != nil {
			t.Fatal(err)
		}
		st, _, err := NewStatic(Layer{"f", values})
		if err != nil {
			t.Fatal(err)
		}
		ls, err := st.Listeners()
		got := fmt.Sprint(err)
		if err == nil {
			got = fmt.Sprint(ls.Kafka, " tells ", ls.Advertised)
		}
		if !strings.Contains(got, want) {
			t.Errorf("%s\n got %s\nwant %s", properties, got, want)
		}
	}
	f("", "[PLAINTEXT://127.0.0.1:9092] tells [PLAINTEXT://127.0.0.1:9092]")
	f("listeners=127.0.0.1:0", "[PLAINTEXT://127.0.0.1:0] tells [PLAINTEXT://127.0.0.1:0]")
	f("listeners=:9092", "[PLAINTEXT://:9092] tells [PLAINTEXT://:9092]")
	f("listeners=PLAINTEXT://0.0.0.0:9092", "[PLAINTEXT://0.0.0.0:9092] tells [PLAINTEXT://:9092]")
	f("listeners=PLAINTEXT://[::]:9092", "[PLAINTEXT://[::]:9092] tells [PLAINTEXT://:9092]")
	f("listeners=[::1]:9092", "[PLAINTEXT://[::1]:9092] tells [PLAINTEXT://[::1]:9092]")
	f("listeners=0.0.0.0:9092 advertised.listeners=kafka.example:19092",
		"[PLAINTEXT://0.0.0.0:9092] tells [PLAINTEXT://kafka.example:19092]")
	f("listeners=PLAINTEXT://:9092,CONTROLLER://:9093 controller.listener.names=CONTROLLER",
		"[PLAINTEXT://:9092] tells [PLAINTEXT://:9092]")
	f("listeners=PLAINTEXT://:9092,CONTROLLER://:9093 controller.listener.names=CONTROLLER "+
		"advertised.listeners=PLAINTEXT://a:1,CONTROLLER://a:2", "[PLAINTEXT://:9092] tells [PLAINTEXT://a:1]")
	f("listeners=PLAINTEXT://:19092,PLAINTEXT_HOST://:9092 "+
		"listener.security.protocol.map=PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT "+
		"advertised.listeners=PLAINTEXT://broker:19092,PLAINTEXT_HOST://localhost:9092",
		"[PLAINTEXT://:19092 PLAINTEXT_HOST://:9092] tells [PLAINTEXT://broker:19092 PLAINTEXT_HOST://localhost:9092]")

	f("listeners=INSIDE://:9092", "add INSIDE:PLAINTEXT to listener.security.protocol.map")
	f("listeners=SSL://:9093", "asks for SSL, which moldau does not offer yet")
	f("listeners=SASL_PLAINTEXT://:9093", "asks for SASL_PLAINTEXT, which moldau does not offer yet")
	f("listeners=A://:9093 listener.security.protocol.map=A:SASL_SSL", "asks for SASL_SSL")
	f("listeners=A://:9093 listener.security.protocol.map=A:TLS", `"A:TLS" is not NAME:PROTOCOL`)
	f("listeners=localhost", "neither host:port nor NAME://host:port")
	f("listeners=localhost:70000", "a port is a number from 0 to 65535")
	f("listeners=localhost:-1", "a port is a number from 0 to 65535")
	f("listeners=PLAINTEXT://:1,PLAINTEXT://:2", "the name PLAINTEXT is used twice")
	f("listeners=A://:1,B://:1 listener.security.protocol.map=A:PLAINTEXT,B:PLAINTEXT", "the address :1 is used twice")
	f("listeners=CONTROLLER://:9093 controller.listener.names=CONTROLLER", "at least one listener must be for clients")
	f("advertised.listeners=PLAINTEXT://0.0.0.0:9092", "is no address that a client can connect to")
	f("advertised.listeners=B://b:9092 listener.security.protocol.map=PLAINTEXT:PLAINTEXT,B:PLAINTEXT",
		"has no listener of that name")
}

func FuzzListeners(f *testing.F) {
	for _, s := range []string{"127.0.0.1:9092", "PLAINTEXT://:9092,B://[::1]:0", "://:1", "a://b:c", "[::]:1", "A://%:1", ",", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		ls, err := ParseListeners(s, map[string]string{"PLAINTEXT": "PLAINTEXT", "B": "PLAINTEXT"})
		if err != nil {
			return
		}
		for _, l := range ls {
			again, err := ParseListeners(l.String(), map[string]string{l.Name: l.Protocol})
			if err != nil || len(again) != 1 || again[0] != l {
				t.Fatalf("%q became %+v, which is written %q and read as %+v, %v", s, l, l, again, err)
			}
		}
	})
}

func FuzzProperties(f *testing.F) {
	f.Add([]byte("a=b\n# c\nlisteners=PLAINTEXT://:9092,\\\n  B://:1\n"))
	f.Add([]byte("a=${a}\n\\u00"))
	f.Add([]byte("num.partitions=3\nlog.retention.hours=-1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		values, err := ParseProperties(text)
		if err != nil {
			return
		}
		st, _, err := NewStatic(Layer{"file", values})
		if err != nil {
			return
		}
		_, _ = st.Listeners()
		_ = st.Supported()
		for _, e := range NewView(st, dynamic{}).BrokerEntries() {
			if e.Sensitive && e.Value != nil {
				t.Fatalf("the secret %s is described", e.Name)
			}
		}
	})
}

func FuzzCanonical(f *testing.F) {
	f.Add("log.dirs", "a, b")
	f.Add("log.cleaner.io.max.bytes.per.second", "1e-9")
	f.Add("num.partitions", "+007")
	f.Fuzz(func(t *testing.T, name, value string) {
		k, ok := Broker(name)
		if !ok {
			return
		}
		c, err := k.Canonical(value)
		if err != nil {
			return
		}
		if again, err := k.Canonical(c); err != nil || again != c {
			t.Fatalf("%s=%q is %q, and that is %q, %v", name, value, c, again, err)
		}
	})
}
