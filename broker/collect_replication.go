package broker

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"

	"moldau.io/moldau/cluster/meta"
)

// What the metrics say of replication, and of the cluster where this broker is its controller.

var (
	descUnderReplicated = desc("moldau_under_replicated_partitions",
		"Partitions led by this broker of which not every replica is in sync.")
	descUnderMinISR = desc("moldau_under_min_isr_partitions",
		"Partitions led by this broker that take no acks=all: fewer replicas are in sync than min.insync.replicas.")
	descAtMinISR = desc("moldau_at_min_isr_partitions",
		"Partitions led by this broker that would take no acks=all with one replica less in sync.")
	descReassigning = desc("moldau_reassigning_partitions", "Partitions led by this broker that are being reassigned.")
	descShrinks     = desc("moldau_isr_shrinks_total", "In-sync sets that this broker, as the leader, has made smaller.")
	descExpands     = desc("moldau_isr_expands_total", "In-sync sets that this broker, as the leader, has made larger.")
	descISRFailed   = desc("moldau_isr_failed_updates_total", "Changes of in-sync sets that the controller did not take.")
	descLag         = desc("moldau_follower_lag_records", "Committed records that a partition followed here lacks.",
		"topic", "partition")
	descMaxLag         = desc("moldau_follower_lag_max_records", "The largest moldau_follower_lag_records.")
	descFailedParts    = desc("moldau_follower_failed_partitions", "Partitions that cannot be copied from their leader.")
	descReplicationIn  = desc("moldau_replication_received_bytes_total", "Bytes of record batches copied from leaders.")
	descReplicationOut = desc("moldau_replication_sent_bytes_total", "Bytes of record batches sent to followers.")
	descReplicaSession = desc("moldau_replica_fetch_sessions", "Fetch sessions of brokers that follow this one.")
	descReplicaParts   = desc("moldau_replica_fetch_session_partitions", "Partitions in the fetch sessions of followers.")

	descKafkaUnder      = desc("kafka_server_replicamanager_underreplicatedpartitions", "Led partitions that lack replicas.")
	descKafkaUnderMin   = desc("kafka_server_replicamanager_underminisrpartitioncount", "Led partitions below min.insync.replicas.")
	descKafkaAtMin      = desc("kafka_server_replicamanager_atminisrpartitioncount", "Led partitions at min.insync.replicas.")
	descKafkaOffline    = desc("kafka_server_replicamanager_offlinereplicacount", "Replicas whose log cannot be used.")
	descKafkaReassign   = desc("kafka_server_replicamanager_reassigningpartitions", "Led partitions that are being reassigned.")
	descKafkaShrinks    = desc("kafka_server_replicamanager_isrshrinks_total", "In-sync sets made smaller.")
	descKafkaExpands    = desc("kafka_server_replicamanager_isrexpands_total", "In-sync sets made larger.")
	descKafkaISRFailed  = desc("kafka_server_replicamanager_failedisrupdates_total", "Changes of in-sync sets not taken.")
	descKafkaMaxLag     = desc("kafka_server_replicafetchermanager_maxlag", "The largest lag of a followed partition.", "clientId")
	descKafkaFailed     = desc("kafka_server_replicafetchermanager_failedpartitionscount", "Partitions not copied.", "clientId")
	descKafkaRepIn      = desc("kafka_server_brokertopicmetrics_replicationbytesin_total", "Bytes copied from leaders.")
	descKafkaRepOut     = desc("kafka_server_brokertopicmetrics_replicationbytesout_total", "Bytes sent to followers.")
	descKafkaActive     = desc("kafka_controller_kafkacontroller_activecontrollercount", "1 on the cluster's controller.")
	descKafkaBrokers    = desc("kafka_controller_kafkacontroller_activebrokercount", "Brokers that are alive.")
	descKafkaFenced     = desc("kafka_controller_kafkacontroller_fencedbrokercount", "Brokers that are registered and not alive.")
	descKafkaTopics     = desc("kafka_controller_kafkacontroller_globaltopiccount", "Topics of the cluster.")
	descKafkaPartitions = desc("kafka_controller_kafkacontroller_globalpartitioncount", "Partitions of the cluster.")
	descKafkaLeaderless = desc("kafka_controller_kafkacontroller_offlinepartitionscount", "Partitions without a leader.")
	descKafkaImbalance  = desc("kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
		"Partitions that another broker leads than the first of their replicas.")
)

