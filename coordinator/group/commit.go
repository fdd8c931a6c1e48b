package group

import (
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// commitOffsets takes OffsetCommit. Commits may go backwards, and a negative offset is stored like any other.
func (m *Machine) commitOffsets(now time.Time, t Ticket, r *CommitOffsets) {
	if len(r.Group) > stringBytesMax {
		m.reply(t, r.Refuse(protocol.InvalidGroupID))
		return
	}
	if cg := m.consumers[r.Group]; cg != nil {
		if code := cg.mayCommit(r); code != protocol.None {
			m.reply(t, r.Refuse(code))
			return
		}
		m.storeOffsets(now, t, r)
		return
	}
	g := m.groups[r.Group]
	if code := m.mayCommit(now, g, r); code != protocol.None {
		m.reply(t, r.Refuse(code))
		return
	}
	m.storeOffsets(now, t, r)
}

// storeOffsets takes the offsets of a sender that may commit.
func (m *Machine) storeOffsets(now time.Time, t Ticket, r *CommitOffsets) {
	wall := now.UnixMilli()
	expires := int64(-1)
	if r.Retention >= 0 {
		expires = wall + r.Retention.Milliseconds()
	}
	m.eff.Records = slices.Grow(m.eff.Records, len(r.Partitions))
	for i := range r.Partitions {
		p := &r.Partitions[i]
		if p.Code != protocol.None {
			continue
		}
		if javaLength(p.Metadata) > m.cfg.OffsetMetadataMax || expires >= 0 && len(p.Metadata) > stringBytesMax {
			p.Code = protocol.OffsetMetadataTooLarge
			continue
		}
		m.record(commitRecord(r.Group, p.Topic, p.Partition, &Commit{
			Offset: p.Offset, LeaderEpoch: p.LeaderEpoch, Metadata: p.Metadata, Timestamp: wall, Expires: expires,
			TopicID: p.TopicID,
		}))
	}
	m.reply(t, &CommitResult{Partitions: r.Partitions})
}

// mayCommit says whether the sender is who it says, in the generation that runs. A consumer without a group (generation
// -1, no member id) may commit while the group has no members; the group need not exist.
func (m *Machine) mayCommit(now time.Time, g *group, r *CommitOffsets) protocol.Code {
	switch {
	case g == nil && r.Generation < 0:
		return protocol.None
	case g == nil && r.KnowsGroupNotFound:
		return protocol.GroupIDNotFound
	case g == nil:
		return protocol.IllegalGeneration
	case g.state == Empty && r.Generation < 0:
		return protocol.None
	}
	if r.Generation < 0 && r.Member == "" && r.Instance == nil {
		if g.state == Empty {
			return protocol.None
		}
		return protocol.UnknownMemberID
	}
	mem, code := m.find(g, r.Member, r.Instance)
	switch {
	case code != protocol.None:
		return code
	case !g.inGeneration(mem, r.Generation):
		return protocol.IllegalGeneration
	case g.state == CompletingRebalance:
		return protocol.RebalanceInProgress
	}
	m.setSession(now, g, mem, mem.session)
	return protocol.None
}

// javaLength is String.length(): UTF-16 units, which is what Kafka compares with offset.metadata.max.bytes.
func javaLength(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > 0xffff {
			n++
		}
	}
	return n
}
