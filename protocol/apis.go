package protocol

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// API is one kind of request that this broker answers. Dispatch, version checks, ApiVersions, the skimmer and the
// metrics all read this one table.
type API struct {
	Key, Min, Max int16 // versions Min to Max are answered

	// AdvertisedMin is the lowest version that ApiVersions names. It is Min but for Produce, where librdkafka takes a
	// broker that does not name version 0 for one too old to compress (KAFKA-18659); versions 0 to 2 are still refused.
	AdvertisedMin int16

	Name         string              // Kafka's name, as in its metrics
	FlexibleFrom int16               // the first version with compact lengths and tagged fields (KIP-482), or neverFlexible
	New          func() kmsg.Request // an empty request, its fields at their defaults
}

// neverFlexible is above every version.
const neverFlexible = 1<<15 - 1

// Flexible says whether the version has compact lengths and tagged fields, in its body and in its headers.
func (a API) Flexible(version int16) bool { return version >= a.FlexibleFrom }

// Supports says whether requests of the version are answered.
func (a API) Supports(version int16) bool { return a.Min <= version && version <= a.Max }

// Lookup finds the API of a key. Keys that this broker does not answer are not found.
func Lookup(key int16) (API, bool) {
	i, ok := slices.BinarySearchFunc(apis, key, func(a API, key int16) int { return int(a.Key) - int(key) })
	if !ok {
		return API{}, false
	}
	return apis[i], true
}

// APIs lists every API that this broker answers, sorted by key. The slice is shared: it must not be changed.
func APIs() []API { return apis }

var apis = []API{
	{0, 3, 13, 0, "Produce", 9, func() kmsg.Request { return kmsg.NewPtrProduceRequest() }},
	{1, 4, 18, 4, "Fetch", 12, func() kmsg.Request { return kmsg.NewPtrFetchRequest() }},
	{2, 1, 11, 1, "ListOffsets", 6, func() kmsg.Request { return kmsg.NewPtrListOffsetsRequest() }},
	{3, 0, 13, 0, "Metadata", 9, func() kmsg.Request { return kmsg.NewPtrMetadataRequest() }},
	{8, 2, 10, 2, "OffsetCommit", 8, func() kmsg.Request { return kmsg.NewPtrOffsetCommitRequest() }},
	{9, 1, 10, 1, "OffsetFetch", 6, func() kmsg.Request { return kmsg.NewPtrOffsetFetchRequest() }},
	{10, 0, 6, 0, "FindCoordinator", 3, func() kmsg.Request { return kmsg.NewPtrFindCoordinatorRequest() }},
	{11, 0, 9, 0, "JoinGroup", 6, func() kmsg.Request { return kmsg.NewPtrJoinGroupRequest() }},
	{12, 0, 4, 0, "Heartbeat", 4, func() kmsg.Request { return kmsg.NewPtrHeartbeatRequest() }},
	{13, 0, 5, 0, "LeaveGroup", 4, func() kmsg.Request { return kmsg.NewPtrLeaveGroupRequest() }},
	{14, 0, 5, 0, "SyncGroup", 4, func() kmsg.Request { return kmsg.NewPtrSyncGroupRequest() }},
	{15, 0, 6, 0, "DescribeGroups", 5, func() kmsg.Request { return kmsg.NewPtrDescribeGroupsRequest() }},
	{16, 0, 5, 0, "ListGroups", 3, func() kmsg.Request { return kmsg.NewPtrListGroupsRequest() }},
	{18, 0, 5, 0, "ApiVersions", 3, func() kmsg.Request { return kmsg.NewPtrApiVersionsRequest() }},
	{19, 2, 7, 2, "CreateTopics", 5, func() kmsg.Request { return kmsg.NewPtrCreateTopicsRequest() }},
	{20, 1, 6, 1, "DeleteTopics", 4, func() kmsg.Request { return kmsg.NewPtrDeleteTopicsRequest() }},
	{21, 0, 2, 0, "DeleteRecords", 2, func() kmsg.Request { return kmsg.NewPtrDeleteRecordsRequest() }},
	{22, 0, 5, 0, "InitProducerId", 2, func() kmsg.Request { return kmsg.NewPtrInitProducerIDRequest() }},
	{23, 2, 4, 2, "OffsetForLeaderEpoch", 4, func() kmsg.Request { return kmsg.NewPtrOffsetForLeaderEpochRequest() }},
	{32, 1, 4, 1, "DescribeConfigs", 4, func() kmsg.Request { return kmsg.NewPtrDescribeConfigsRequest() }},
	{33, 0, 2, 0, "AlterConfigs", 2, func() kmsg.Request { return kmsg.NewPtrAlterConfigsRequest() }},
	{34, 1, 2, 1, "AlterReplicaLogDirs", 2, func() kmsg.Request { return kmsg.NewPtrAlterReplicaLogDirsRequest() }},
	{35, 1, 5, 1, "DescribeLogDirs", 2, func() kmsg.Request { return kmsg.NewPtrDescribeLogDirsRequest() }},
	{37, 0, 3, 0, "CreatePartitions", 2, func() kmsg.Request { return kmsg.NewPtrCreatePartitionsRequest() }},
	{42, 0, 3, 0, "DeleteGroups", 2, func() kmsg.Request { return kmsg.NewPtrDeleteGroupsRequest() }},
	{43, 0, 2, 0, "ElectLeaders", 2, func() kmsg.Request { return kmsg.NewPtrElectLeadersRequest() }},
	{44, 0, 1, 0, "IncrementalAlterConfigs", 1, func() kmsg.Request { return kmsg.NewPtrIncrementalAlterConfigsRequest() }},
	{45, 0, 1, 0, "AlterPartitionReassignments", 0,
		func() kmsg.Request { return kmsg.NewPtrAlterPartitionAssignmentsRequest() }},
	{46, 0, 0, 0, "ListPartitionReassignments", 0,
		func() kmsg.Request { return kmsg.NewPtrListPartitionReassignmentsRequest() }},
	{47, 0, 0, 0, "OffsetDelete", neverFlexible, func() kmsg.Request { return kmsg.NewPtrOffsetDeleteRequest() }},
	{55, 0, 2, 0, "DescribeQuorum", 0, func() kmsg.Request { return kmsg.NewPtrDescribeQuorumRequest() }},
	{57, 0, 2, 0, "UpdateFeatures", 0, func() kmsg.Request { return kmsg.NewPtrUpdateFeaturesRequest() }},
	{60, 0, 2, 0, "DescribeCluster", 0, func() kmsg.Request { return kmsg.NewPtrDescribeClusterRequest() }},
	{61, 0, 0, 0, "DescribeProducers", 0, func() kmsg.Request { return kmsg.NewPtrDescribeProducersRequest() }},
	{64, 0, 0, 0, "UnregisterBroker", 0, func() kmsg.Request { return kmsg.NewPtrUnregisterBrokerRequest() }},
	{68, 0, 1, 0, "ConsumerGroupHeartbeat", 0, func() kmsg.Request { return kmsg.NewPtrConsumerGroupHeartbeatRequest() }},
	{69, 0, 1, 0, "ConsumerGroupDescribe", 0, func() kmsg.Request { return kmsg.NewPtrConsumerGroupDescribeRequest() }},
	{74, 0, 1, 0, "ListConfigResources", 0, func() kmsg.Request { return kmsg.NewPtrListConfigResourcesRequest() }},
	{75, 0, 0, 0, "DescribeTopicPartitions", 0, func() kmsg.Request { return kmsg.NewPtrDescribeTopicPartitionsRequest() }},
}
