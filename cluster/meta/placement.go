package meta

import (
	"cmp"
	"math/rand/v2"
	"slices"

	"moldau.io/moldau/protocol"
)

// place spreads count partitions of factor replicas each over racks and brokers, as evenly as they allow.
func (c *Controller) place(count, factor int) ([]Partition, error) {
	pl := newPlacer(c.cfg.Random, c.image)
	switch {
	case pl.alive == 0:
		return nil, protocol.Errorf(protocol.InvalidReplicationFactor,
			"no partition can be replicated %d times: no broker is alive that may get one", factor)
	case factor > pl.all:
		return nil, protocol.Errorf(protocol.InvalidReplicationFactor,
			"replication factor %d needs as many brokers, and there are %d", factor, pl.all)
	}
	ps := make([]Partition, count)
	for i := range ps {
		ps[i] = newPartition(c.image, pl.next(factor))
	}
	return ps, nil
}

// newPartition begins with all of its replicas in sync that are alive. Its ISR is empty where none is.
func newPartition(im *Image, replicas []protocol.BrokerID) Partition {
	p := Partition{Replicas: replicas, ISR: replicas, Leader: -1}
	if slices.ContainsFunc(replicas, func(id protocol.BrokerID) bool { return !im.active(id) }) {
		p.ISR = nil
		for _, id := range replicas {
			if im.active(id) {
				p.ISR = append(p.ISR, id)
			}
		}
	}
	if len(p.ISR) > 0 {
		p.Leader = p.ISR[0]
	}
	return p
}

// placer takes brokers for one partition after the other (in the spirit of Kafka's StripedReplicaPlacer):
//   - leaders come from one rack after the other, and in each rack from one broker after the other, so that neighbours in a
//     topic have different leaders;
//   - the followers of a partition come from the racks that follow, so that no rack has two replicas before each has one;
//   - a fenced broker never leads, and follows only where its rack has no other left;
//   - after each round over all brokers the order is drawn anew, so that those who follow one leader are not always the same.
//
// Brokers that are being emptied, or that are about to stop, get nothing. One that has stopped is fenced like any other.
type placer struct {
	random     *rand.Rand
	racks      []*rack
	alive, all int

	turn  int // partitions since the last draw
	first int // the rack that the next leader comes from
}

type rack struct {
	name          string
	alive, fenced ring
}

// ring hands out brokers: to each partition from another one on, and to none the same twice.
type ring struct {
	ids         []protocol.BrokerID
	from, given int
	turn        int
}

func newPlacer(random *rand.Rand, im *Image) *placer {
	pl := &placer{random: random}
	for _, b := range im.Brokers() {
		if b.Draining || b.Stopping && !b.Fenced {
			continue
		}
		i, ok := slices.BinarySearchFunc(pl.racks, b.Rack, func(r *rack, name string) int { return cmp.Compare(r.name, name) })
		if !ok {
			pl.racks = slices.Insert(pl.racks, i, &rack{name: b.Rack})
		}
		pl.all++
		if b.Fenced {
			pl.racks[i].fenced.ids = append(pl.racks[i].fenced.ids, b.ID)
			continue
		}
		pl.alive++
		pl.racks[i].alive.ids = append(pl.racks[i].alive.ids, b.ID)
	}
	for _, r := range pl.racks {
		r.alive.begin(random)
		r.fenced.begin(random)
	}
	if len(pl.racks) > 1 {
		pl.first = random.IntN(len(pl.racks))
	}
	return pl
}

// next is the replicas of one partition. The caller has made sure that some broker is alive and that there are factor in all.
func (pl *placer) next(factor int) []protocol.BrokerID {
	if pl.turn == pl.alive && pl.alive > 1 {
		pl.turn = 0
		shuffle(pl.random, pl.racks)
		for _, r := range pl.racks {
			shuffle(pl.random, r.alive.ids)
			shuffle(pl.random, r.fenced.ids)
		}
	}
	replicas := make([]protocol.BrokerID, 0, factor)
	lead := pl.first % len(pl.racks)
	for {
		if id := pl.racks[lead].alive.take(pl.turn); id >= 0 {
			replicas = append(replicas, id)
			break
		}
		lead = (lead + 1) % len(pl.racks)
	}
	for at := lead; len(replicas) < factor; {
		at = (at + 1) % len(pl.racks)
		if id := pl.racks[at].take(pl.turn); id >= 0 {
			replicas = append(replicas, id)
		}
	}
	pl.turn++
	pl.first = (pl.first + 1) % len(pl.racks)
	return replicas
}

func (r *rack) take(turn int) protocol.BrokerID {
	if id := r.alive.take(turn); id >= 0 {
		return id
	}
	return r.fenced.take(turn)
}

func (r *ring) begin(random *rand.Rand) {
	if len(r.ids) > 1 {
		r.from = random.IntN(len(r.ids))
	}
}

// take is -1 when all have been given in this turn.
func (r *ring) take(turn int) protocol.BrokerID {
	if len(r.ids) == 0 {
		return -1
	}
	if r.turn != turn {
		r.turn, r.given = turn, 0
		r.from = (r.from + 1) % len(r.ids)
	}
	if r.given == len(r.ids) {
		return -1
	}
	r.given++
	return r.ids[(r.from+r.given-1)%len(r.ids)]
}

func shuffle[T any](random *rand.Rand, s []T) {
	random.Shuffle(len(s), func(i, j int) { s[i], s[j] = s[j], s[i] })
}

// placeByHand is the partition that a manual assignment asks for. Replicas on fenced brokers are allowed, as long as one is
// alive.
func (c *Controller) placeByHand(partition int32, replicas []protocol.BrokerID) (Partition, error) {
	if err := c.checkAssignment(partition, replicas); err != nil {
		return Partition{}, err
	}
	p := newPartition(c.image, slices.Clone(replicas))
	if p.Leader == -1 {
		return Partition{}, protocol.Errorf(protocol.InvalidReplicaAssignment,
			"partition %d is assigned to brokers none of which is alive and stays", partition)
	}
	return p, nil
}

// checkAssignment says whether a partition can be given these replicas (Kafka's validateManualPartitionAssignment).
func (c *Controller) checkAssignment(partition int32, replicas []protocol.BrokerID) error {
	bad := func(format string, a ...any) error {
		return protocol.Errorf(protocol.InvalidReplicaAssignment, format, a...)
	}
	if len(replicas) == 0 {
		return bad("partition %d is assigned to no broker", partition)
	}
	for i, id := range replicas {
		if c.image.Broker(id) == nil {
			return bad("partition %d is assigned to broker %d, which is not registered", partition, id)
		}
		if slices.Contains(replicas[:i], id) {
			return bad("partition %d is assigned to broker %d twice", partition, id)
		}
	}
	return nil
}
