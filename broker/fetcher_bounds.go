package broker

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

// Where a leader's log begins and ends: asked for with ListOffsets, by a follower whose next offset the leader does not have.

// boundsVersion is the version of ListOffsets that followers send.
const boundsVersion = 8

// askBounds asks for the bounds of all partitions that are lost, and has them go on from there. No fetch is under way.
func (f *fetcher) askBounds() error {
	lost := f.lost
	f.lost = nil
	starts, err := f.listOffsets(lost, timestampEarliestLocal)
	if err != nil {
		f.lost = lost
		return err
	}
	ends, err := f.listOffsets(lost, timestampLatest)
	if err != nil {
		f.lost = lost
		return err
	}
	now := time.Now()
	for _, x := range lost {
		start, end := starts[x.key], ends[x.key]
		var wait time.Duration
		var err error
		if start.code != protocol.None || end.code != protocol.None {
			wait = x.p.unanswered(x.epoch)
		} else {
			wait, err = x.p.bounded(now, x.epoch, start.offset, end.offset)
		}
		f.goOn(now, x, wait, err)
	}
	return nil
}

// listed is the answer for one partition.
type listed struct {
	offset protocol.Offset
	code   protocol.Code
}

// listOffsets asks one question about partitions. One that the leader says nothing of has an error.
func (f *fetcher) listOffsets(of []*following, timestamp int64) (map[partID]listed, error) {
	req := kmsg.NewPtrListOffsetsRequest()
	req.Version, req.ReplicaID = boundsVersion, int32(f.b.nodeID())
	out := map[partID]listed{}
	names := map[string]protocol.TopicID{}
	for _, x := range of {
		out[x.key] = listed{code: protocol.UnknownServerError}
		names[x.p.id.Topic] = x.key.topic
		p := kmsg.NewListOffsetsRequestTopicPartition()
		p.Partition, p.CurrentLeaderEpoch, p.Timestamp = x.key.partition, int32(x.epoch), timestamp
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic, t.Partitions = x.p.id.Topic, append(t.Partitions, p)
		req.Topics = append(req.Topics, t)
	}
	id := f.clientID()
	f.asks++
	frame := kmsg.NewRequestFormatter(kmsg.FormatterClientID(id)).AppendRequest(nil, req, -f.asks)
	if err := f.conn.write(frame); err != nil {
		return nil, err
	}
	f.conn.limit(f.cfg.timeout)
	answer, err := f.conn.read()
	for errors.Is(err, errInterrupted) { // the mail can wait
		f.conn.limit(f.cfg.timeout)
		answer, err = f.conn.read()
	}
	if err != nil {
		return nil, err
	}
	const header = 5 // the correlation id and no tagged fields
	resp := kmsg.NewPtrListOffsetsResponse()
	resp.Version = boundsVersion
	if len(answer) < header || int32(binary.BigEndian.Uint32(answer)) != -f.asks || answer[4] != 0 {
		return nil, errors.New("an answer to another question than ListOffsets")
	}
	if err := resp.ReadFrom(answer[header:]); err != nil {
		return nil, fmt.Errorf("answer to ListOffsets: %w", err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			key := partID{names[t.Topic], p.Partition}
			if _, asked := out[key]; asked {
				out[key] = listed{protocol.Offset(p.Offset), protocol.Code(p.ErrorCode)}
			}
		}
	}
	return out, nil
}
