// Package spread plans how replicas and leaderships are moved so that all brokers have about as many of them, with as few moves as
// it can. It knows counts, racks and sizes, and moves nothing itself.
//
// Invariant: a plan never changes how many replicas a partition has, never brings two of them to one broker, and never brings
// replicas together in one rack that were in two.
package spread

import (
	"cmp"
	"slices"
)

// Broker is one that may be given replicas.
type Broker struct {
	ID   int32
	Rack string // "" where it is not known
}

// Partition is where one partition is.
type Partition struct {
	Topic    string
	Number   int32
	Replicas []int32 // the first one is the preferred leader
	Bytes    int64   // of one replica
}

// Move is a partition that is to be somewhere else, or led by another replica.
type Move struct {
	Topic    string
	Number   int32
	From, To []int32
	Bytes    int64 // that are copied in all
}

// Plan is what to move. Replicas on brokers that are not named stay where they are, and none come to them.
func Plan(brokers []Broker, partitions []Partition) []Move {
	p := newPlanner(brokers, partitions)
	p.spreadRacks()
	for p.spreadOne() {
	}
	p.spreadLeaders()
	return p.moves()
}

// planner counts by place: brokers, racks and topics are numbered from 0, so that ten thousand partitions are planned in a moment.
type planner struct {
	brokers []int32 // ids; those that may be given replicas come first
	usable  int
	rack    []int // of each broker, -1 where it is not known
	parts   []part
	count   []int   // replicas of each broker
	byTopic [][]int // and of each topic on it
}

type part struct {
	was      Partition
	topic    int
	replicas []int // as they are to be
}

func newPlanner(brokers []Broker, partitions []Partition) *planner {
	p := &planner{usable: len(brokers)}
	place, racks, topics := map[int32]int{}, map[string]int{}, map[string]int{}
	brokers = slices.Clone(brokers)
	slices.SortFunc(brokers, func(a, b Broker) int { return cmp.Compare(a.ID, b.ID) })
	add := func(id int32, rack string) int {
		at := len(p.brokers)
		place[id] = at
		p.brokers = append(p.brokers, id)
		p.rack = append(p.rack, -1)
		if rack != "" {
			if _, ok := racks[rack]; !ok {
				racks[rack] = len(racks)
			}
			p.rack[at] = racks[rack]
		}
		return at
	}
	for _, b := range brokers {
		add(b.ID, b.Rack)
	}
	partitions = slices.Clone(partitions)
	slices.SortFunc(partitions, func(a, b Partition) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Number, b.Number))
	})
	for _, was := range partitions {
		if _, ok := topics[was.Topic]; !ok {
			topics[was.Topic] = len(topics)
		}
		x := part{was: was, topic: topics[was.Topic]}
		for _, id := range was.Replicas {
			at, ok := place[id]
			if !ok {
				at = add(id, "")
			}
			x.replicas = append(x.replicas, at)
		}
		p.parts = append(p.parts, x)
	}
	p.count, p.byTopic = make([]int, len(p.brokers)), make([][]int, len(topics))
	for i := range p.byTopic {
		p.byTopic[i] = make([]int, len(p.brokers))
	}
	for _, x := range p.parts {
		for _, at := range x.replicas {
			p.count[at]++
			p.byTopic[x.topic][at]++
		}
	}
	return p
}

// move gives one replica's place to another broker.
func (p *planner) move(x *part, from, to int) {
	x.replicas[slices.Index(x.replicas, from)] = to
	p.count[from]--
	p.count[to]++
	p.byTopic[x.topic][from]--
	p.byTopic[x.topic][to]++
}

// crowd is how many replicas a partition has in the rack of a broker, beside the one on except. A broker without a rack is
// one of its own.
func (p *planner) crowd(x *part, broker, except int) (n int) {
	if p.rack[broker] < 0 {
		return 0
	}
	for _, at := range x.replicas {
		if at != except && p.rack[at] == p.rack[broker] {
			n++
		}
	}
	return n
}

