//go:build compat

package differential

import (
	"sync"
	"testing"
	"time"

	"moldau.io/moldau/compat-tests/harness"
)

// propertiesOfClusters are those of each broker of both clusters.
var propertiesOfClusters = map[string]string{
	"offsets.topic.replication.factor": "3",
	"offsets.topic.num.partitions":     "3",
	"group.initial.rebalance.delay.ms": "0",
	"auto.leader.rebalance.enable":     "false", // leaders stay where a script puts them
	"log.retention.ms":                 "-1",
}

// TestAnswersOfClustersAreKafkas holds three brokers against three of Apache Kafka.
func TestAnswersOfClustersAreKafkas(t *testing.T) {
	kafka := harness.StartCluster(t, harness.ClusterConfig{Kind: harness.Kafka, Properties: propertiesOfClusters})
	other := harness.StartCluster(t, harness.ClusterConfig{Numbered: true, Properties: propertiesOfClusters})
	versions := announced(t, kafka.Brokers[0])
	t.Run("calm", func(t *testing.T) {
		for _, sc := range clusterScripts {
			t.Run(sc.title(), func(t *testing.T) {
				t.Parallel()
				compareClusters(t, sc, kafka, other, versions)
			})
		}
	})
	for _, sc := range unrestScripts(t) { // they stop brokers, so one after the other
		t.Run(sc.title(), func(t *testing.T) { compareClusters(t, sc, kafka, other, versions) })
	}
}

func compareClusters(t *testing.T, sc script, kafka, other *harness.Cluster, versions map[int16][2]int16) {
	t.Helper()
	play := func(c *harness.Cluster) []step {
		s := &session{broker: c.Brokers[0], brokers: c.Brokers, down: map[int]bool{}, versions: versions, prefix: sc.name,
			began: time.Now(), names: &placeholders{seen: map[string]string{}}}
		return s.play(sc)
	}
	var want, got []step
	var wg sync.WaitGroup
	wg.Go(func() { want = play(kafka) })
	wg.Go(func() { got = play(other) })
	wg.Wait()
	judge(t, sc, want, got, other.Kind)
}
