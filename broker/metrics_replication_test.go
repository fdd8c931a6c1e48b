package broker_test

import (
	"testing"
	"time"

	"moldau.io/moldau/broker/brokertest"
)

// metric is the sum of a broker's metric over its labels, -1 where there is none.
func metric(t *testing.T, b *brokertest.Broker, name string) float64 {
	t.Helper()
	families, err := b.Metrics().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		sum := 0.0
		for _, m := range f.GetMetric() {
			sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
		}
		return sum
	}
	return -1
}

func TestMetricsSayWhatIsNotReplicated(t *testing.T) {
	f := newFleet(t, 3, 6, brokertest.Options{}, "min.insync.replicas", "2")
	stop := f.load()
	f.more(100)
	stop()
	total := func(name string) (sum float64) {
		for _, b := range f.brokers {
			if b.Ready() == nil {
				sum += max(0, metric(t, b, name))
			}
		}
		return sum
	}
	become := func(name string, want float64) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); total(name) != want; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s is %v, want %v", name, total(name), want)
			}
		}
	}
	become("kafka_server_replicamanager_underreplicatedpartitions", 0)
	become("kafka_server_replicamanager_leadercount", 6)
	become("kafka_server_replicamanager_partitioncount", 18)
	become("kafka_controller_kafkacontroller_activecontrollercount", 1)
	become("kafka_controller_kafkacontroller_offlinepartitionscount", 0)
	become("kafka_server_replicafetchermanager_maxlag", 0)
	if in, out := total("moldau_replication_received_bytes_total"), total("moldau_replication_sent_bytes_total"); in <= 0 ||
		in != out {
		t.Errorf("%v bytes were sent to followers, %v came", out, in)
	}
	f.brokers[2].Kill()
	become("kafka_server_replicamanager_underreplicatedpartitions", 6)
	become("kafka_server_replicamanager_atminisrpartitioncount", 6)
	become("kafka_controller_kafkacontroller_fencedbrokercount", 1)
	f.brokers[2].Restart()
	f.brokers[2].AwaitReady()
	become("kafka_server_replicamanager_underreplicatedpartitions", 0)
	if grown := total("kafka_server_replicamanager_isrexpands_total"); grown < 6 {
		t.Errorf("6 partitions have a replica more in sync, counted %v", grown)
	}
}
