package meta

import (
	"slices"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

// eligibleLeaderReplicas is the feature under which the controller keeps the replicas that left the in-sync set while it was
// too small for anything to be committed (KIP-966).
const eligibleLeaderReplicas = "eligible.leader.replicas.version"

// minISRKey is how many replicas must be in sync for a record to be committed.
const minISRKey = "min.insync.replicas"

// election says whom an election may choose.
type election uint8

const (
	electAny       election = iota // the leader stays if it may; else the first replica that has every committed record
	electPreferred                 // the first replica if it has every committed record
	electUnclean                   // as electAny, and where there is none, the first replica that is alive
)

// rules are what decides about the partitions of one topic.
type rules struct {
	minISR  int  // min.insync.replicas
	unclean bool // unclean.leader.election.enable
	elr     bool // whether the cluster keeps eligible leader replicas
}

// voters says which brokers may lead: those that are alive and stay. It knows of changes that are not in the image yet.
type voters struct {
	image   *Image
	leaving []protocol.BrokerID // may not, whatever the image says
	coming  protocol.BrokerID   // may, whatever the image says; -1 for none
	avoided []protocol.BrokerID // lead only where nobody else can: brokers that are being emptied
}

func (c *Controller) voters(leaving []protocol.BrokerID, coming protocol.BrokerID) *voters {
	v := &voters{image: c.image, leaving: leaving, coming: coming}
	for _, b := range c.image.Brokers() {
		if b.Draining {
			v.avoided = append(v.avoided, b.ID)
		}
	}
	return v
}

func (v *voters) has(id protocol.BrokerID) bool {
	if slices.Contains(v.leaving, id) {
		return false
	}
	return id == v.coming && id >= 0 || v.image.active(id)
}

// active says that a broker is alive and is to stay.
func (im *Image) active(id protocol.BrokerID) bool {
	b := im.Broker(id)
	return b != nil && !b.Fenced && !b.Stopping
}

// rulesOf is the rules of a topic. The view is that of the image.
func (c *Controller) rulesOf(view config.View, t *Topic) rules {
	own := c.image.Configs(config.TopicResource, t.Name)
	return rules{
		minISR:  int(view.TopicInt(own, minISRKey)),
		unclean: view.TopicBool(own, "unclean.leader.election.enable"),
		elr:     c.image.Feature(eligibleLeaderReplicas) > 0,
	}
}

func (c *Controller) view() config.View { return config.NewView(c.cfg.Static, c.image) }

// partitionChange is a change to one partition in the making: what it is to become, on which build has what follows from that
// happen (Kafka's PartitionChangeBuilder). Whoever makes one sets the wanted fields and calls build.
type partitionChange struct {
	rules
	was      *Partition
	voters   *voters
	election election

	// Wanted.
	replicas, isr, adding, removing []protocol.BrokerID
	recovering                      bool

	// unclean is replicas that may have lost records: they do not come into the ELR.
	uncleanly []protocol.BrokerID

	elr []protocol.BrokerID
}

// changeOf begins a change that wants everything as it is. Its election is the one that the topic's configuration allows.
func changeOf(p *Partition, r rules, v *voters) partitionChange {
	ch := partitionChange{
		rules: r, was: p, voters: v, replicas: p.Replicas, isr: p.ISR, adding: p.Adding, removing: p.Removing,
		recovering: p.Recovering, elr: p.ELR,
	}
	if r.unclean {
		ch.election = electUnclean
	}
	return ch
}

// build is the partition after the change, and whether it differs from what it was.
//
// The leader epoch rises when the leader is another or none, and when a replica is taken away, so that a follower which is none
// any more is refused. It stays when the in-sync set shrinks. The partition's epoch rises with every change.
func (ch *partitionChange) build() (Partition, bool) {
	ch.completeReassignment()
	ch.gatherELR()
	to, was := *ch.was, ch.was
	leader, unclean := ch.elect()
	elected := leader != was.Leader
	if elected && slices.Contains(ch.elr, leader) {
		ch.isr, ch.elr = []protocol.BrokerID{leader}, without(ch.elr, leader)
		if ch.commits() {
			ch.elr = nil // from now on it may commit what they have not
		}
	}
	if elected && leader != -1 {
		ch.isr = slices.DeleteFunc(slices.Clone(ch.isr), func(id protocol.BrokerID) bool { return !ch.voters.has(id) })
	}
	unclean = unclean && elected
	if unclean {
		ch.isr, ch.elr = []protocol.BrokerID{leader}, nil
	}
	if !ch.rules.elr && len(ch.isr) > 0 {
		ch.elr = nil
	}
	to.Leader, to.ELR = leader, orNil(ch.elr)
	if elected || !containsAll(ch.replicas, was.Replicas) {
		to.LeaderEpoch++
	}
	if len(ch.isr) > 0 || ch.rules.elr { // without an ELR the last replica in sync is remembered in the ISR
		to.ISR = orNil(ch.isr)
	}
	ch.rememberLeader(&to, elected)
	to.Replicas, to.Adding, to.Removing = ch.replicas, orNil(ch.adding), orNil(ch.removing)
	to.Recovering = ch.recovering || unclean
	to.Epoch++
	changed := to.LeaderEpoch != was.LeaderEpoch || to.Recovering != was.Recovering ||
		!slices.Equal(to.Replicas, was.Replicas) || !slices.Equal(to.ISR, was.ISR) ||
		!slices.Equal(to.ELR, was.ELR) || !slices.Equal(to.LastKnownELR, was.LastKnownELR) ||
		!slices.Equal(to.Adding, was.Adding) || !slices.Equal(to.Removing, was.Removing)
	return to, changed
}

// rememberLeader keeps the last leader of a partition that has none in LastKnownELR: when nothing better is left, it is
// the one that has lost least.
func (ch *partitionChange) rememberLeader(to *Partition, elected bool) {
	switch {
	case !ch.rules.elr:
		to.LastKnownELR = nil
	case elected && to.Leader == -1 && len(to.LastKnownELR) == 0:
		to.LastKnownELR = []protocol.BrokerID{ch.was.Leader}
	case to.Leader >= 0 && elected:
		to.LastKnownELR = nil
	}
}

// completeReassignment ends the reassignment once all replicas that it brings are in sync, and where it takes more than it
// brings, all that are to stay (Kafka's PartitionReassignmentReplicas). Unlike Kafka's it also waits while too few would be left in
// sync for anything to be committed: moving a partition is no reason to refuse its writers.
func (ch *partitionChange) completeReassignment() {
	if len(ch.adding) == 0 && len(ch.removing) == 0 {
		return
	}
	isr, replicas := ch.isr, ch.replicas
	if len(ch.removing) > 0 {
		isr, replicas = without(isr, ch.removing...), without(replicas, ch.removing...)
	}
	switch {
	case len(isr) == 0 || len(replicas) == 0 || !containsAll(isr, ch.adding):
		return
	case len(ch.adding) < len(ch.removing) && !containsAll(isr, replicas):
		return
	case len(isr) < min(ch.minISR, len(replicas)) &&
		(containsAny(ch.was.ISR, ch.removing) || containsAny(ch.was.ELR, ch.removing)):
		return // whoever is to go may be the only other one that has everything
	}
	ch.isr, ch.replicas, ch.adding, ch.removing = isr, replicas, nil, nil
}

// gatherELR has the replicas that leave the ISR go into the ELR while the ISR is too small to commit anything, and empties the
// ELR when it is large enough again.
func (ch *partitionChange) gatherELR() {
	switch {
	case !ch.rules.elr && len(ch.was.ISR) > 0, ch.rules.elr && ch.commits():
		ch.elr = nil
		return
	case !ch.rules.elr:
		return // nobody led since the feature was taken back, so they still have everything
	}
	var elr []protocol.BrokerID
	for _, from := range [...][]protocol.BrokerID{ch.elr, ch.was.ISR} {
		for _, id := range from {
			if !slices.Contains(ch.isr, id) && !slices.Contains(ch.uncleanly, id) && !slices.Contains(elr, id) &&
				slices.Contains(ch.replicas, id) {
				elr = append(elr, id)
			}
		}
	}
	slices.Sort(elr)
	ch.elr = elr
}

// commits says that enough replicas are in sync for records to be committed. The min.insync.replicas of a partition is at most
// the number of its replicas.
func (ch *partitionChange) commits() bool {
	return len(ch.isr) >= min(ch.minISR, len(ch.replicas))
}

// elect is who is to lead, -1 for nobody, and whether it may lack committed records.
func (ch *partitionChange) elect() (leader protocol.BrokerID, unclean bool) {
	if len(ch.voters.avoided) > 0 {
		if id := ch.electFrom(ch.voters.avoided); id != -1 {
			return id, false
		}
	}
	if id := ch.electFrom(nil); id != -1 {
		return id, false
	}
	if last := ch.was.LastKnownELR; ch.rules.elr && len(ch.elr) == 0 && len(ch.isr) == 0 && len(last) == 1 && ch.voters.has(last[0]) &&
		slices.Contains(ch.replicas, last[0]) {
		return last[0], true
	}
	if ch.election == electUnclean {
		for _, id := range ch.replicas {
			if ch.voters.has(id) {
				return id, true
			}
		}
	}
	return -1, false
}

// electFrom elects a replica that has every committed record and is not among those to avoid, -1 for none.
func (ch *partitionChange) electFrom(avoided []protocol.BrokerID) protocol.BrokerID {
	able := func(id protocol.BrokerID) bool { return !slices.Contains(avoided, id) && ch.valid(id) }
	if ch.election == electPreferred && able(ch.replicas[0]) {
		return ch.replicas[0]
	}
	if able(ch.was.Leader) {
		return ch.was.Leader
	}
	for _, id := range ch.replicas {
		if able(id) {
			return id
		}
	}
	return -1
}

// valid says that a replica can lead and has every committed record.
func (ch *partitionChange) valid(id protocol.BrokerID) bool {
	return (slices.Contains(ch.isr, id) || len(ch.isr) == 0 && slices.Contains(ch.elr, id)) && ch.voters.has(id)
}

// changes gathers what becomes of partitions into one record for each run of partitions of the same topic.
type changes struct {
	recs []Record
	open PartitionChangesRecord
}

func (cs *changes) add(t *Topic, partition int32, to *Partition) {
	if cs.open.Topic != t.ID {
		cs.flush()
		cs.open = PartitionChangesRecord{Topic: t.ID}
	}
	cs.open.Changes = append(cs.open.Changes, changeTo(partition, &t.Partitions[partition], to))
}

func (cs *changes) flush() {
	if len(cs.open.Changes) > 0 {
		cs.recs = append(cs.recs, cs.open)
	}
	cs.open = PartitionChangesRecord{}
}

// records is everything that was added.
func (cs *changes) records() []Record {
	cs.flush()
	return cs.recs
}

func without(from []protocol.BrokerID, ids ...protocol.BrokerID) []protocol.BrokerID {
	for i, id := range from {
		if !slices.Contains(ids, id) {
			continue
		}
		out := append(make([]protocol.BrokerID, 0, len(from)-1), from[:i]...)
		for _, id := range from[i+1:] {
			if !slices.Contains(ids, id) {
				out = append(out, id)
			}
		}
		return out
	}
	return from
}

func containsAll(all, ids []protocol.BrokerID) bool {
	for _, id := range ids {
		if !slices.Contains(all, id) {
			return false
		}
	}
	return true
}
