package broker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"

	"moldau.io/moldau/cluster/adopt"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/inspect"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// A data folder that Apache Kafka has left is taken over in place. Kafka's metadata is in its __cluster_metadata-0; ours is
// then kept in a folder inside of that, since Kafka does not start on a data folder with a subfolder that is not a
// partition's, and looks at files only in there. So Kafka can be started on the same folder again; when it has been, what it
// changed is taken over at our next start.
const (
	kafkasMetadata  = "__cluster_metadata-0"
	adoptedFile     = "adopted" // in our metadata's folder: up to where Kafka's metadata was taken over
	adoptedFileMax  = 64 << 20
	checkpointLabel = ".checkpoint"
	straySuffix     = "-stray" // of a folder that Kafka put aside, since its metadata does not know the topic
)

// adoption is what was taken over from Kafka's metadata the last time.
type adoption struct {
	end    protocol.Offset // of Kafka's metadata log
	topics []protocol.TopicID
}

// adoptNew is asked by a new cluster: it says what Kafka has left in the data folders, nil for nothing.
func (b *Broker) adoptNew(clusterID, dir string) (*meta.Adopt, error) {
	m, end, err := b.readKafkas(dir)
	if err != nil {
		return nil, err
	}
	here := b.here(clusterID)
	if m == nil {
		if len(here.Logs) == 0 {
			return nil, nil
		}
		plan, notes, err := adopt.FromLogs(here)
		b.log.Warn("there is no metadata for the partitions in the data folder: topics and their numbers of partitions are "+
			"taken from the names of the folders, configurations begin as for new topics", "topics", len(plan.Topics))
		b.sayNotes(notes)
		return &plan, refusal(b.cfg.Dirs[0], err)
	}
	plan, notes, err := m.Plan(here)
	if err != nil {
		return nil, refusal(dir, err)
	}
	b.log.Info("taking over a data folder of Apache Kafka", "cluster", clusterID, "topics", len(plan.Topics),
		"partitions", partitionsOf(plan), "nextProducerID", plan.NextProducerID, "metadataOffset", end)
	b.sayNotes(append(notes, b.openTransactions()...))
	b.adopted = &adoption{end: end, topics: m.Topics()}
	return &plan, nil
}

// openTransactions names the logs that hold transactions which Kafka has left open.
func (b *Broker) openTransactions() []string {
	var open []string
	for _, l := range b.store.All() {
		if bounds := l.Bounds(); bounds.LastStable < bounds.End {
			open = append(open, l.Partition().String())
		}
	}
	if len(open) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("transactions are open that only Kafka can end, and readers of committed records wait at them: %s",
		strings.Join(open, ", "))}
}

func refusal(where string, err error) error {
	if err == nil {
		return nil
	}
	return &storage.UnusableError{
		Path: where, What: "cannot be taken over as it is", Err: err,
		Do: "Nothing was changed: Apache Kafka can go on with the folder.",
	}
}

func partitionsOf(plan meta.Adopt) (n int) {
	for _, t := range plan.Topics {
		n += len(t.Partitions)
	}
	return n
}

func (b *Broker) sayNotes(notes []string) {
	for _, n := range notes {
		b.log.Warn("not taken over as it was", "what", n)
	}
}

// sayRefused names the configurations that were not taken.
func (b *Broker) sayRefused(r meta.AdoptReply) {
	for _, c := range r.Refused {
		b.log.Warn("a setting is not taken over", "resource", c.Resource.Name, "key", c.Key, "err", c.Outcome.Err())
	}
}

// here is what there is on this node.
func (b *Broker) here(clusterID string) adopt.Here {
	h := adopt.Here{
		ClusterID: clusterID, Node: b.nodeID(), Logs: map[protocol.TopicPartition]adopt.Log{},
		Ignore: b.static.List("moldau.adopt.ignore"),
	}
	for _, d := range b.store.Dirs() {
		h.Directories = append(h.Directories, d.ID)
	}
	for _, l := range b.store.All() {
		h.Logs[l.Partition()] = adopt.Log{Topic: l.TopicID(), Epoch: l.Epochs().Latest()}
		for _, p := range l.Producers() {
			h.NextProducerID = max(h.NextProducerID, p.ID+1)
		}
	}
	for _, tp := range b.store.Offline() {
		h.Logs[tp] = adopt.Log{Epoch: -1}
	}
	return h
}

