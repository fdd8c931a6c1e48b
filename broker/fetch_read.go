package broker

import (
	"cmp"
	"encoding/binary"
	"io"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage"
)

// The part of a Fetch that looks at partitions and reads them.

// readState is what was found of a partition when it was last read.
type readState struct {
	p     *Partition
	limit protocol.Offset // where a read had to stop
	bytes int64
}

// readAll reads the partitions in their order until maxBytes is used up (rules 60, 61). enough says that the answer
// must not wait whatever was read: a partition could not be read, or there is none to wait for (rule 62).
func (f *fetch) readAll() (got int64, enough bool) {
	if f.session != nil && !f.full { // another connection may use the session too, though no client should
		f.session.mu.Lock()
		defer f.session.mu.Unlock()
	}
	f.results, f.state = f.results[:0], f.state[:0]
	limit, valid := f.maxBytes, false
	for _, part := range f.parts {
		f.results = append(f.results, protocol.FetchResult{
			Topic: part.topic, TopicID: part.key.id, Partition: part.key.partition,
			HighWatermark: -1, LastStable: -1, LogStart: -1, PreferredReadReplica: -1,
		})
		f.state = append(f.state, readState{})
		res, st := &f.results[len(f.results)-1], &f.state[len(f.state)-1]
		p, code := f.find(part)
		if code != protocol.None {
			res.Code = code                           // no reason to hurry, as in Kafka
			if code != protocol.NotLeaderOrFollower { // which Kafka finds out later
				res.Aborted = noneAborted
			}
			continue
		}
		valid = true
		st.p = p
		if err := f.read(p, part, res, st, limit, got == 0); err != nil {
			f.failed(p, res, err)
			enough = true
			continue
		}
		if res.Diverging != nil || res.PreferredReadReplica >= 0 {
			enough = true
		}
		got += st.bytes
		limit = max(0, limit-int(st.bytes))
	}
	return got, enough || !valid
}

// find is the partition of an entry, or the code for there being none.
func (f *fetch) find(part *sessionPart) (*Partition, protocol.Code) {
	byID := f.req.Version >= fetchTopicIDs
	var t *hosted
	if byID {
		t = f.b.partitions.topicByID(part.key.id)
		if t != nil {
			part.topic = t.name
		}
	} else {
		t = f.b.partitions.topic(part.topic)
	}
	switch {
	case t == nil && byID && part.topic == "":
		return nil, protocol.UnknownTopicID
	case t == nil && byID:
		return nil, f.goneTopic(part)
	case t == nil || !t.has(part.key.partition):
		return nil, protocol.UnknownTopicOrPartition
	case t.at(part.key.partition) == nil:
		return nil, t.absent(part.key.partition)
	}
	return t.at(part.key.partition), protocol.None
}

// goneTopic is the code for a topic that was known under its id once: it is deleted, or another one has its name now.
// A session remembers, and so does a request that has been waiting; to any other the id is as unknown as any (rule 66).
func (f *fetch) goneTopic(part *sessionPart) protocol.Code {
	if f.b.partitions.topic(part.topic) != nil {
		return protocol.InconsistentTopicID
	}
	return protocol.UnknownTopicOrPartition
}

// read reads one partition into its result.
func (f *fetch) read(p *Partition, part *sessionPart, res *protocol.FetchResult, st *readState, limit int,
	minOne bool) error {
	if f.req.ReplicaID >= 0 {
		return protocol.NotLeaderOrFollower // whoever it is, it is no broker that follows (rule 73): see fromReplica
	}
	follows, err := p.fenceReader(part.leaderEpoch, f.req.Version >= fetchFollowers)
	if err != nil {
		return err
	}
	hw := p.highWatermark()
	bounds := p.log.Bounds()
	stable := min(p.log.LastStable(), hw)
	st.limit = hw
	if f.req.IsolationLevel != readUncommitted {
		st.limit = stable
	}
	if follows && part.offset > bounds.End {
		return protocol.OffsetNotAvailable // the leader may have it: the client must not begin anew somewhere else (C63)
	}
	if part.lastEpoch >= 0 {
		d, err := diverges(p, part)
		if follows && err != nil {
			err = protocol.OffsetNotAvailable // of an epoch from which nothing has come here yet
		}
		if err != nil || d != nil {
			res.Diverging, res.HighWatermark, res.LastStable, res.LogStart = d, hw, stable, bounds.Start
			return err
		}
	}
	if part.offset < bounds.Start || part.offset > bounds.End {
		return protocol.OffsetOutOfRange
	}
	res.HighWatermark, res.LastStable, res.LogStart = hw, stable, bounds.Start
	if f.req.IsolationLevel != readUncommitted {
		res.Aborted = noneAborted
	}
	if !follows && len(f.req.Rack) > 0 && f.b.followersServe {
		if res.PreferredReadReplica = f.preferred(p, part.offset); res.PreferredReadReplica >= 0 {
			return nil
		}
	}
	if part.offset >= st.limit {
		return nil
	}
	slice, err := p.log.Read(part.offset, st.limit, max(0, min(int(part.maxBytes), limit)), minOne)
	if err != nil {
		return err
	}
	whole, err := minOne, error(nil)
	if !minOne {
		whole, err = firstIsWhole(slice)
	}
	if err != nil || !whole {
		slice.Release()
		return err
	}
	st.bytes = slice.Len()
	res.Records = slice
	if f.req.IsolationLevel != readUncommitted {
		res.Aborted, err = abortedIn(p, part.offset, st.limit, slice)
	}
	return err
}

