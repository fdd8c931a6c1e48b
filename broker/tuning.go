package broker

import (
	"math"
	"strconv"
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/storage"
)

// tuning is how the store does its background work.
func tuning(v config.View) storage.Tuning {
	millis := func(key string) time.Duration { return duration(v.BrokerInt(key)) }
	real := func(key string) float64 {
		s, _ := v.Broker(key)
		f, _ := strconv.ParseFloat(s, 64)
		return f
	}
	t := storage.DefaultTuning()
	t.RetentionInterval = millis("log.retention.check.interval.ms")
	t.Cleaner = storage.CleanerTuning{
		Enabled:     v.BrokerBool("log.cleaner.enable"),
		Threads:     int(v.BrokerInt("log.cleaner.threads")),
		Backoff:     millis("log.cleaner.backoff.ms"),
		DedupeBytes: v.BrokerInt("log.cleaner.dedupe.buffer.size"),
		LoadFactor:  real("log.cleaner.io.buffer.load.factor"),
		BufferBytes: int(v.BrokerInt("log.cleaner.io.buffer.size")),
		BytesPerSec: real("log.cleaner.io.max.bytes.per.second"),
	}
	t.ScrubBytesPerSecond = v.BrokerInt("moldau.scrub.bytes.per.second")
	t.MoveBytesPerSecond = math.MaxInt64
	if n := v.BrokerInt("replica.alter.log.dirs.io.max.bytes.per.second"); n > 0 {
		t.MoveBytesPerSecond = n
	}
	t.ReserveBytes = v.BrokerInt("moldau.disk.reserve.bytes")
	policy, _ := v.Broker("moldau.disk.full.policy")
	t.DeleteOldest = policy == "delete-oldest"
	return t
}
