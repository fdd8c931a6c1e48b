package meta

import (
	"reflect"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

func (c *Controller) registerBroker(now time.Time, cmd RegisterBroker) ([]Record, Reply, error) {
	if cmd.ID < 0 {
		return nil, nil, protocol.Errorf(protocol.InvalidRequest, "a broker id must not be negative: %d", cmd.ID)
	}
	if err := c.checkRegistration(now, cmd); err != nil {
		return nil, nil, err
	}
	old := c.image.Broker(cmd.ID)
	b := Broker{
		ID: cmd.ID, Rack: cmd.Rack, Listeners: slices.Clone(cmd.Listeners), Incarnation: cmd.Incarnation,
		Cluster: cmd.Cluster, Quorum: cmd.Quorum, Version: cmd.Version, Features: slices.Clone(cmd.Features),
	}
	if old != nil {
		b.Draining = old.Draining
		if old.Incarnation == cmd.Incarnation && !cmd.Incarnation.IsZero() { // the same process tells more of itself
			b.Epoch, b.Fenced, b.Stopping = old.Epoch, old.Fenced, old.Stopping
			if reflect.DeepEqual(b, *old) {
				return nil, RegisterBrokerReply{Epoch: b.Epoch}, nil
			}
			return []Record{BrokerRecord{Broker: b}}, RegisterBrokerReply{Epoch: b.Epoch}, nil
		}
	}
	// The epoch need only be greater than that of every registration before it.
	b.Epoch = max(c.image.Offset(), c.image.lastEpoch) + 1
	recs := c.begin(cmd, &b, old)
	c.standings[b.ID] = &standing{epoch: b.Epoch, until: now.Add(c.cfg.Lease), stop: -1, registered: offsetPending}
	return recs, RegisterBrokerReply{Epoch: b.Epoch}, nil
}

// begin has a new process of a broker take its place. One of several is fenced until it says that it has applied the metadata up
// to here, so that nobody is sent to a broker that does not know what it leads. The only one serves at once.
func (c *Controller) begin(cmd RegisterBroker, b, old *Broker) []Record {
	ids := []protocol.BrokerID{b.ID}
	clean := old != nil && cmd.CleanEpoch == old.Epoch
	others := slices.ContainsFunc(c.image.Brokers(), func(o *Broker) bool { return o.ID != b.ID })
	if others && !b.Incarnation.IsZero() {
		b.Fenced = true
		var uncleanly []protocol.BrokerID
		if !clean {
			uncleanly = ids
		}
		return append(c.leave(ids, uncleanly), BrokerRecord{Broker: *b})
	}
	recs := []Record{BrokerRecord{Broker: *b}}
	if old == nil {
		return recs
	}
	if !cmd.SameEpochs && c.leads(b.ID) {
		recs = append(recs, BrokerElectionRecord{Broker: b.ID})
	}
	// It serves what it led in new epochs. What nobody led it may lead now.
	return append(recs, c.change(c.voters(nil, b.ID), func(p *Partition) bool {
		return p.Leader == -1
	}, func(ch *partitionChange) {
		if !clean && !b.Incarnation.IsZero() {
			ch.isr, ch.uncleanly = without(ch.isr, b.ID), ids
		}
	})...)
}

// checkRegistration refuses a second process with the id of one that lives, and a build that cannot do what the cluster has
// agreed on.
func (c *Controller) checkRegistration(now time.Time, cmd RegisterBroker) error {
	if b := c.image.Broker(cmd.ID); b != nil && !b.Incarnation.IsZero() && b.Incarnation != cmd.Incarnation &&
		c.living(now, b) && !c.sameFolder(cmd, b) {
		return protocol.Errorf(protocol.DuplicateBrokerRegistration, "another broker with id %d is alive, at %s; if it was "+
			"stopped just now this passes within %v", cmd.ID, b.where(), c.cfg.Lease)
	}
	if have, reads := c.image.format(), readsUpTo(cmd.Features); reads < have {
		return protocol.Errorf(protocol.UnsupportedVersion, "broker %d reads metadata records up to level %d, and this cluster "+
			"writes level %d: start it with a newer build", cmd.ID, reads, have)
	}
	if len(cmd.Features) == 0 {
		return nil // a build that does not say
	}
	for _, f := range c.image.Features() {
		if IsOwnFeature(f.Name) {
			continue
		}
		i := slices.IndexFunc(cmd.Features, func(r FeatureRange) bool { return r.Name == f.Name })
		var r FeatureRange
		if i >= 0 {
			r = cmd.Features[i]
		}
		if f.Level < r.Min || f.Level > r.Max {
			return protocol.Errorf(protocol.UnsupportedVersion, "broker %d supports levels %s of %s, and this cluster uses "+
				"level %d: start it with a build that supports that", cmd.ID, r, f.Name, f.Level)
		}
	}
	return nil
}

// sameFolder says that a process works in the data folder of a registered one, at its address: it has taken the folder's lock and
// the port, so that the other has ended, however young its lease. The only broker there is has nobody to be taken for.
func (c *Controller) sameFolder(cmd RegisterBroker, b *Broker) bool {
	return c.alone(b) || cmd.Quorum != 0 && cmd.Quorum == b.Quorum && cmd.Cluster == b.Cluster
}

// where is an address of the broker.
func (b *Broker) where() string {
	if b.Cluster != "" || len(b.Listeners) == 0 {
		return b.Cluster
	}
	return b.Listeners[0].Host
}

func (c *Controller) leads(id protocol.BrokerID) bool {
	for _, t := range c.image.Topics() {
		for i := range t.Partitions {
			if t.Partitions[i].Leader == id {
				return true
			}
		}
	}
	return false
}
