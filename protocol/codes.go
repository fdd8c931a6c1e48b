package protocol

// Kafka's error codes, by the names and numbers of org.apache.kafka.common.protocol.Errors in Apache Kafka 4.4.0.
const (
	UnknownServerError Code = iota - 1
	None
	OffsetOutOfRange
	CorruptMessage
	UnknownTopicOrPartition
	InvalidFetchSize
	LeaderNotAvailable
	NotLeaderOrFollower
	RequestTimedOut
	BrokerNotAvailable
	ReplicaNotAvailable
	MessageTooLarge
	StaleControllerEpoch
	OffsetMetadataTooLarge
	NetworkException
	CoordinatorLoadInProgress
	CoordinatorNotAvailable
	NotCoordinator
	InvalidTopicException
	RecordListTooLarge
	NotEnoughReplicas
	NotEnoughReplicasAfterAppend
	InvalidRequiredAcks
	IllegalGeneration
	InconsistentGroupProtocol
	InvalidGroupID
	UnknownMemberID
	InvalidSessionTimeout
	RebalanceInProgress
	InvalidCommitOffsetSize
	TopicAuthorizationFailed
	GroupAuthorizationFailed
	ClusterAuthorizationFailed
	InvalidTimestamp
	UnsupportedSASLMechanism
	IllegalSASLState
	UnsupportedVersion
	TopicAlreadyExists
	InvalidPartitions
	InvalidReplicationFactor
	InvalidReplicaAssignment
	InvalidConfig
	NotController
	InvalidRequest
	UnsupportedForMessageFormat
	PolicyViolation
	OutOfOrderSequenceNumber
	DuplicateSequenceNumber
	InvalidProducerEpoch
	InvalidTxnState
	InvalidProducerIDMapping
	InvalidTransactionTimeout
	ConcurrentTransactions
	TransactionCoordinatorFenced
	TransactionalIDAuthorizationFailed
	SecurityDisabled
	OperationNotAttempted
	KafkaStorageError
	LogDirNotFound
	SASLAuthenticationFailed
	UnknownProducerID
	ReassignmentInProgress
	DelegationTokenAuthDisabled
	DelegationTokenNotFound
	DelegationTokenOwnerMismatch
	DelegationTokenRequestNotAllowed
	DelegationTokenAuthorizationFailed
	DelegationTokenExpired
	InvalidPrincipalType
	NonEmptyGroup
	GroupIDNotFound
	FetchSessionIDNotFound
	InvalidFetchSessionEpoch
	ListenerNotFound
	TopicDeletionDisabled
	FencedLeaderEpoch
	UnknownLeaderEpoch
	UnsupportedCompressionType
	StaleBrokerEpoch
	OffsetNotAvailable
	MemberIDRequired
	PreferredLeaderNotAvailable
	GroupMaxSizeReached
	FencedInstanceID
	EligibleLeadersNotAvailable
	ElectionNotNeeded
	NoReassignmentInProgress
	GroupSubscribedToTopic
	InvalidRecord
	UnstableOffsetCommit
	ThrottlingQuotaExceeded
	ProducerFenced
	ResourceNotFound
	DuplicateResource
	UnacceptableCredential
	InconsistentVoterSet
	InvalidUpdateVersion
	FeatureUpdateFailed
	PrincipalDeserializationFailure
	SnapshotNotFound
	PositionOutOfRange
	UnknownTopicID
	DuplicateBrokerRegistration
	BrokerIDNotRegistered
	InconsistentTopicID
	InconsistentClusterID
	TransactionalIDNotFound
	FetchSessionTopicIDError
	IneligibleReplica
	NewLeaderElected
	OffsetMovedToTieredStorage
	FencedMemberEpoch
	UnreleasedInstanceID
	UnsupportedAssignor
	StaleMemberEpoch
	MismatchedEndpointType
	UnsupportedEndpointType
	UnknownControllerID
	UnknownSubscriptionID
	TelemetryTooLarge
	InvalidRegistration
	TransactionAbortable
	InvalidRecordState
	ShareSessionNotFound
	InvalidShareSessionEpoch
	FencedStateEpoch
	InvalidVoterKey
	DuplicateVoter
	VoterNotFound
	InvalidRegularExpression
	RebootstrapRequired
	StreamsInvalidTopology
	StreamsInvalidTopologyEpoch
	StreamsTopologyFenced
	ShareSessionLimitReached
	GroupDeletionFailed
	StreamsTopologyDescriptionUpdateFailed
	ControllerIDNotRegistered
)

// codeRow is what is known of one code.
type codeRow struct {
	name      string
	retriable bool // the client may send the same request again: the exception is a RetriableException in Java
	message   string
}