// adoptAgain brings in what Kafka has changed since its metadata was taken over.
func (b *Broker) adoptAgain(ctx context.Context, clusterID, dir string) error {
	if path.Base(dir) != kafkasMetadata || b.adopted != nil { // just taken over, for the first time
		return nil
	}
	before, found, err := readAdoption(b.cfg.FS, path.Join(dir, quorumFolder, adoptedFile))
	if err != nil {
		return err
	}
	if !found { // a crash came between the taking over and the note of it: the same again changes nothing
		before.end = -1
	}
	m, end, err := b.readKafkas(dir)
	if err != nil || m == nil || end == before.end {
		return err
	}
	if err := b.unstray(); err != nil {
		return err
	}
	plan, notes, err := m.Plan(b.here(clusterID))
	if err != nil {
		return refusal(dir, err)
	}
	now := m.Topics()
	for _, id := range before.topics {
		if !slices.Contains(now, id) {
			plan.Removed = append(plan.Removed, id)
		}
	}
	b.log.Info("Apache Kafka has used the data folder since; taking over what it changed", "topics", len(plan.Topics),
		"removed", len(plan.Removed), "metadataOffset", end)
	b.sayNotes(notes)
	reply, err := b.node.Propose(ctx, plan)
	if err != nil {
		return fmt.Errorf("take over what Apache Kafka changed: %w", err)
	}
	b.sayRefused(reply.(meta.AdoptReply))
	b.adopted = &adoption{end: end, topics: now}
	return nil
}

// unstray gives folders back their names that Kafka has put aside: partitions of topics that were made here, which it does
// not know. The store is opened anew then.
func (b *Broker) unstray() error {
	back := map[string]string{}
	for _, d := range b.cfg.Dirs {
		entries, err := b.cfg.FS.List(d)
		if err != nil {
			return err
		}
		for _, e := range entries {
			name, ok := strings.CutSuffix(e.Name, straySuffix)
			dot := strings.LastIndexByte(name, '.')
			if !e.Dir || !ok || dot < 0 {
				continue
			}
			tp, ok := storage.ParseFolder(name[:dot])
			id, err := storage.ReadTopicID(b.cfg.FS, path.Join(d, e.Name))
			t := b.node.Image().Topic(tp.Topic)
			if !ok || err != nil || t == nil || t.ID != id {
				continue
			}
			if l, here := b.store.Log(tp); here && l.Bounds().End > 0 {
				continue
			}
			back[path.Join(d, e.Name)] = path.Join(d, tp.String())
		}
	}
	if len(back) == 0 {
		return nil
	}
	if err := b.store.Close(); err != nil {
		return err
	}
	for from, to := range back {
		b.log.Info("a partition that Apache Kafka had put aside is back", "folder", path.Base(to))
		if _, err := b.cfg.FS.Stat(to); err == nil { // made anew, and empty
			if err := vfs.RemoveAll(b.cfg.FS, to); err != nil {
				return err
			}
		}
		if err := b.cfg.FS.Rename(from, to); err != nil {
			return err
		}
	}
	for _, d := range b.cfg.Dirs {
		if err := b.cfg.FS.SyncDir(d); err != nil {
			return err
		}
	}
	return b.openStore(b.node.Image().ClusterID())
}

// keepsEpochs says that this start needs no new leader epochs, on a folder that may go back to Kafka: its epochs go on where its
// own metadata ends, and consumers that come with newer ones, from commits or records of ours, would be told that those
// are unknown and lose their places. So ours must not run ahead: they rise only when a crash may have taken records.
func (b *Broker) keepsEpochs() bool {
	return b.fromKafka && b.orderly
}

// keepAdoption writes down what was taken over, once it is committed.
func (b *Broker) keepAdoption(dir string) error {
	if b.adopted == nil || path.Base(dir) != kafkasMetadata {
		return nil
	}
	text := fmt.Appendf(nil, "1\n%d\n", b.adopted.end)
	for _, id := range b.adopted.topics {
		text = fmt.Appendf(text, "%s\n", id)
	}
	return vfs.WriteFile(b.cfg.FS, path.Join(dir, quorumFolder, adoptedFile), text)
}

