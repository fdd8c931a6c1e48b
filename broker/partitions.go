package broker

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage"
)

// partitions is every replica hosted here, as of one image of the metadata.
type partitions struct {
	b     *Broker
	store *storage.Store

	mu struct {
		sync.RWMutex
		topics map[string]*hosted
		byID   map[protocol.TopicID]*hosted
	}

	// The applying goroutine's.

	image    *meta.Image                                  // the newest that was applied
	acts     bool                                         // see mayAct
	starting bool                                         // image is older than this run
	lost     map[protocol.TopicPartition]protocol.TopicID // see absent
}

// hosted is one topic with its partitions here. It is immutable.
type hosted struct {
	name       string
	id         protocol.TopicID
	internal   bool
	partitions []*Partition   // at the index of their number; nil where the replica is elsewhere or its log cannot be opened
	offline    map[int32]bool // those that have a replica here whose log cannot be opened; nil for none
}

// absent is the code for a partition of the topic that cannot be found here: its log cannot be used, or others have it.
func (t *hosted) absent(partition int32) protocol.Code {
	if t.offline[partition] {
		return protocol.KafkaStorageError
	}
	return protocol.NotLeaderOrFollower
}

// fails notes that the log of a partition cannot be used. The topic is not published yet.
func (t *hosted) fails(partition int32) {
	if t.offline == nil {
		t.offline = map[int32]bool{}
	}
	t.offline[partition] = true
}

// has says whether the topic has a partition of that number, here or elsewhere.
func (t *hosted) has(partition int32) bool {
	return partition >= 0 && int(partition) < len(t.partitions)
}

func (t *hosted) at(partition int32) *Partition {
	if t == nil || !t.has(partition) {
		return nil
	}
	return t.partitions[partition]
}

func newPartitions(b *Broker, store *storage.Store) *partitions {
	ps := &partitions{b: b, store: store, image: meta.Empty(), starting: true}
	ps.lost = map[protocol.TopicPartition]protocol.TopicID{}
	ps.mu.topics = map[string]*hosted{}
	ps.mu.byID = map[protocol.TopicID]*hosted{}
	return ps
}

// find is the topic and the partition that a request names, by id where id is set, else by name. The topic is nil where
// there is none; the partition is nil where it is not here.
func (ps *partitions) find(name []byte, id protocol.TopicID, partition int32) (*hosted, *Partition) {
	ps.mu.RLock()
	var t *hosted
	if id.IsZero() {
		t = ps.mu.topics[string(name)]
	} else {
		t = ps.mu.byID[id]
	}
	ps.mu.RUnlock()
	return t, t.at(partition)
}

// topic is a topic by name, or nil.
func (ps *partitions) topic(name string) *hosted {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	return ps.mu.topics[name]
}

// topicByID is a topic by id, or nil.
func (ps *partitions) topicByID(id protocol.TopicID) *hosted {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	return ps.mu.byID[id]
}

// get is a partition that this broker hosts, or nil.
func (ps *partitions) get(tp protocol.TopicPartition) *Partition {
	return ps.topic(tp.Topic).at(tp.Partition)
}

// leader is a partition that this broker leads, or why there is none: the code that clients are sent.
func (ps *partitions) leader(tp protocol.TopicPartition) (*Partition, error) {
	p, err := ps.here(tp)
	if err == nil && !p.leads() {
		return nil, p.notLeading()
	}
	return p, err
}

// here is the partition if this broker holds it, whether or not it leads it.
func (ps *partitions) here(tp protocol.TopicPartition) (*Partition, error) {
	t := ps.topic(tp.Topic)
	switch p := t.at(tp.Partition); {
	case t == nil || !t.has(tp.Partition):
		return nil, protocol.UnknownTopicOrPartition
	case p == nil:
		return nil, t.absent(tp.Partition)
	default:
		return p, nil
	}
}

// all is every partition hosted here, in no order.
func (ps *partitions) all() []*Partition {
	ps.mu.RLock()
	defer ps.mu.RUnlock()
	var out []*Partition
	for _, t := range ps.mu.topics {
		for _, p := range t.partitions {
			if p != nil {
				out = append(out, p)
			}
		}
	}
	return out
}

