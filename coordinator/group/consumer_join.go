package group

import (
	"encoding/base64"
	"encoding/binary"

	"moldau.io/moldau/protocol"
)

// dynamic finds the member that the heartbeat is of. One that joins is made if it is not known.
func (b *beat) dynamic(r *ConsumerHeartbeat) *refusal {
	mem := b.g.members[b.id]
	if mem == nil {
		if r.Epoch != joinEpoch {
			return refuse(protocol.UnknownMemberID, "Member %s is not a member of group %s.", b.id, b.g.id)
		}
		b.wasDesc, b.wasCur = newcomer()
		b.isNew = true
		return nil
	}
	b.wasDesc, b.wasCur = mem.desc, mem.cur
	return mem.checkEpoch(r.Epoch, r.Owned)
}

// static is dynamic for a member with an instance id. Who joins takes the place of the member that left it for a while,
// under its own member id and with all that the other one was to have.
func (m *Machine) static(b *beat, r *ConsumerHeartbeat) *refusal {
	holder := b.g.static[*r.Instance]
	if r.Epoch != joinEpoch {
		switch {
		case holder == nil:
			return refuse(protocol.UnknownMemberID, "Instance id %s is unknown.", *r.Instance)
		case holder.id != b.id:
			return fenced(b.id, *r.Instance, holder.id)
		}
		b.wasDesc, b.wasCur = holder.desc, holder.cur
		return holder.checkEpoch(r.Epoch, r.Owned)
	}
	if holder == nil {
		if mem := b.g.members[b.id]; mem != nil { // it had no instance id, or another one
			b.wasDesc, b.wasCur = mem.desc, mem.cur
			return nil
		}
		b.wasDesc, b.wasCur = newcomer()
		b.isNew = true
		return nil
	}
	if holder.cur.Epoch != leaveStaticEpoch && holder.desc.Classic == nil {
		return refuse(protocol.UnreleasedInstanceID, "Static member %s with instance id %s cannot join the group because "+
			"the instance id is owned by %s member.", b.id, *r.Instance, holder.id)
	}
	m.replaceStatic848(b, holder)
	return nil
}

func fenced(id, instance, holder string) *refusal {
	return refuse(protocol.FencedInstanceID, "Static member %s with instance id %s was fenced by member %s.", id, instance,
		holder)
}

// replaceStatic848 gives the place of a static member to the sender of a heartbeat.
func (m *Machine) replaceStatic848(b *beat, old *consumerMember) {
	g := b.g
	cur := *old.cur
	cur.Epoch, cur.PreviousEpoch = 0, 0
	b.wasDesc, b.wasCur = old.desc, &cur
	reason := "it comes back under its own id"
	if old.id != b.id {
		b.old = old
		m.dropMember(g, old.id)
		m.record(Record{Kind: KindMember, Group: g.id, Name: b.id, Value: b.wasDesc})
		m.record(Record{Kind: KindMemberTarget, Group: g.id, Name: b.id, Value: &MemberTarget{Topics: g.targets[old.id]}})
		reason = "it takes the place of member " + old.id
	}
	m.record(Record{Kind: KindCurrent, Group: g.id, Name: b.id, Value: b.wasCur})
	who := old.who()
	who.Member = b.id
	m.tell(Event{
		Kind: MemberReturned, Group: g.id, Generation: g.epoch, Members: len(g.members), Who: who, Stored: true,
		Reason: reason,
	})
}

// dropMember writes the tombstones of one member.
func (m *Machine) dropMember(g *consumerGroup, id string) {
	m.record(Record{Kind: KindCurrent, Group: g.id, Name: id})
	m.record(Record{Kind: KindMemberTarget, Group: g.id, Name: id})
	m.record(Record{Kind: KindMember, Group: g.id, Name: id})
}

// newConsumerID is an id for a member whose client makes none (v0): 16 random bytes as Kafka writes them.
func (m *Machine) newConsumerID() string {
	for {
		var b [16]byte
		binary.BigEndian.PutUint64(b[:], m.rng.Uint64())
		binary.BigEndian.PutUint64(b[8:], m.rng.Uint64())
		b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80                       // version 4, variant 1
		if s := base64.RawURLEncoding.EncodeToString(b[:]); s[0] != '-' { // which tools would take for an option
			return s
		}
	}
}
