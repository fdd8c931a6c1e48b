//go:build bench

package cluster

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	history "moldau.io/moldau/compat-tests/cluster"
)

// drain has a group of eight threads empty 192 partitions that were filled before.
func (b *bench) drain(round int) {
	topic := fmt.Sprintf("drain-%d", round)
	b.make(topic, 192)
	if err := history.Fill(b.t.Context(), b.Addrs(), topic, *events); err != nil {
		b.t.Fatalf("%s: %v", b.Kind, err)
	}
	ctx, cancel := context.WithTimeout(b.t.Context(), 5*time.Minute)
	defer cancel()
	got, err := history.Drain(ctx, b.Addrs(), topic, topic, 8, *events)
	if err != nil {
		b.t.Fatalf("%s: %v", b.Kind, err)
	}
	b.add("192 partitions drained by a group of 8", got.Rate())
	b.remove(topic)
}

// createEach is how many topics are asked for in a request.
const createEach = 50

// manyTopics makes the topics, waits until every broker names a leader with all replicas in sync for every partition, and
// watches the brokers do nothing with them.
func (b *bench) manyTopics(int) {
	began := time.Now()
	var names []string
	for i := range *topics {
		names = append(names, fmt.Sprintf("many-%04d", i))
	}
	for at := 0; at < len(names); at += createEach {
		ctx, cancel := context.WithTimeout(b.t.Context(), 5*time.Minute)
		resp, err := b.admin.CreateTopics(ctx, 10, 3, map[string]*string{"min.insync.replicas": kadm.StringPtr("2")},
			names[at:min(at+createEach, len(names))]...)
		cancel()
		if err != nil || resp.Error() != nil {
			b.t.Fatalf("%s: create: %v %v", b.Kind, err, resp.Error())
		}
	}
	b.add("  of it until the requests were answered", time.Since(began).Seconds())
	b.whole(names...)
	b.add("topics of 10 partitions RF 3 made until all brokers know", time.Since(began).Seconds())
	b.t.Logf("%s: %d topics in %.1f s", b.Kind, len(names), time.Since(began).Seconds())
	b.idle("three idle brokers with these")
}