func readAdoption(fsys vfs.FS, name string) (a adoption, found bool, err error) {
	raw, err := vfs.ReadFile(fsys, name, adoptedFileMax)
	if errors.Is(err, fs.ErrNotExist) {
		return a, false, nil
	}
	if err != nil {
		return a, false, err
	}
	lines := strings.Fields(string(raw))
	if len(lines) < 2 || lines[0] != "1" {
		return a, false, fmt.Errorf("%s: version %.20q, only 1 is known", name, append(lines, "")[0])
	}
	end, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return a, false, fmt.Errorf("%s: %.40q is no offset", name, lines[1])
	}
	a.end = protocol.Offset(end)
	for _, l := range lines[2:] {
		id, err := protocol.ParseTopicID(l)
		if err != nil {
			return a, false, fmt.Errorf("%s: %w", name, err)
		}
		a.topics = append(a.topics, id)
	}
	return a, true, nil
}

// readKafkas reads the metadata that Kafka has left in folder: the newest snapshot and the log behind it. It is nil where
// there is none. end is the offset after the last record.
func (b *Broker) readKafkas(folder string) (m *adopt.Metadata, end protocol.Offset, err error) {
	if path.Base(folder) != kafkasMetadata {
		return nil, 0, nil
	}
	fsys := b.cfg.FS
	entries, err := fsys.List(folder)
	if err != nil {
		return nil, 0, err
	}
	var snapshots, logs []string
	for _, e := range entries { // sorted by name, which is by offset
		switch _, suffix, ok := segment.ParseName(e.Name); {
		case e.Dir:
		case ok && suffix == segment.LogSuffix:
			logs = append(logs, path.Join(folder, e.Name))
		case strings.HasSuffix(e.Name, checkpointLabel):
			snapshots = append(snapshots, path.Join(folder, e.Name))
		}
	}
	if len(snapshots) == 0 && len(logs) == 0 {
		return nil, 0, nil
	}
	m = adopt.New()
	for _, name := range slices.Backward(snapshots) {
		fresh := adopt.New()
		at, _, ok := strings.Cut(path.Base(name), "-")
		offset, perr := strconv.ParseInt(at, 10, 64)
		if !ok || perr != nil {
			continue
		}
		if _, err = replay(fsys, name, 0, false, fresh); err == nil {
			m, end = fresh, protocol.Offset(offset)
			break
		}
	}
	for i, name := range logs {
		if i+1 < len(logs) {
			if next, _, _ := segment.ParseName(path.Base(logs[i+1])); next <= end {
				continue // all of it is in the snapshot
			}
		}
		base, _, _ := segment.ParseName(path.Base(name))
		if base > end {
			return nil, 0, damaged(name, fmt.Errorf("it begins at offset %d, and what is before it ends at %d", base, end))
		}
		after, err := replay(fsys, name, end, i+1 == len(logs), m)
		if err != nil {
			return nil, 0, damaged(name, err)
		}
		end = max(end, after)
	}
	return m, end, nil
}

func damaged(name string, err error) error {
	return &storage.UnusableError{
		Path: name, What: "is damaged", Err: err,
		Do: "Restore __cluster_metadata-0 from a copy. Without that folder, moldau takes topics and partitions from the names " +
			"of the other folders, and forgets their configurations.",
	}
}

// replay gives m the records of one file from the offset from on. A tail that does not check out is left out where torn
// says so: it was never acknowledged.
func replay(fsys vfs.FS, name string, from protocol.Offset, torn bool, m *adopt.Metadata) (end protocol.Offset, err error) {
	l, err := inspect.OpenLog(fsys, name)
	if err != nil {
		return 0, err
	}
	defer l.Close()
	end = from
	var buf []byte
	for {
		p, err := l.Next()
		if err == io.EOF {
			return end, nil
		}
		if err == nil && p.Damage != nil {
			if torn && p.AtEnd {
				return end, nil
			}
			err = fmt.Errorf("byte %d: %w", p.Position, p.Damage)
		}
		if err != nil {
			return end, err
		}
		end = max(end, p.Next())
		if p.Next() <= from || p.Head.IsControl() {
			continue
		}
		whole, err := l.Batch(p, buf)
		if err != nil {
			return end, err
		}
		buf = whole
		for r, err := range whole.Records(nil) {
			if err == nil && p.Head.BaseOffset()+protocol.Offset(r.OffsetDelta) >= from {
				err = m.Apply(r.Value)
			}
			if err != nil {
				return end, fmt.Errorf("byte %d: %w", p.Position, err)
			}
		}
	}
}