// codeRows holds the code c at index c+1.
var codeRows = [...]codeRow{
	{"UNKNOWN_SERVER_ERROR", false, "The broker met a fault that has no code of its own."},
	{"NONE", false, "No error."},
	{"OFFSET_OUT_OF_RANGE", false, "The offset lies outside the records that the partition holds."},
	{"CORRUPT_MESSAGE", true, "The records are damaged: their checksum, length or layout is wrong."},
	{"UNKNOWN_TOPIC_OR_PARTITION", true, "This broker has no such topic or partition."},
	{"INVALID_FETCH_SIZE", false, "The fetch size is not usable."},
	{"LEADER_NOT_AVAILABLE", true, "The partition has no leader at the moment."},
	{"NOT_LEADER_OR_FOLLOWER", true, "This broker does not lead the partition, or holds no replica of it."},
	{"REQUEST_TIMED_OUT", true, "The work was not finished within the time the request allowed."},
	{"BROKER_NOT_AVAILABLE", false, "The broker cannot be reached."},
	{"REPLICA_NOT_AVAILABLE", true, "This broker cannot serve the replica at the moment."},
	{"MESSAGE_TOO_LARGE", false, "A record batch is larger than the topic allows."},
	{"STALE_CONTROLLER_EPOCH", false, "Another controller has taken over."},
	{"OFFSET_METADATA_TOO_LARGE", false, "The metadata string of a committed offset is too long."},
	{"NETWORK_EXCEPTION", true, "The connection was lost before the answer came."},
	{"COORDINATOR_LOAD_IN_PROGRESS", true, "The coordinator is still reading its state; try again."},
	{"COORDINATOR_NOT_AVAILABLE", true, "No coordinator can be reached at the moment."},
	{"NOT_COORDINATOR", true, "Another broker is the coordinator for this key."},
	{"INVALID_TOPIC_EXCEPTION", false, "The topic's name is not allowed, or the topic may not be used this way."},
	{"RECORD_LIST_TOO_LARGE", false, "A record batch does not fit into one log segment."},
	{"NOT_ENOUGH_REPLICAS", true, "Too few replicas are in sync for the write to be accepted."},
	{"NOT_ENOUGH_REPLICAS_AFTER_APPEND", true, "The write is in the log, but too few replicas are in sync by now."},
	{"INVALID_REQUIRED_ACKS", false, "Required acks must be -1, 0 or 1."},
	{"ILLEGAL_GENERATION", false, "The group has moved on to another generation."},
	{"INCONSISTENT_GROUP_PROTOCOL", false, "No protocol of the member is shared by all members of the group, or it named none."},
	{"INVALID_GROUP_ID", false, "The group id is not valid."},
	{"UNKNOWN_MEMBER_ID", false, "The coordinator knows no such member."},
	{"INVALID_SESSION_TIMEOUT", false, "The session timeout lies outside the bounds that the broker sets."},
	{"REBALANCE_IN_PROGRESS", false, "The group is rebalancing; join it again."},
	{"INVALID_COMMIT_OFFSET_SIZE", false, "The offset commit is too large."},
	{"TOPIC_AUTHORIZATION_FAILED", false, "Access to the topic is denied."},
	{"GROUP_AUTHORIZATION_FAILED", false, "Access to the group is denied."},
	{"CLUSTER_AUTHORIZATION_FAILED", false, "Access to the cluster is denied."},
	{"INVALID_TIMESTAMP", false, "A record's timestamp lies outside the allowed range."},
	{"UNSUPPORTED_SASL_MECHANISM", false, "The broker does not offer this SASL mechanism."},
	{"ILLEGAL_SASL_STATE", false, "The request does not fit the state of the SASL exchange."},
	{"UNSUPPORTED_VERSION", false, "This version of the request is not answered here."},
	{"TOPIC_ALREADY_EXISTS", false, "There is already a topic of this name."},
	{"INVALID_PARTITIONS", false, "A topic needs at least one partition."},
	{"INVALID_REPLICATION_FACTOR", false, "The replication factor is below 1 or above the number of usable brokers."},
	{"INVALID_REPLICA_ASSIGNMENT", false, "The replica assignment is not valid."},
	{"INVALID_CONFIG", false, "The configuration is not valid."},
	{"NOT_CONTROLLER", true, "This node is not the controller."},
	{"INVALID_REQUEST", false, "The request contradicts itself or the protocol."},
	{"UNSUPPORTED_FOR_MESSAGE_FORMAT", false, "The stored message format cannot serve this request."},
	{"POLICY_VIOLATION", false, "A policy of the cluster forbids this."},
	{"OUT_OF_ORDER_SEQUENCE_NUMBER", false, "The batch does not continue the producer's sequence."},
	{"DUPLICATE_SEQUENCE_NUMBER", false, "The batch repeats a sequence that was already written."},
	{"INVALID_PRODUCER_EPOCH", false, "The producer's epoch is not the current one."},
	{"INVALID_TXN_STATE", false, "The transaction's state does not allow this operation."},
	{"INVALID_PRODUCER_ID_MAPPING", false, "The producer id does not belong to this transactional id."},
	{"INVALID_TRANSACTION_TIMEOUT", false, "The transaction timeout is not positive or above the broker's maximum."},
	{"CONCURRENT_TRANSACTIONS", true, "Another operation on this transaction is still running."},
	{"TRANSACTION_COORDINATOR_FENCED", false, "The sender of the markers is no longer the transaction's coordinator."},
	{"TRANSACTIONAL_ID_AUTHORIZATION_FAILED", false, "Access to the transactional id is denied."},
	{"SECURITY_DISABLED", false, "Security is switched off on this cluster."},
	{"OPERATION_NOT_ATTEMPTED", false, "The operation was left undone because another part of the request failed."},
	{"KAFKA_STORAGE_ERROR", true, "The disk that holds the partition's log has failed."},
	{"LOG_DIR_NOT_FOUND", false, "The broker has no such log directory."},
	{"SASL_AUTHENTICATION_FAILED", false, "Authentication failed."},
	{"UNKNOWN_PRODUCER_ID", false, "The partition has no state for this producer id."},
	{"REASSIGNMENT_IN_PROGRESS", false, "The partition's replicas are being moved already."},
	{"DELEGATION_TOKEN_AUTH_DISABLED", false, "Delegation tokens are switched off."},
	{"DELEGATION_TOKEN_NOT_FOUND", false, "There is no such delegation token."},
	{"DELEGATION_TOKEN_OWNER_MISMATCH", false, "The principal is neither the token's owner nor one of its renewers."},
	{"DELEGATION_TOKEN_REQUEST_NOT_ALLOWED", false, "Delegation tokens cannot be requested over this kind of connection."},
	{"DELEGATION_TOKEN_AUTHORIZATION_FAILED", false, "Access to the delegation token is denied."},
	{"DELEGATION_TOKEN_EXPIRED", false, "The delegation token has expired."},
	{"INVALID_PRINCIPAL_TYPE", false, "The type of the principal is not supported."},
	{"NON_EMPTY_GROUP", false, "The group still has members."},
	{"GROUP_ID_NOT_FOUND", false, "There is no group of this id."},
	{"FETCH_SESSION_ID_NOT_FOUND", true, "There is no such fetch session."},
	{"INVALID_FETCH_SESSION_EPOCH", true, "The epoch of the fetch session is not the expected one."},
	{"LISTENER_NOT_FOUND", true, "The leader has no listener of the name that this request came in on."},
	{"TOPIC_DELETION_DISABLED", false, "Deleting topics is switched off."},
	{"FENCED_LEADER_EPOCH", true, "The leader epoch in the request is older than the broker's."},
	{"UNKNOWN_LEADER_EPOCH", true, "The leader epoch in the request is newer than the broker's."},
	{"UNSUPPORTED_COMPRESSION_TYPE", false, "The client cannot read the partition's compression."},
	{"STALE_BROKER_EPOCH", false, "The broker epoch in the request is not the current one."},
	{"OFFSET_NOT_AVAILABLE", true, "The new leader does not know the high watermark yet; try again."},
	{"MEMBER_ID_REQUIRED", false, "Join again with the member id that was given out."},
	{"PREFERRED_LEADER_NOT_AVAILABLE", true, "The preferred leader cannot take over now."},
	{"GROUP_MAX_SIZE_REACHED", false, "The group has as many members as it may."},
	{"FENCED_INSTANCE_ID", false, "Another member with the same group instance id has taken this one's place."},
	{"ELIGIBLE_LEADERS_NOT_AVAILABLE", true, "No replica can be elected leader now."},
	{"ELECTION_NOT_NEEDED", true, "The partition is led as asked for already."},
	{"NO_REASSIGNMENT_IN_PROGRESS", false, "The partition is not being reassigned."},
	{"GROUP_SUBSCRIBED_TO_TOPIC", false, "The group is subscribed to the topic, so its offsets cannot be deleted."},
	{"INVALID_RECORD", false, "A record is not valid, and its batch was refused."},
	{"UNSTABLE_OFFSET_COMMIT", true, "Offsets of an unfinished transaction are pending; try again."},
	{"THROTTLING_QUOTA_EXCEEDED", true, "A quota is used up; try again later."},
	{"PRODUCER_FENCED", false, "A newer producer with the same transactional id has taken over."},
	{"RESOURCE_NOT_FOUND", false, "The request names a resource that does not exist."},
	{"DUPLICATE_RESOURCE", false, "The request names a resource twice."},
	{"UNACCEPTABLE_CREDENTIAL", false, "The credential does not meet the requirements."},
	{"INCONSISTENT_VOTER_SET", false, "The sender or the receiver is not among the expected voters."},
	{"INVALID_UPDATE_VERSION", false, "The update version is not valid."},
	{"FEATURE_UPDATE_FAILED", false, "The features could not be updated."},
	{"PRINCIPAL_DESERIALIZATION_FAILURE", false, "The forwarded principal could not be read."},
	{"SNAPSHOT_NOT_FOUND", false, "There is no such snapshot."},
	{"POSITION_OUT_OF_RANGE", false, "The position lies outside the snapshot."},
	{"UNKNOWN_TOPIC_ID", true, "This broker has no topic of this id."},
	{"DUPLICATE_BROKER_REGISTRATION", false, "A broker of this id is registered already."},
	{"BROKER_ID_NOT_REGISTERED", false, "No broker of this id is registered."},
	{"INCONSISTENT_TOPIC_ID", true, "The log belongs to another topic id than the request."},
	{"INCONSISTENT_CLUSTER_ID", false, "The request belongs to another cluster."},
	{"TRANSACTIONAL_ID_NOT_FOUND", false, "There is no such transactional id."},
	{"FETCH_SESSION_TOPIC_ID_ERROR", true, "The fetch session mixes topic names and topic ids."},
	{"INELIGIBLE_REPLICA", false, "The new in-sync set names a replica that may not join it."},
	{"NEW_LEADER_ELECTED", false, "The partition was changed, and another leader was elected."},
	{"OFFSET_MOVED_TO_TIERED_STORAGE", false, "The offset is in tiered storage."},
	{"FENCED_MEMBER_EPOCH", false, "The member's epoch is no longer valid; give up all partitions and join again."},
	{"UNRELEASED_INSTANCE_ID", false, "Another member still holds this instance id and must leave first."},
	{"UNSUPPORTED_ASSIGNOR", false, "The group does not support this assignor, or not in this version."},
	{"STALE_MEMBER_EPOCH", false, "The member's epoch is out of date; send a heartbeat first."},
	{"MISMATCHED_ENDPOINT_TYPE", false, "The request was sent to the wrong kind of endpoint."},
	{"UNSUPPORTED_ENDPOINT_TYPE", false, "This kind of endpoint is not supported."},
	{"UNKNOWN_CONTROLLER_ID", false, "There is no controller of this id."},
	{"UNKNOWN_SUBSCRIPTION_ID", false, "The telemetry subscription is unknown or out of date."},
	{"TELEMETRY_TOO_LARGE", false, "The telemetry payload is larger than the broker accepts."},
	{"INVALID_REGISTRATION", false, "The controller finds the registration not valid."},
	{"TRANSACTION_ABORTABLE", false, "The transaction cannot go on and must be aborted."},
	{"INVALID_RECORD_STATE", false, "The record is not in a state that can be acknowledged this way."},
	{"SHARE_SESSION_NOT_FOUND", true, "There is no such share session."},
	{"INVALID_SHARE_SESSION_EPOCH", true, "The epoch of the share session is not the expected one."},
	{"FENCED_STATE_EPOCH", false, "The state epoch in the request is not the current one."},
	{"INVALID_VOTER_KEY", false, "The voter key differs from the one of the receiving replica."},
	{"DUPLICATE_VOTER", false, "The voter is already in the set."},
	{"VOTER_NOT_FOUND", false, "The voter is not in the set."},
	{"INVALID_REGULAR_EXPRESSION", false, "The pattern cannot be parsed as a regular expression."},
	{"REBOOTSTRAP_REQUIRED", false, "The client's view of the cluster is too old; it must bootstrap anew."},
	{"STREAMS_INVALID_TOPOLOGY", false, "The topology is not valid."},
	{"STREAMS_INVALID_TOPOLOGY_EPOCH", false, "The epoch of the topology is not valid."},
	{"STREAMS_TOPOLOGY_FENCED", false, "The epoch of the topology is out of date."},
	{"SHARE_SESSION_LIMIT_REACHED", true, "No more share sessions can be opened."},
	{"GROUP_DELETION_FAILED", false, "The group could not be deleted."},
	{"STREAMS_TOPOLOGY_DESCRIPTION_UPDATE_FAILED", false, "The topology description could not be updated."},
	{"CONTROLLER_ID_NOT_REGISTERED", false, "No controller of this id is registered."},
}
