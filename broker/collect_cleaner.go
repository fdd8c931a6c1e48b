package broker

import "github.com/prometheus/client_golang/prometheus"

// The metrics of compaction.
var (
	descCleanerRead    = desc("moldau_cleaner_read_bytes_total", "Bytes that compaction has read to write them anew.")
	descCleanerWritten = desc("moldau_cleaner_written_bytes_total", "Bytes of logs that compaction has written anew.")
	descCleanerDropped = desc("moldau_cleaner_dropped_records_total", "Records that compaction has removed.")
	descCleanerKeyless = desc("moldau_cleaner_keyless_records_total",
		"Records that compaction has removed since they have no key.")
	descCleanerRuns    = desc("moldau_cleaner_runs_total", "Logs that were compacted.")
	descCleanerThreads = desc("moldau_cleaner_threads", "Threads that compact a log now.")
	descCleanerLast    = desc("moldau_cleaner_last_run_timestamp_seconds", "When logs were looked through last.")
	descCleanerDirty   = desc("moldau_cleaner_dirty_bytes", "Bytes of compacted logs that are not compacted yet.")
	descUncleanable    = desc("moldau_cleaner_uncleanable_partitions", "Partitions that cannot be compacted.", "dir")

	descKafkaDead   = desc("kafka_log_logcleaner_deadthreadcount", "Always 0: a log that fails ends no thread.")
	descKafkaRecopy = desc("kafka_log_logcleaner_cleaner_recopy_percent", "What was kept of the log compacted last.")
	descKafkaBuffer = desc("kafka_log_logcleaner_max_buffer_utilization_percent",
		"How full the table of keys was at the last compaction.")
	descKafkaCleanTime = desc("kafka_log_logcleaner_max_clean_time_secs", "How long the last compaction took.")
	descKafkaDelay     = desc("kafka_log_logcleaner_max_compaction_delay_secs",
		"The most by which a log has passed max.compaction.lag.ms.")
	descKafkaMaxDirty = desc("kafka_log_logcleanermanager_max_dirty_percent", "The largest dirty part of a log.")
	descKafkaSinceRun = desc("kafka_log_logcleanermanager_time_since_last_run_ms", "Since when no log was looked through.")
	descKafkaBad      = desc("kafka_log_logcleanermanager_uncleanable_partitions_count",
		"Partitions that cannot be compacted.", "logdirectory")
	descKafkaBadBytes = desc("kafka_log_logcleanermanager_uncleanable_bytes",
		"What is dirty in partitions that cannot be compacted.", "logdirectory")
)

// cleaner collects what compaction did.
func (c collector) cleaner(count func(*prometheus.Desc, uint64, ...string),
	gauge func(*prometheus.Desc, float64, ...string)) {
	const percent = 100
	s := c.b.store.CleanerStats()
	count(descCleanerRead, uint64(s.Total.BytesRead))
	count(descCleanerWritten, uint64(s.Total.BytesWritten))
	count(descCleanerDropped, uint64(s.Total.RecordsRead-s.Total.RecordsKept))
	count(descCleanerKeyless, uint64(s.Total.Keyless))
	count(descCleanerRuns, uint64(s.Runs))
	gauge(descCleanerThreads, float64(s.Workers))
	gauge(descCleanerDirty, float64(s.DirtyBytes))
	gauge(descKafkaDead, 0)
	recopy := 0.0
	if s.Last.BytesRead > 0 {
		recopy = percent * float64(s.Last.BytesWritten) / float64(s.Last.BytesRead)
	}
	gauge(descKafkaRecopy, recopy)
	gauge(descKafkaBuffer, percent*s.Last.Load)
	gauge(descKafkaCleanTime, s.LastTook.Seconds())
	gauge(descKafkaDelay, s.Overdue.Seconds())
	gauge(descKafkaMaxDirty, percent*s.Dirtiest)
	if !s.LastRun.IsZero() {
		gauge(descCleanerLast, float64(s.LastRun.UnixMilli())/1000)
		gauge(descKafkaSinceRun, float64(s.SinceLastRun.Milliseconds()))
	}
	for dir, u := range s.Uncleanable {
		gauge(descUncleanable, float64(u.Logs), dir)
		gauge(descKafkaBad, float64(u.Logs), dir)
		gauge(descKafkaBadBytes, float64(u.Bytes), dir)
	}
}