// firstIsWhole says whether a slice holds all of its first batch. One that does not is not sent: clients of these
// versions get the first batch of the answer whole, so that they need no fragment to see that they must ask for more.
func firstIsWhole(s storage.Slice) (bool, error) {
	var head [12]byte
	if s.Len() < int64(len(head)) {
		return false, nil
	}
	if _, err := s.ReadAt(head[:], 0); err != nil && err != io.EOF {
		return false, err
	}
	return int64(binary.BigEndian.Uint32(head[8:]))+int64(len(head)) <= s.Len(), nil
}

// noneAborted is sent to a read_committed consumer as an empty list; read_uncommitted gets null.
var noneAborted = []protocol.AbortedTransaction{}

// abortedIn is the aborted transactions that a slice, read from an offset on, touches.
func abortedIn(p *Partition, from, limit protocol.Offset, s storage.Slice) ([]protocol.AbortedTransaction, error) {
	all, err := p.log.Aborted(from, limit)
	if err != nil || len(all) == 0 {
		return noneAborted, err
	}
	end, err := endOf(s)
	if err != nil {
		return noneAborted, err
	}
	out := make([]protocol.AbortedTransaction, 0, len(all))
	for _, t := range all {
		if t.First < end {
			out = append(out, protocol.AbortedTransaction{ProducerID: t.ProducerID, FirstOffset: t.First})
		}
	}
	slices.SortStableFunc(out, func(a, b protocol.AbortedTransaction) int { // clients rely on the order (C59)
		return cmp.Compare(a.FirstOffset, b.FirstOffset)
	})
	return out, nil
}

// endOf is the offset behind the last batch of a slice; one that is cut off at the end counts.
func endOf(s storage.Slice) (protocol.Offset, error) {
	var head [batch.HeaderBytes]byte
	end := s.FirstOffset()
	for at := int64(0); at+batch.HeaderBytes <= s.Len(); {
		if _, err := s.ReadAt(head[:], at); err != nil && err != io.EOF {
			return end, err
		}
		b := batch.Batch(head[:])
		end = b.LastOffset() + 1
		at += int64(binary.BigEndian.Uint32(head[8:])) + 12 // the length does not count itself and the offset
	}
	return end, nil
}

// diverges compares a reader's last epoch with the log: where they part is what it is told (KIP-595, rule 65).
func diverges(p *Partition, part *sessionPart) (*protocol.DivergingEpoch, error) {
	epoch, end := p.log.EpochEnd(part.lastEpoch)
	switch {
	case epoch < 0 || end < 0:
		return nil, protocol.OffsetOutOfRange
	case epoch < part.lastEpoch || end < part.offset:
		return &protocol.DivergingEpoch{Epoch: epoch, EndOffset: end}, nil
	}
	return nil, nil
}

// failed settles a partition that could not be read. Clients know few codes here, and the Java one dies of the others
// (C55), so that whatever has no code of its own is KAFKA_STORAGE_ERROR.
func (f *fetch) failed(p *Partition, res *protocol.FetchResult, err error) {
	code := protocol.CodeOf(err)
	switch code {
	case protocol.OffsetOutOfRange, protocol.NotLeaderOrFollower, protocol.FencedLeaderEpoch,
		protocol.UnknownLeaderEpoch, protocol.CorruptMessage, protocol.OffsetNotAvailable:
	default:
		f.b.firsts.warn(f.b.log, "read "+p.id.String(), "cannot read", "topic", p.id.Topic, "partition", p.id.Partition,
			"err", err)
		code = protocol.KafkaStorageError
	}
	if res.Records != nil {
		res.Records.Release()
	}
	*res = protocol.FetchResult{
		Topic: res.Topic, TopicID: res.TopicID, Partition: res.Partition, Code: code,
		HighWatermark: -1, LastStable: -1, LogStart: -1, PreferredReadReplica: -1,
	}
}
