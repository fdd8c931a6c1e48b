package config

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestPropertiesFile(t *testing.T) {
	text, err := os.ReadFile("testdata/server.properties")
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseProperties(text)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"process.roles": "broker,controller", "node.id": "4", "listeners": "PLAINTEXT://:9092,CONTROLLER://:9093",
		"controller.listener.names": "CONTROLLER", "log.dirs": "/var/lib/a,/var/lib/b", "num.partitions": "3",
		"broker.rack": "berlin", "sasl.jaas.config": `user="x" password="${file:/etc/passwd}";`,
		"log.retention.hours": "48", "empty.value": "",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestEnvironmentOfTheImage(t *testing.T) {
	f := func(environ, want string, clusterID string) {
		t.Helper()
		e := ParseEnvironment(strings.Fields(environ))
		var got []string
		for _, k := range slices.Sorted(maps.Keys(e.Properties)) {
			got = append(got, k+"="+e.Properties[k])
		}
		if s := strings.Join(got, " "); s != want || e.ClusterID != clusterID {
			t.Errorf("%s\n got %s %s\nwant %s %s", environ, s, e.ClusterID, want, clusterID)
		}
	}
	f("KAFKA_NUM_PARTITIONS=6 HOME=/root KAFKA_=1", "num.partitions=6", "")
	f("KAFKA_A__B=1 KAFKA_C___D=2 KAFKA_E_F=3", "a_b=1 c-d=2 e.f=3", "")
	f("KAFKA_HEAP_OPTS=-Xmx1G KAFKA_OPTS=x KAFKA_JMX_PORT=1 KAFKA_VERSION=4", "", "")
	f("CLUSTER_ID=4L6g3nShT-eMCtK--X86sw KAFKA_PROCESS_ROLES=broker,controller", "process.roles=broker,controller",
		"4L6g3nShT-eMCtK--X86sw")
	f("KAFKA_ADVERTISED_LISTENERS=PLAINTEXT://broker-1:19092,PLAINTEXT_HOST://localhost:29092",
		"advertised.listeners=PLAINTEXT://broker-1:19092,PLAINTEXT_HOST://localhost:29092 "+
			"listeners=PLAINTEXT://0.0.0.0:19092,PLAINTEXT_HOST://0.0.0.0:29092", "")
	f("MOLDAU_ADMIN_LISTEN=0.0.0.0:9644 MOLDAU_NOTHING=1", "moldau.admin.listen=0.0.0.0:9644", "")
	f("KAFKA_LISTENERS=A=B", "listeners=A=B", "")
}

func TestLaterLayersWin(t *testing.T) {
	st, notes, err := NewStatic(
		Layer{"file", map[string]string{"num.partitions": "2", "broker.rack": "r", "num.io.threads": "8", "x.y": "1"}},
		Layer{"--set", map[string]string{"num.partitions": " 3 "}},
	)
	if err != nil {
		t.Fatal(err)
	}
	if st.Int("num.partitions") != 3 || st.Origin("num.partitions") != "--set" || st.Origin("broker.rack") != "file" {
		t.Error("num.partitions:", st.Int("num.partitions"), st.Origin("num.partitions"))
	}
	if fmt.Sprint(notes) != "{[num.io.threads] [x.y]}" {
		t.Error("notes:", notes)
	}
	if st.Millis("log.message.timestamp.before.max.ms") < 290*365*24*time.Hour || st.Millis("request.timeout.ms") != 30*time.Second {
		t.Error("times are wrong")
	}
	if st.Bool("auto.create.topics.enable") != true || st.Float("log.cleaner.min.cleanable.ratio") != 0.5 {
		t.Error("defaults are wrong")
	}
	if _, ok := st.Get("log.retention.ms"); ok {
		t.Error("a null value was found")
	}
	if got := st.List("group.consumer.assignors"); !slices.Equal(got, []string{"uniform", "range"}) {
		t.Error(got)
	}
}

func TestEveryFaultIsReportedWithKeyValueAndWhatIsAllowed(t *testing.T) {
	_, _, err := NewStatic(Layer{"--set", map[string]string{
		"num.partitions": "0", "log.segment.bytes": "10", "compression.type": "rar", "node.id": "-1",
		"sasl.oauthbearer.assertion.claim.exp.seconds": "x", "moldau.admin.listen": "anything", "moldau.cluster.listen": "a:b",
		"group.min.session.timeout.ms": "9", "group.max.session.timeout.ms": "8",
		"listener.name.a.num.network.threads": "0", "log.retention.hours": "0",
	}})
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	for _, want := range []string{
		`--set: invalid value "0" for num.partitions: it must be at least 1`,
		`"10" for log.segment.bytes: it must be at least 1048576`,
		`"rar" for compression.type: it must be one of uncompressed, zstd, lz4, snappy, gzip, producer`,
		`"-1" for node.id: it must be at least 0`,
		`a whole number of 32 bits in [0,...,86400]`,
		"group.min.session.timeout.ms (9) must not be above group.max.session.timeout.ms (8)",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("not said: %s\nbut: %v", want, err)
		}
	}
	if n := strings.Count(err.Error(), "\n") + 1; n != 10 {
		t.Errorf("%d faults, want 10:\n%v", n, err)
	}
}

