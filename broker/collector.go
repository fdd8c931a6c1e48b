package broker

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/journal"
)

// collector turns what the broker counts into metrics, at scrape. Names that begin with moldau_ are our own; those that
// begin with kafka_ are what the usual JMX exporter makes of Apache Kafka's, so that dashboards go on.
type collector struct{ b *Broker }

// The metrics, with their labels.
var (
	descBytesIn     = desc("moldau_network_received_bytes_total", "Bytes received from clients.")
	descBytesOut    = desc("moldau_network_sent_bytes_total", "Bytes sent to clients.")
	descConnections = desc("moldau_connections", "Open connections of clients.")
	descRefused     = desc("moldau_connections_refused_total", "Connections closed at once because of a limit.")
	descClosed      = desc("moldau_connections_closed_total", "Connections closed by the broker, by reason.", "reason")
	descInFlight    = desc("moldau_request_memory_bytes", "Memory taken by requests that are being read or worked on.")
	descInFlightMax = desc("moldau_request_memory_limit_bytes", "The bound of moldau_request_memory_bytes.")
	descErrors      = desc("moldau_errors_total", "Errors that clients were sent, by API and code.", "api", "code")
	descPanics      = desc("moldau_handler_panics_total", "Requests that met a fault of the broker itself.")
	descRecords     = desc("moldau_produced_records_total", "Records appended for clients.")
	descProduced    = desc("moldau_produced_bytes_total", "Bytes of record batches appended for clients.")
	descFetched     = desc("moldau_fetched_bytes_total", "Bytes of record batches sent to clients.")
	descSessions    = desc("moldau_fetch_sessions", "Incremental fetch sessions.")
	descSessionPart = desc("moldau_fetch_session_partitions", "Partitions in incremental fetch sessions.")
	descEvicted     = desc("moldau_fetch_session_evictions_total", "Fetch sessions pushed out by others.")
	descPartitions  = desc("moldau_partitions", "Partitions with a replica here.")
	descLeaders     = desc("moldau_leader_partitions", "Partitions led by this broker.")
	descOffline     = desc("moldau_offline_partitions", "Partitions with a replica here whose log cannot be opened.")
	descLogBytes    = desc("moldau_log_bytes", "Bytes of a partition's log.", "topic", "partition")
	descLogStart    = desc("moldau_log_start_offset", "First offset of a partition's log.", "topic", "partition")
	descLogEnd      = desc("moldau_log_end_offset", "Offset that a partition's next record gets.", "topic", "partition")
	descHW          = desc("moldau_high_watermark", "Offset that a partition is committed up to.", "topic", "partition")
	descScrubbed    = desc("moldau_scrub_bytes_total", "Bytes of logs that were read and checked by the scrub.")
	descDamaged     = desc("moldau_scrub_damaged_partitions", "Partitions that are offline because of damaged files.")
	descScrubRound  = desc("moldau_scrub_last_round_seconds", "How long the last whole round of the scrub took; 0: none.")
	descOpenFiles   = desc("moldau_open_log_files", "Files of logs that are open.")
	descDiskFree    = desc("moldau_disk_free_bytes", "Free bytes in a data folder's file system.", "dir")
	descDiskReserve = desc("moldau_disk_reserve_bytes", "Bytes that are kept free in a data folder's file system.", "dir")
	descDiskFull    = desc("moldau_disk_full", "1 while clients' appends to a data folder are refused.", "dir")
	descDirOffline  = desc("moldau_data_dir_offline", "1 for a data folder that has failed.", "dir")
	descDeleted     = desc("moldau_retention_deleted_segments_total", "Segments of logs that were deleted, by reason.", "reason")

	descJournalBytes    = desc("moldau_journal_bytes_total", "Bytes written to the journals of appends that must be durable.")
	descJournalSyncs    = desc("moldau_journal_syncs_total", "Syncs of the journals' files.")
	descJournalDirect   = desc("moldau_journal_log_syncs_total", "Syncs of logs' own files in place of the journal's.")
	descJournalBatches  = desc("moldau_journal_batches_total", "Appends that were made durable before they were answered.")
	descJournalPerSync  = desc("moldau_journal_batches_per_sync", "Appends a round of syncs, on average since the start.")
	descJournalSeconds  = desc("moldau_journal_sync_seconds", "Time that a sync of a journal's file took.")
	descJournalReplayed = desc("moldau_journal_replayed_batches_total", "Batches taken from a journal at the start.")

	descKafkaMessages = desc("kafka_server_brokertopicmetrics_messagesin_total", "Records appended for clients.")
	descKafkaIn       = desc("kafka_server_brokertopicmetrics_bytesin_total", "Bytes of batches appended for clients.")
	descKafkaOut      = desc("kafka_server_brokertopicmetrics_bytesout_total", "Bytes of record batches sent to clients.")
	descKafkaParts    = desc("kafka_server_replicamanager_partitioncount", "Partitions with a replica here.")
	descKafkaLeaders  = desc("kafka_server_replicamanager_leadercount", "Partitions led by this broker.")
	descKafkaDirs     = desc("kafka_log_logmanager_offlinelogdirectorycount", "Data folders that have failed.")
	descKafkaLogSize  = desc("kafka_log_log_size", "Bytes of a partition's log.", "topic", "partition")
	descKafkaLogEnd   = desc("kafka_log_log_logendoffset", "Offset of a partition's next record.", "topic", "partition")
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe implements prometheus.Collector. It names nothing beforehand: what there is depends on the partitions.
func (c collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	b, m := c.b, c.b.metrics
	count := func(d *prometheus.Desc, v uint64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count(descBytesIn, m.bytesIn.load())
	count(descBytesOut, m.bytesOut.load())
	gauge(descConnections, float64(b.server.count()))
	count(descRefused, m.connectionsRefused.load())
	count(descClosed, m.closedIdle.load(), overdueIdle)
	count(descClosed, m.closedSlow.load(), overdueFrame)
	count(descClosed, m.closedReader.load(), overdueSend)
	count(descClosed, m.refused.load(), "bad_request")
	gauge(descInFlight, float64(b.budget.inUse()))
	gauge(descInFlightMax, float64(b.budget.limit))
	count(descPanics, m.panics.load())
	count(descRecords, m.recordsIn.load())
	count(descProduced, m.recordBytesIn.load())
	count(descFetched, m.recordBytesOut.load())
	count(descKafkaMessages, m.recordsIn.load())
	count(descKafkaIn, m.recordBytesIn.load())
	count(descKafkaOut, m.recordBytesOut.load())
	sessions, parts, evicted := b.sessions.counts()
	gauge(descSessions, float64(sessions))
	gauge(descSessionPart, float64(parts))
	count(descEvicted, evicted)
	c.groups(ch, count, gauge)
	if b.store != nil {
		c.journals(ch, count, gauge)
	}
	for _, a := range protocol.APIs() {
		for code, n := range m.api(a.Key).counts() {
			count(descErrors, n, a.Name, code.Error())
		}
	}
	if b.partitions != nil {
		count(descScrubbed, uint64(b.store.ScrubTotals().Bytes))
		c.partitions(gauge)
		c.replication(count, gauge)
		c.disks(gauge)
		c.cleaner(count, gauge)
		for reason, n := range b.store.DeletedSegments() {
			count(descDeleted, uint64(n), reason)
		}
	}
}

// disks collects what is kept by data folder.
func (c collector) disks(gauge func(*prometheus.Desc, float64, ...string)) {
	failed := 0.0
	for _, d := range c.b.store.Dirs() {
		offline := 0.0
		if d.Offline != nil {
			offline = 1
			failed++
		}
		gauge(descDirOffline, offline, d.Path)
	}
	gauge(descKafkaDirs, failed)
	for _, d := range c.b.store.Spaces() {
		full := 0.0
		if d.Full {
			full = 1
		}
		gauge(descDiskFree, float64(d.Free), d.Path)
		gauge(descDiskReserve, float64(d.Reserve), d.Path)
		gauge(descDiskFull, full, d.Path)
	}
}

// journals collects what group commit has done.
func (c collector) journals(ch chan<- prometheus.Metric, count func(*prometheus.Desc, uint64, ...string),
	gauge func(*prometheus.Desc, float64, ...string)) {
	j, replayed := c.b.store.JournalCounts()
	count(descJournalBytes, j.Bytes)
	count(descJournalSyncs, j.Syncs)
	count(descJournalDirect, j.Direct)
	count(descJournalBatches, j.Batches)
	count(descJournalReplayed, replayed)
	gauge(descJournalPerSync, float64(j.Batches)/float64(max(j.Rounds, 1)))
	buckets, below := map[float64]uint64{}, uint64(0)
	for i, bound := range journal.SyncBuckets {
		below += j.Buckets[i]
		buckets[bound] = below
	}
	ch <- prometheus.MustNewConstHistogram(descJournalSeconds, j.Syncs, j.Seconds, buckets)
}

// partitions collects what is kept by partition.
func (c collector) partitions(gauge func(*prometheus.Desc, float64, ...string)) {
	all := c.b.partitions.all()
	leaders := 0
	for _, p := range all {
		if p.leads() {
			leaders++
		}
		topic, number := p.id.Topic, strconv.Itoa(int(p.id.Partition))
		bounds, size := p.log.Bounds(), float64(p.log.Size())
		gauge(descLogBytes, size, topic, number)
		gauge(descLogStart, float64(bounds.Start), topic, number)
		gauge(descLogEnd, float64(bounds.End), topic, number)
		gauge(descHW, float64(p.highWatermark()), topic, number)
		gauge(descKafkaLogSize, size, topic, number)
		gauge(descKafkaLogEnd, float64(bounds.End), topic, number)
	}
	gauge(descPartitions, float64(len(all)))
	gauge(descLeaders, float64(leaders))
	gauge(descOffline, float64(c.b.partitions.offline()))
	gauge(descKafkaParts, float64(len(all)))
	gauge(descKafkaLeaders, float64(leaders))
	gauge(descOpenFiles, float64(c.b.store.OpenFiles()))
	gauge(descDamaged, float64(len(c.b.store.Damaged())))
	gauge(descScrubRound, c.b.store.ScrubTotals().LastRound.Seconds())
}

// offline is the number of partitions that should be here and cannot be opened.
func (ps *partitions) offline() int {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	n := 0
	for _, t := range ps.mu.topics {
		n += len(t.offline)
	}
	return n
}

// counts is a copy of what was counted of errors.
func (s *apiStats) counts() map[protocol.Code]uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[protocol.Code]uint64, len(s.errors))
	for code, n := range s.errors {
		out[code] = n
	}
	return out
}
