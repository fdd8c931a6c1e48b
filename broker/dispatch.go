package broker

import (
	"time"

	"moldau.io/moldau/protocol"
)

// A handler starts the work of one request. It runs on the connection's reading goroutine, so what it does before it
// returns happens in request order; it answers by exactly one call of r.Reply, r.ReplyRaw, r.NoReply, r.Hangup or
// r.Park, now or later, from any goroutine. It may block on local work and on Node.Propose only, and must respect
// r.ctx.
type handler func(b *Broker, r *request)

// handlers has one row for each row of protocol.APIs; a test holds the two equal.
var handlers = map[int16]handler{
	0:  handleProduce,
	1:  handleFetch,
	2:  handleListOffsets,
	3:  handleMetadata,
	8:  handleOffsetCommit,
	9:  handleOffsetFetch,
	10: handleFindCoordinator,
	11: handleJoinGroup,
	12: handleHeartbeat,
	13: handleLeaveGroup,
	14: handleSyncGroup,
	15: handleDescribeGroups,
	16: handleListGroups,
	18: handleAPIVersions,
	19: handleCreateTopics,
	20: handleDeleteTopics,
	21: handleDeleteRecords,
	22: handleInitProducerID,
	23: handleOffsetForLeaderEpoch,
	32: handleDescribeConfigs,
	33: handleAlterConfigs,
	34: handleAlterReplicaLogDirs,
	35: handleDescribeLogDirs,
	37: handleCreatePartitions,
	42: handleDeleteGroups,
	43: handleElectLeaders,
	44: handleIncrementalAlterConfigs,
	45: handleAlterPartitionReassignments,
	46: handleListPartitionReassignments,
	47: handleOffsetDelete,
	55: handleDescribeQuorum,
	57: handleUpdateFeatures,
	60: handleDescribeCluster,
	61: handleDescribeProducers,
	64: handleUnregisterBroker,
	68: handleConsumerGroupHeartbeat,
	69: handleConsumerGroupDescribe,
	74: handleListConfigResources,
	75: handleDescribeTopicPartitions,
}

const (
	keyProduce     int16 = 0
	keyFetch       int16 = 1
	keyAPIVersions int16 = 18
)

// parse makes a request of a frame. The error says why the frame is none, and costs the connection: Kafka sends nothing
// for an unknown key, a version that it does not have, or a body that cannot be read (core/network/SocketServer.scala).
func (b *Broker) parse(c *conn, frame []byte) (*request, error) {
	now := time.Now()
	c.lastActive.Store(int64(now.Sub(c.srv.start)))
	body, err := c.header.Parse(frame) // keeps the client id of the request before, which is the same string
	h := c.header
	if err != nil {
		return nil, frameErrorf("a request header that cannot be read: %v", err)
	}
	api, _ := protocol.Lookup(h.Key)
	r := &request{ctx: c.ctx, conn: c, header: h, received: now, stats: b.metrics.api(h.Key)}
	switch {
	case !api.Supports(h.Version): // ApiVersions; any other was an error
		r.unsupported = true
	case h.Key == keyProduce || h.Key == keyFetch:
		r.body = body
	default:
		// The message keeps slices of what it is decoded from, and its handler may keep the message; the connection's
		// buffer is used again for the next frame.
		r.msg, err = protocol.DecodeBody(api, h.Version, append([]byte(nil), body...))
		if err != nil {
			return nil, frameErrorf("a %s request of version %d whose body cannot be read: %v", api.Name, h.Version, err)
		}
	}
	return r, nil
}

// dispatch runs the request's handler.
func (b *Broker) dispatch(r *request) {
	if r.unsupported {
		// The one error that has its own answer: a newer client learns from it which versions to use (KIP-511).
		r.ReplyRaw(protocol.EncodeUnsupportedApiVersions(r.header))
		return
	}
	h, ok := b.handlers[r.header.Key]
	if !ok {
		r.Hangup("no handler") // a test holds the two tables equal
		return
	}
	h(b, r)
}
