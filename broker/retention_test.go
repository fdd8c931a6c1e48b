package broker_test

import (
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
)

// TestRule079_RetentionFollowsTheConfiguration writes old records to topics of several configurations: the broker's
// log.retention.hours, .minutes and .ms and the topics' own retention.ms hold, for topics that are there already too; and
// what counts is the time that is in the log, be it the client's or the broker's.
func TestRule079_RetentionFollowsTheConfiguration(t *testing.T) {
	b := brokertest.Start(t, brokertest.Options{Settings: map[string]string{
		"log.retention.hours": "1", "log.retention.check.interval.ms": "20",
	}})
	c := b.Dial()
	ids := map[string]protocol.TopicID{}
	for name, configs := range map[string][]string{
		"appended": {"message.timestamp.type", "LogAppendTime"},
		"big":      {"retention.ms", "-1"},
		"compact":  {"cleanup.policy", "compact"},
		"ever":     {"retention.ms", "-1"},
		"future":   {},
		"hours":    {}, // the last one by name: when it is done, all others have been looked at
	} {
		ids[name] = createTopic(c, name, 1, append(configs, "internal.segment.bytes", "3000")...)
	}
	for name, id := range ids {
		back := 2 * time.Hour
		if name == "future" {
			back = -30 * time.Minute
		}
		for range 6 {
			if p := produce(c, 12, name, id, 0, -1, aged(back)); p.ErrorCode != 0 {
				t.Fatalf("%s: %v", name, protocol.Code(p.ErrorCode))
			}
		}
	}
	awaitStart(c, "hours", 6) // all, with what was the active segment
	for _, name := range []string{"appended", "big", "compact", "ever", "future"} {
		if start := listOffset(c, 7, name, 0, -2).Offset; start != 0 {
			t.Errorf("%s begins at %d", name, start)
		}
	}
	alter(c, kmsg.ConfigResourceTypeTopic, "ever", "retention.ms", "1000")
	awaitStart(c, "ever", 6)
	alter(c, kmsg.ConfigResourceTypeTopic, "big", "retention.bytes", "8000")
	awaitStart(c, "big", 2) // the rest has 8000 bytes and more
	alter(c, kmsg.ConfigResourceTypeBroker, "", "log.retention.ms", "1")
	awaitStart(c, "appended", 6)
	if start := listOffset(c, 7, "compact", 0, -2).Offset; start != 0 {
		t.Errorf("a compacted topic begins at %d", start)
	}
}

// aged is one record of about 2 KB.
func aged(back time.Duration) []byte {
	b := batch.NewBuilder(batch.BuilderOptions{})
	b.Add(time.Now().Add(-back).UnixMilli(), []byte("key"), make([]byte, 2000))
	return b.Build()
}

// awaitStart waits until a topic's log begins at offset.
func awaitStart(c *brokertest.Client, topic string, offset int64) {
	c.T.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	for {
		start := listOffset(c, 7, topic, 0, -2).Offset
		if start == offset {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			c.T.Fatalf("%s begins at %d, not at %d", topic, start, offset)
		}
	}
}