// run follows the metadata until ctx ends.
func (ps *partitions) run(ctx context.Context) {
	for {
		select {
		case <-ps.b.node.Changes():
			ps.apply(ps.b.node.Image())
		case <-ps.b.troubled:
			ps.takeOffline()
			if err := ps.b.beyondRepair(); err != nil {
				ps.b.end(err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// apply makes what is hosted here match the image, and only then shows the image to others.
func (ps *partitions) apply(im *meta.Image) {
	delta := im.Since(ps.image)
	first := ps.mayAct(im)
	for _, t := range delta.Removed {
		ps.drop(t)
	}
	forgetTopics(ps.b.groups, delta.Removed)
	for _, t := range delta.Topics {
		ps.host(im, t)
	}
	ps.reconfigure(im, delta)
	brokers := !slices.Equal(im.Brokers(), ps.image.Brokers())
	if brokers {
		ps.placeAll(im, first)
	}
	ps.b.fetchers.flush(brokers)
	ps.image = im
	ps.b.served.publish(im)
}

// drop ends a topic: nobody finds it any more, who waits for it is woken, its logs are deleted.
func (ps *partitions) drop(t *meta.Topic) {
	ps.mu.Lock()
	h := ps.mu.byID[t.ID]
	delete(ps.mu.byID, t.ID)
	if h != nil && ps.mu.topics[t.Name] == h {
		delete(ps.mu.topics, t.Name)
	}
	ps.mu.Unlock()
	if h == nil {
		return
	}
	for i, p := range h.partitions {
		tp := protocol.TopicPartition{Topic: t.Name, Partition: int32(i)}
		delete(ps.lost, tp)
		if p != nil {
			ps.b.fetchers.leave(p)
			p.retire()
			ps.resigned(p)
		}
		if err := ps.store.Delete(tp); err != nil { // also of one that is offline
			ps.b.log.Error("cannot delete a partition", "topic", tp.Topic, "partition", tp.Partition, "err", err)
		}
	}
}

// leave ends a replica that is elsewhere now. Its log goes with it.
func (ps *partitions) leave(t *meta.Topic, p *Partition, partition int32) {
	tp := protocol.TopicPartition{Topic: t.Name, Partition: partition}
	log, ok := ps.store.Log(tp)
	if p == nil && (!ok || !ps.acts || log.TopicID() != t.ID) {
		return // there is none, or it is not certain yet that the metadata is not older than the log
	}
	if p != nil {
		ps.b.fetchers.leave(p)
		p.retire()
		ps.resigned(p)
	}
	ps.b.log.Info("deleting a replica that is on other brokers now", "topic", tp.Topic, "partition", tp.Partition)
	if err := ps.store.Delete(tp); err != nil {
		ps.b.log.Error("cannot delete a partition", "topic", tp.Topic, "partition", tp.Partition, "err", err)
	}
}

// host makes the partitions of a new or changed topic.
func (ps *partitions) host(im *meta.Image, t *meta.Topic) {
	before := ps.topicByID(t.ID)
	h := &hosted{name: t.Name, id: t.ID, internal: t.Internal(), partitions: make([]*Partition, len(t.Partitions))}
	rules, now := newTopicRules(ps.b.static, im, t.Name), time.Now()
	for i, part := range t.Partitions {
		if !slices.Contains(part.Replicas, ps.b.nodeID()) {
			ps.leave(t, before.at(int32(i)), int32(i))
			continue
		}
		p := before.at(int32(i))
		if p == nil {
			p = ps.open(protocol.TopicPartition{Topic: t.Name, Partition: int32(i)}, t.ID, rules)
		}
		if p == nil {
			h.fails(int32(i))
			continue
		}
		h.partitions[i] = p
		if p.applied != placedBy(&t.Partitions[i]) {
			ps.place(now, im, p, &t.Partitions[i])
		}
	}
	ps.mu.Lock()
	ps.mu.topics[t.Name], ps.mu.byID[t.ID] = h, h
	ps.mu.Unlock()
}

// open opens or creates a partition's log. A log that cannot be opened costs its partition only.
func (ps *partitions) open(tp protocol.TopicPartition, id protocol.TopicID, rules *topicRules) *Partition {
	if err := ps.store.Claim(tp, id); err != nil {
		ps.b.log.Error("cannot settle which of two folders is a partition's", "topic", tp.Topic, "partition", tp.Partition,
			"err", err)
		return nil
	}
	log, ok := ps.store.Log(tp)
	if ok && !log.TopicID().IsZero() && log.TopicID() != id { // zero: a crash has torn the file that says it
		// It belonged to a topic of the same name that was deleted while this broker was away.
		ps.b.log.Warn("deleting the log of a deleted topic", "topic", tp.Topic, "partition", tp.Partition,
			"id", log.TopicID())
		if err := ps.store.Delete(tp); err != nil {
			ps.b.log.Error("cannot delete a partition", "topic", tp.Topic, "partition", tp.Partition, "err", err)
			return nil
		}
		ok = false
	}
	switch {
	case ok && log.Failure() != nil:
		return nil
	case ok:
		ps.reconfigureLog(log, rules)
	case ps.store.Failed(tp) != nil: // which was said when it was opened
		return nil
	case ps.absent(tp, id):
		ps.b.log.Warn("a partition is offline: its log may be in a data folder that has failed", "topic", tp.Topic,
			"partition", tp.Partition)
		return nil
	default:
		var err error
		if log, err = ps.store.Create(tp, id, rules.log); err != nil {
			ps.b.log.Error("cannot create a partition; it is offline", "topic", tp.Topic, "partition", tp.Partition, "err", err)
			return nil
		}
	}
	if err := ps.settle(log); err != nil {
		ps.b.log.Error("cannot make a partition durable; it is offline", "topic", tp.Topic, "partition", tp.Partition, "err", err)
		return nil
	}
	p := newPartition(ps.b, tp, id, log)
	p.rules.Store(rules)
	return p
}

// settle makes durable what a crash has left of a log that acknowledges what is on disk, before anybody asks: its high
// watermark would otherwise come back below what was acknowledged, and rise again when the store gets round to it.
func (ps *partitions) settle(log *storage.Log) error {
	if !log.AcksDurable() || log.Durable() >= log.Bounds().End {
		return nil
	}
	return log.Flush()
}

// reconfigure brings changed configurations to the logs they concern.
func (ps *partitions) reconfigure(im *meta.Image, delta meta.Delta) {
	var names []string
	for _, r := range delta.Configs {
		if r.Type == config.TopicResource {
			names = append(names, r.Name)
		}
	}
	if slices.ContainsFunc(delta.Configs, func(r meta.Resource) bool { return r.Type == config.BrokerResource }) {
		view := config.NewView(ps.b.static, im)
		ps.b.server.relimit(view)
		ps.b.replicationRates(view)
		ps.store.Tune(tuning(view))
		names = names[:0] // the defaults of every topic may have changed
		for _, t := range im.Topics() {
			names = append(names, t.Name)
		}
	}
	for _, name := range names {
		t := ps.topic(name)
		if t == nil {
			continue
		}
		rules := newTopicRules(ps.b.static, im, name)
		for _, p := range t.partitions {
			if p == nil {
				continue
			}
			before := p.rules.Swap(rules)
			ps.reconfigureLog(p.log, rules)
			if before.minInsync == rules.minInsync {
				continue
			}
			if topic := im.TopicByID(p.topicID); topic != nil {
				ps.place(time.Now(), im, p, &topic.Partitions[p.id.Partition])
			}
		}
	}
}

func (ps *partitions) reconfigureLog(log *storage.Log, rules *topicRules) {
	if err := log.Reconfigure(rules.log); err != nil {
		ps.b.log.Error("a configuration cannot be applied", "topic", log.Partition().Topic, "err", err)
	}
}

// led and resigned tell the coordinator which of its partitions this broker leads.
func (ps *partitions) led(p *Partition) {
	if p.id.Topic == meta.OffsetsTopic {
		ps.b.groups.Lead(p.id.Partition, p)
	}
}

func (ps *partitions) resigned(p *Partition) {
	if p.id.Topic == meta.OffsetsTopic {
		ps.b.groups.Resign(p.id.Partition)
	}
}

// strays names the logs that belong to no topic. They are left alone: deleting what the metadata does not know would
// turn a mistake with a folder into a loss of data.
func (ps *partitions) strays(log *slog.Logger) {
	for _, l := range ps.store.All() {
		if ps.get(l.Partition()) != nil {
			continue
		}
		if ps.topicByID(l.TopicID()) == nil { // else it was moved to other brokers, see leave
			log.Warn("a folder of the data folder belongs to no topic and is left alone", "folder", l.Partition().String())
		}
	}
}