func TestSecretValuesAreNotInMessages(t *testing.T) {
	e := &InvalidError{Key: "ssl.key.password", Value: "hunter2", Allowed: "longer"}
	if strings.Contains(e.Error(), "hunter2") {
		t.Error(e)
	}
}

func TestNodeID(t *testing.T) {
	f := func(properties string, want int32, ok bool) {
		t.Helper()
		values, err := ParseProperties([]byte(properties))
		if err != nil {
			t.Fatal(err)
		}
		st, _, err := NewStatic(Layer{"f", values})
		if (err == nil) != ok || ok && st.NodeID() != want {
			t.Errorf("%q: %d %v", properties, st.NodeID(), err)
		}
	}
	f("", 1, true)
	f("node.id=7", 7, true)
	f("broker.id=5", 5, true)
	f("broker.id=-1", 1, true)
	f("broker.id=5\nnode.id=5", 5, true)
	f("broker.id=5\nnode.id=6", 0, false)
}

func TestSupported(t *testing.T) {
	f := func(key, value, want string) {
		t.Helper()
		err := mustStatic(t, map[string]string{key: value}).Supported()
		if got := fmt.Sprint(err); want == "" && err != nil || !strings.Contains(got, want) {
			t.Errorf("%s=%s: %v, want %q", key, value, err, want)
		}
	}
	f("process.roles", "broker,controller", "")
	f("process.roles", "broker", "")
	f("process.roles", "controller", "its own controller")
	f("controller.quorum.voters", "1@localhost:9093", "")
	f("controller.quorum.voters", "1@a:9093,2@b:9093", "")
	f("controller.quorum.voters", "3@a:9093,2@b:9093", "does not name this node")
	f("controller.quorum.voters", "1@a:9093,b:9093", "is not ID@HOST:PORT")
	f("controller.quorum.bootstrap.servers", "a:9093,b:9093", "which broker begins")
	f("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer", "everybody would be let in")
	f("config.providers", "file", "as they stand")
}

func TestCanonicalIsJavas(t *testing.T) {
	f := func(key, value, want string) {
		t.Helper()
		k, ok := Broker(key)
		if !ok {
			t.Fatal(key)
		}
		got, err := k.Canonical(value)
		if err != nil {
			got = "refused"
		}
		if got != want {
			t.Errorf("%s=%q: %q, want %q", key, value, got, want)
		}
	}
	const double, list, boolean, number = "log.cleaner.io.max.bytes.per.second", "log.dirs", "log.preallocate", "num.partitions"
	f(double, "1", "1.0")
	f(double, "1e7", "1.0E7")
	f(double, "9999999", "9999999.0")
	f(double, "0.001", "0.001")
	f(double, "0.0001", "1.0E-4")
	f(double, "1.7976931348623157E308", "1.7976931348623157E308")
	f(double, "x", "refused")
	f(double, "NaN", "refused")
	f(list, " a , b,a ", "a,b")
	f(list, "", "")
	f(list, "a,,b", "refused")
	f(boolean, " TRUE ", "true")
	f(boolean, "1", "refused")
	f(number, " +5 ", "5")
	f(number, "5.0", "refused")
	f(number, "2147483648", "refused")
	f("compression.gzip.level", "-1", "-1")
	f("compression.gzip.level", "0", "refused")
	f("compression.gzip.level", "9", "9")
	f("group.consumer.migration.policy", "Upgrade", "Upgrade")
	f("group.consumer.migration.policy", "sideways", "refused")
	f("remote.log.manager.task.retry.jitter", "0.6", "refused")
	f("controller.quorum.voters", "", "")
}
