package group

import (
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// simCommitter is a consumer without a group: it assigns itself partitions and stores offsets under a name. Nobody else
// commits for it, so what it reads back is what it was told is stored, or what it sent later.
type simCommitter struct {
	simPeer
	group  string
	offset protocol.Offset // of the last commit
	acked  protocol.Offset
	read   protocol.Offset // what it was told last
	busy   bool
	gone   bool
}

// simAdmin is somebody with tools.
type simAdmin struct {
	simPeer
	gone bool
}

func (w *simWorld) addCommitter(g *simGroup) {
	c := &simCommitter{simPeer: simPeer{w: w, name: g.id + ".solo", log: g.log}, group: g.id + "-solo", acked: -1, read: -1}
	w.clients = append(w.clients, c)
	c.at(w.some(5*time.Second), c.poll)
}

func (c *simCommitter) peer() *simPeer { return &c.simPeer }
func (c *simCommitter) retire()        { c.gone = true }

func (c *simCommitter) poll() {
	if c.gone {
		c.disconnect()
		return
	}
	if !c.busy {
		c.busy = true
		if c.w.chance(2) {
			c.commit()
		} else {
			c.fetch()
		}
	}
	c.at(c.w.some(6*time.Second), c.poll)
}

func (c *simCommitter) commit() {
	c.offset++
	offset := c.offset
	req := &CommitOffsets{
		Group: c.group, Generation: -1, Retention: -1, KnowsGroupNotFound: c.w.chance(2),
		Partitions: []CommitPartition{{Topic: "solo", Offset: offset, LeaderEpoch: -1}},
	}
	c.ask(req, 5*time.Second, func(resp Response) {
		c.busy = false
		if resp == nil {
			return
		}
		switch code := resp.(*CommitResult).Partitions[0].Code; code {
		case protocol.None:
			c.acked = offset
		case protocol.NotCoordinator, protocol.CoordinatorNotAvailable:
			c.disconnect()
		case protocol.UnknownServerError:
		default:
			c.w.failf("%s: commit: %v", c.name, code)
		}
	})
}

func (c *simCommitter) fetch() {
	req := &FetchOffsets{Group: c.group, Topics: []FetchTopic{{Topic: "solo", Partitions: []int32{0}}}, Stable: c.w.chance(2)}
	acked := max(c.acked, c.read)
	c.ask(req, 5*time.Second, func(resp Response) {
		c.busy = false
		if resp == nil {
			return
		}
		r := resp.(*FetchResult)
		if r.Code != protocol.None {
			c.disconnect()
			return
		}
		got := r.Topics[0].Partitions[0].Offset
		if got > c.offset || got < acked && !c.w.weakReads() {
			c.w.failf("%s: offset %d was acknowledged or read, and %d sent, read is %d", c.name, acked, c.offset, got)
		}
		c.read = got
	})
}

// weakReads says that an offset may be gone, be put back by a request that was long on its way, or be read from a
// coordinator that does not know of the next one.
func (w *simWorld) weakReads() bool { return w.opt.late || w.opt.retention || w.opt.zombies }

func (w *simWorld) addAdmin() {
	a := &simAdmin{simPeer: simPeer{w: w, name: "admin", log: w.logs[0]}}
	w.clients = append(w.clients, a)
	a.at(w.some(5*time.Second), a.act)
}

func (a *simAdmin) peer() *simPeer { return &a.simPeer }
func (a *simAdmin) retire()        { a.gone = true }

// act looks at a group of any log, or takes something from it. What is answered is held against the log by simRules.
func (a *simAdmin) act() {
	if a.gone {
		return
	}
	w := a.w
	g := w.groups[w.rng.IntN(len(w.groups))]
	var req Request
	switch k := w.rng.IntN(10); {
	case k < 2:
		req = &Describe{Group: g.id}
	case k < 4:
		req = &ConsumerDescribe{Group: g.id}
	case k < 5:
		req = &List{}
	case k < 7:
		req = &FetchOffsets{Group: g.id, All: true}
	case k < 8 && w.opt.admin && w.storm:
		req = &Delete{Group: g.id}
	case k < 8: // it is no member; while there are members it must not
		req = &CommitOffsets{
			Group: g.id, Generation: -1, Retention: -1, KnowsGroupNotFound: true,
			Partitions: []CommitPartition{{Topic: "solo", Offset: 1, LeaderEpoch: -1}},
		}
	case k < 9 && w.opt.admin && w.storm:
		req = &DeleteOffsets{Group: g.id, Partitions: []DeletePartition{{Topic: g.topics[0]}, {Topic: "solo"}}}
	default:
		req = &FetchOffsets{Group: g.id + "-solo", All: true}
	}
	if a.log != g.log {
		a.disconnect()
		a.log = g.log
	}
	a.ask(req, 10*time.Second, func(resp Response) {
		if codeOf(resp) == protocol.NotCoordinator {
			a.disconnect()
		}
		switch r := resp.(type) {
		case *DeleteResult:
			if r.Code == protocol.None {
				w.mark("a group is deleted")
			}
		case *DeleteOffsetsResult:
			if slices.ContainsFunc(r.Partitions, func(p DeletePartition) bool { return p.Code == protocol.GroupSubscribedToTopic }) {
				w.mark("offsets of a subscribed topic are kept")
			}
		}
	})
	a.at(w.some(8*time.Second), a.act)
}

// codeOf is the error of a whole answer.
func codeOf(resp Response) protocol.Code {
	switch r := resp.(type) {
	case *DescribeResult:
		return r.Code
	case *ConsumerDescribeResult:
		return r.Code
	case *ListResult:
		return r.Code
	case *FetchResult:
		return r.Code
	case *DeleteResult:
		return r.Code
	case *DeleteOffsetsResult:
		return r.Code
	case *HeartbeatResult:
		return r.Code
	case *ConsumerHeartbeatResult:
		return r.Code
	}
	return protocol.None
}