// spreadRacks moves replicas that share a rack to racks where the partition has fewer.
func (p *planner) spreadRacks() {
	for i := range p.parts {
		x := &p.parts[i]
		for _, from := range slices.Clone(x.replicas) {
			crowd := p.crowd(x, from, from)
			if from >= p.usable || crowd == 0 {
				continue
			}
			best := -1
			for to := range p.usable {
				if slices.Contains(x.replicas, to) || p.crowd(x, to, from) >= crowd {
					continue
				}
				if best < 0 || cmp.Or(cmp.Compare(p.crowd(x, to, from), p.crowd(x, best, from)),
					cmp.Compare(p.count[to], p.count[best])) < 0 {
					best = to
				}
			}
			if best >= 0 {
				p.move(x, from, best)
			}
		}
	}
}

// fullest is the brokers that may be given replicas, those with most of something first.
func (p *planner) fullest(of []int) []int {
	all := make([]int, p.usable)
	for i := range all {
		all[i] = i
	}
	slices.SortStableFunc(all, func(a, b int) int { return cmp.Compare(of[b], of[a]) })
	return all
}

// spreadOne moves one replica from a broker with many to one that has at least two fewer, until there is none.
func (p *planner) spreadOne() bool {
	full := p.fullest(p.count)
	for _, from := range full {
		for i := len(full) - 1; i >= 0 && p.count[full[i]]+1 < p.count[from]; i-- {
			if x := p.best(from, full[i]); x != nil {
				p.move(x, from, full[i])
				return true
			}
		}
	}
	return false
}

// best is what is best moved from one broker to another: of the topic that they share least evenly, and of those, what is
// copied soonest.
func (p *planner) best(from, to int) *part {
	var best *part
	most := 0
	for i := range p.parts {
		x := &p.parts[i]
		gap := p.byTopic[x.topic][from] - p.byTopic[x.topic][to]
		if best != nil && (gap < most || gap == most && x.was.Bytes >= best.was.Bytes) {
			continue
		}
		if !slices.Contains(x.replicas, from) || slices.Contains(x.replicas, to) || p.crowd(x, to, from) > p.crowd(x, from, from) {
			continue
		}
		best, most = x, gap
	}
	return best
}

// spreadLeaders changes who is preferred, among the replicas that there are then: that copies nothing.
func (p *planner) spreadLeaders() {
	leads := make([]int, len(p.brokers))
	for _, x := range p.parts {
		leads[x.replicas[0]]++
	}
	for p.leadOne(leads) {
	}
}

// leadOne finds a chain of partitions along which one leadership goes from a broker with many to one with at least two fewer.
func (p *planner) leadOne(leads []int) bool {
	full := p.fullest(leads)
	for _, from := range full {
		if leads[full[len(full)-1]]+1 >= leads[from] {
			return false
		}
		via := make([]*part, p.usable) // the partition by which a broker is reached
		for queue := []int{from}; len(queue) > 0; queue = queue[1:] {
			for i := range p.parts {
				x := &p.parts[i]
				if x.replicas[0] != queue[0] {
					continue
				}
				for _, to := range x.replicas[1:] {
					if to >= p.usable || to == from || via[to] != nil {
						continue
					}
					via[to] = x
					queue = append(queue, to)
					if leads[to]+1 < leads[from] {
						hand(via, to)
						leads[from]--
						leads[to]++
						return true
					}
				}
			}
		}
	}
	return false
}

// hand gives each partition of the chain that ends at a broker to the next in it.
func hand(via []*part, to int) {
	for x := via[to]; x != nil; x = via[to] {
		from := x.replicas[0]
		x.replicas[0], x.replicas[slices.Index(x.replicas, to)] = to, from
		to = from
	}
}

// moves is what differs.
func (p *planner) moves() []Move {
	var out []Move
	for _, x := range p.parts {
		m := Move{Topic: x.was.Topic, Number: x.was.Number, From: x.was.Replicas}
		for _, at := range x.replicas {
			id := p.brokers[at]
			m.To = append(m.To, id)
			if !slices.Contains(m.From, id) {
				m.Bytes += x.was.Bytes
			}
		}
		if !slices.Equal(m.From, m.To) {
			out = append(out, m)
		}
	}
	return out
}