// replication collects how this broker's partitions are copied.
func (c collector) replication(count func(*prometheus.Desc, uint64, ...string),
	gauge func(*prometheus.Desc, float64, ...string)) {
	b, im := c.b, c.b.image()
	under, underMin, atMin, reassigning, maxLag := 0, 0, 0, 0, int64(0)
	for _, p := range b.partitions.all() {
		part, ok := im.TopicByID(p.topicID).Partition(p.id.Partition)
		if !ok || len(part.Replicas) == 1 && p.leads() {
			continue
		}
		if !p.leads() {
			lag := p.lag()
			maxLag = max(maxLag, lag)
			gauge(descLag, float64(lag), p.id.Topic, strconv.Itoa(int(p.id.Partition)))
			continue
		}
		if len(part.ISR) < len(part.Replicas)-len(part.Adding) {
			under++
		}
		if len(part.Adding)+len(part.Removing) > 0 {
			reassigning++
		}
		switch minimum := min(p.rules.Load().minInsync, len(part.Replicas)); {
		case len(part.ISR) < minimum:
			underMin++
		case len(part.ISR) == minimum:
			atMin++
		}
	}
	gauge(descUnderReplicated, float64(under))
	gauge(descKafkaUnder, float64(under))
	gauge(descUnderMinISR, float64(underMin))
	gauge(descKafkaUnderMin, float64(underMin))
	gauge(descAtMinISR, float64(atMin))
	gauge(descKafkaAtMin, float64(atMin))
	gauge(descReassigning, float64(reassigning))
	gauge(descKafkaReassign, float64(reassigning))
	gauge(descKafkaOffline, float64(b.partitions.offline()))
	gauge(descMaxLag, float64(maxLag))
	gauge(descKafkaMaxLag, float64(maxLag), "Replica")
	gauge(descFailedParts, float64(b.fetchers.failures()))
	gauge(descKafkaFailed, float64(b.fetchers.failures()), "Replica")
	shrank, grew, failed := b.inSync.counts()
	count(descShrinks, shrank)
	count(descKafkaShrinks, shrank)
	count(descExpands, grew)
	count(descKafkaExpands, grew)
	count(descISRFailed, failed)
	count(descKafkaISRFailed, failed)
	count(descReplicationIn, b.metrics.replicationIn.load())
	count(descKafkaRepIn, b.metrics.replicationIn.load())
	count(descReplicationOut, b.metrics.replicationOut.load())
	count(descKafkaRepOut, b.metrics.replicationOut.load())
	sessions, parts := b.replicaSessions.counts()
	gauge(descReplicaSession, float64(sessions))
	gauge(descReplicaParts, float64(parts))
	c.controller(im, gauge)
}

// controller collects what the cluster's controller tells of the cluster; of the other brokers only that they are not it.
func (c collector) controller(im *meta.Image, gauge func(*prometheus.Desc, float64, ...string)) {
	if c.b.node.Controller() != c.b.nodeID() {
		gauge(descKafkaActive, 0)
		return
	}
	fenced, leaderless, imbalance := 0, 0, 0
	for _, br := range im.Brokers() {
		if br.Fenced {
			fenced++
		}
	}
	for _, t := range im.Topics() {
		for i := range t.Partitions {
			switch p := &t.Partitions[i]; {
			case p.Leader < 0:
				leaderless++
				imbalance++
			case p.Leader != p.Replicas[0]:
				imbalance++
			}
		}
	}
	gauge(descKafkaActive, 1)
	gauge(descKafkaBrokers, float64(len(im.Brokers())-fenced))
	gauge(descKafkaFenced, float64(fenced))
	gauge(descKafkaTopics, float64(len(im.Topics())))
	gauge(descKafkaPartitions, float64(im.PartitionCount()))
	gauge(descKafkaLeaderless, float64(leaderless))
	gauge(descKafkaImbalance, float64(imbalance))
}
