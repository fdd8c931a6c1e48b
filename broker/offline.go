package broker

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage"
)

// A log that goes offline takes its partition along: nobody finds it any more, who waits for it is woken, its coordinator
// resigns, and clients are told that it has no leader. A data folder that goes offline does so with all its partitions; the
// broker ends only when none is left, or the one with the metadata.

// trouble is called by the store when a log or a folder has gone offline. It returns at once.
func (b *Broker) trouble() {
	select {
	case b.troubled <- struct{}{}:
	default:
	}
}

// takeOffline takes the partitions out whose log has gone offline. The applying goroutine calls it.
func (ps *partitions) takeOffline() {
	ps.mu.RLock()
	topics := make([]*hosted, 0, len(ps.mu.byID))
	for _, h := range ps.mu.byID {
		topics = append(topics, h)
	}
	ps.mu.RUnlock()
	for _, h := range topics {
		var lost []*Partition
		for _, p := range h.partitions {
			if p != nil && p.log.Failure() != nil {
				lost = append(lost, p)
			}
		}
		if len(lost) == 0 {
			continue
		}
		now := *h
		now.partitions, now.offline = slices.Clone(h.partitions), maps.Clone(h.offline)
		for _, p := range lost {
			now.partitions[p.id.Partition] = nil
			now.fails(p.id.Partition)
		}
		ps.mu.Lock()
		ps.mu.topics[h.name], ps.mu.byID[h.id] = &now, &now
		ps.mu.Unlock()
		for _, p := range lost {
			ps.b.fetchers.leave(p)
			p.retire()
			ps.resigned(p)
		}
		ps.b.fetchers.flush(false)
	}
}

// beyondRepair says why this broker cannot go on, nil while it can.
func (b *Broker) beyondRepair() error {
	offline := 0
	dirs := b.store.Dirs()
	for _, d := range dirs {
		if d.Offline == nil {
			continue
		}
		offline++
		if strings.HasPrefix(b.metadataDir+"/", d.Path+"/") {
			return fmt.Errorf("the metadata of the cluster is in a data folder that has failed, the broker ends: %w", d.Offline)
		}
	}
	if offline == len(dirs) {
		return fmt.Errorf("every data folder has failed, the broker ends: %w", dirs[0].Offline)
	}
	return nil
}

// metadataFailed is called when the metadata log could not be written.
func (b *Broker) metadataFailed(err error) {
	dirs := b.store.Dirs()
	inside := slices.ContainsFunc(dirs, func(d storage.Dir) bool { return strings.HasPrefix(b.metadataDir+"/", d.Path+"/") })
	switch {
	case inside:
		b.store.Suspect(dataFolderOf(b.metadataDir, dirs), err)
	case storage.DiskFailed(err):
		b.end(fmt.Errorf("the disk with the metadata of the cluster has failed, the broker ends: %w", err))
	}
}

func dataFolderOf(name string, dirs []storage.Dir) string {
	for _, d := range dirs {
		if strings.HasPrefix(name+"/", d.Path+"/") {
			return d.Path
		}
	}
	return ""
}

// end has Serve return with an error.
func (b *Broker) end(err error) {
	select {
	case b.fatal <- err:
	default: // it has one already
	}
}

// usableMetadata refuses to start with a metadata log in a folder that has failed.
func (b *Broker) usableMetadata() error {
	for _, d := range b.store.Dirs() {
		if d.Offline != nil && strings.HasPrefix(b.metadataDir+"/", d.Path+"/") {
			return unusableMetadata(d.Path, d.Offline)
		}
	}
	return nil
}

func unusableMetadata(dir string, err error) error {
	return &storage.UnusableError{
		Path: dir, What: "has failed, and the cluster's metadata is in it or in none of the other folders", Err: err,
		Do: "Repair the disk or restore the folder, then start again.",
	}
}

// absent says whether a partition's log may be in a folder that could not be used when the broker was started. Such a log
// must not be made anew in another folder: there would be two when the folder is back.
func (ps *partitions) absent(tp protocol.TopicPartition, id protocol.TopicID) bool {
	if ps.starting && slices.ContainsFunc(ps.store.Dirs(), func(d storage.Dir) bool { return d.Offline != nil }) {
		ps.lost[tp] = id
	}
	lost, ok := ps.lost[tp]
	return ok && lost == id
}

// seen is a partition as clients are told of it, and its replicas that are offline: the metadata does not say that a log
// here is.
func (b *Broker) seen(r *request, im *meta.Image, t *meta.Topic, i int) (p meta.Partition, offline []int32) {
	p = t.Partitions[i]
	offline = b.offlineReplicas(r, im, p)
	me := b.nodeID()
	if !b.isOffline(t, i) {
		return p, offline
	}
	if p.Leader == me {
		p.Leader = -1
	}
	p.ISR = slices.DeleteFunc(slices.Clone(p.ISR), func(id protocol.BrokerID) bool { return id == me })
	if !slices.Contains(offline, int32(me)) {
		offline = append(offline, int32(me))
	}
	return p, offline
}

// isOffline says that this broker has a replica of the partition, and that its log cannot be used.
func (b *Broker) isOffline(t *meta.Topic, i int) bool {
	if b.partitions == nil { // in tests of handlers without data
		return false
	}
	h := b.partitions.topicByID(t.ID)
	return h != nil && h.offline[int32(i)]
}
