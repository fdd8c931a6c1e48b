package broker

import (
	"fmt"
	"testing"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
)

// BenchmarkGroupConfig is what each heartbeat of a consumer group asks.
func BenchmarkGroupConfig(b *testing.B) {
	im := meta.Empty()
	value := "7000"
	for i := range 1000 {
		next, err := im.With(im.Offset()+1, meta.ConfigRecord{
			Resource: meta.Resource{Type: config.GroupResource, Name: fmt.Sprint("group-", i)},
			Key:      "consumer.heartbeat.interval.ms", Value: &value,
		})
		if err != nil {
			b.Fatal(err)
		}
		im = next
	}
	br := newBroker(config.Empty(), nil)
	br.served.publish(im)
	c := newGroupConfigs(br)
	for name, id := range map[string]string{"none of its own": "other", "its own": "group-7"} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.consumer(id)
			}
		})
	}
}
