package storage

import (
	"errors"
	"io/fs"
	"path"
	"sync"
	"sync/atomic"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// clusterMetadata is the topic of Kafka's own metadata log. It is not ours to open, nor to delete.
const clusterMetadata = "__cluster_metadata"

// found is a partition's folder that is to be opened.
type found struct {
	d    *dataDir
	tp   protocol.TopicPartition
	path string

	bytes int64 // that are to be read again
}

// load opens every log, several at a time.
func (s *Store) load() error {
	todo, futures, err := s.findLogs()
	if err != nil {
		return err
	}
	for _, d := range s.online() {
		err := d.dropCleanMark(s.fs)
		if DiskFailed(err) && len(s.online()) > 1 {
			s.takeOffline(d, &DirError{Dir: d.path, Op: "remove " + cleanFile, Err: err})
			continue
		}
		if err != nil {
			return &UnusableError{Path: path.Join(d.path, cleanFile), What: "cannot be removed",
				Do: "Check disk and rights.", Err: err}
		}
	}
	began := s.o.Now()
	p := &progress{logger: s.logger, logs: len(todo), bytes: s.measure(todo)}
	var wg sync.WaitGroup
	next := make(chan found)
	for range min(s.openers(), len(todo)) {
		wg.Go(func() {
			for f := range next {
				s.openFound(f, &p.read)
				p.opened.Add(1)
			}
		})
	}
	p.start()
	for _, f := range todo {
		next <- f
	}
	close(next)
	wg.Wait()
	p.end()
	if err := s.keepLowered(); err != nil {
		return err
	}
	s.resumeMoves(futures)
	if len(todo) > 0 {
		s.logger.Info("logs are open", "logs", len(s.mu.logs), "offline", len(s.mu.failed),
			"ms", s.o.Now().Sub(began).Milliseconds())
	}
	return nil
}

// cleanOpeners is how many logs are opened at a time after an orderly end: that reads little, and with cold caches waits for
// the disk all the time, which answers many at once.
const cleanOpeners = 32

// openers is how many logs are opened at a time. Who asks for one wants them in order.
func (s *Store) openers() int {
	n := s.o.RecoveryThreads
	for _, d := range s.online() {
		if n == 1 || !d.clean {
			return n
		}
	}
	return max(n, cleanOpeners)
}

// keepLowered makes lowered recovery points durable, before anything is appended. One file costs less than to sync the
// indexes of each log; that is done in the background, which raises the recovery points again.
func (s *Store) keepLowered() error {
	for _, d := range s.online() {
		if len(s.lowered) == 0 {
			return nil
		}
		err := d.write(s.fs, recoveryPointFile, func() offsets { return s.recoveryPoints(d) })
		if DiskFailed(err) && len(s.online()) > 1 {
			s.takeOffline(d, &DirError{Dir: d.path, Op: "write a checkpoint", Err: err})
			continue
		}
		if segment.NoSpace(err) { // each log waits for it before it closes the segment in question
			s.logger.Warn("the disk is full: recovery points are written later", "dir", d.path, "err", err)
			for _, l := range s.lowered {
				l.w.lowered = true
			}
			continue
		}
		if err != nil {
			return &UnusableError{Path: d.path, What: "cannot be written", Do: "Check disk and rights.", Err: err}
		}
	}
	for _, l := range s.lowered {
		s.flushSoon(l, l.active().Next())
	}
	s.lowered = nil
	return nil
}

// findLogs lists the partitions' folders, and those of moves. One partition in two folders is refused, unless a move was
// interrupted: nobody can say which one is right.
func (s *Store) findLogs() (todo []found, futures []future, err error) {
	seen := map[protocol.TopicPartition]int{} // at which index of todo
	for _, d := range s.dirs {
		entries, err := s.fs.List(d.path)
		if DiskFailed(err) && len(s.online()) > 1 {
			s.takeOffline(d, &DirError{Dir: d.path, Op: "list", Err: err})
			continue
		}
		if err != nil {
			return nil, nil, &UnusableError{Path: d.path, What: "cannot be listed", Do: "Check the disk.", Err: err}
		}
		for _, e := range entries {
			full := path.Join(d.path, e.Name)
			if e.Dir && isDeletedDir(e.Name) {
				s.background.removal.add(true, s.o.Now(), full)
				continue
			}
			if tp, ok := parseFutureDir(e.Name); ok && e.Dir {
				futures = append(futures, future{d: d, tp: tp, path: full})
				continue
			}
			tp, ok := parseDir(e.Name)
			if !ok || tp.Topic == clusterMetadata {
				continue
			}
			f := found{d: d, tp: tp, path: full}
			if !e.Dir {
				s.notAFolder(f, e)
				continue
			}
			at, twice := seen[tp]
			if !twice {
				seen[tp] = len(todo)
				todo = append(todo, f)
				continue
			}
			winner, err := s.settle(todo[at], f)
			if err != nil {
				return nil, nil, &UnusableError{Path: full, What: "cannot be compared", Do: "Check the disk.", Err: err}
			}
			if winner == nil {
				both, err := s.rivals(todo[at], f)
				if err == nil && both {
					continue
				}
				return nil, nil, &UnusableError{
					Path: full,
					What: "is a second log of the partition that is also in " + todo[at].path,
					Do:   "Move one of the two folders away: the one with the older or smaller files.",
				}
			}
			todo[at] = *winner
		}
		d.unsure = d.unsure || strays(d.written[logStartFile], todo, d)
	}
	return todo, futures, nil
}

// openFound opens one log, or notes why it cannot be opened.
func (s *Store) openFound(f found, read *atomic.Int64) {
	began := s.o.Now()
	l, r, err := s.openIn(f, read)
	s.mu.Lock()
	defer s.mu.Unlock()
	f.d.health.logs.Add(1)
	attrs := []any{"topic", f.tp.Topic, "partition", f.tp.Partition, "dir", f.d.path}
	if err != nil {
		s.logger.Error("log is offline", append(attrs, "err", err)...)
		s.mu.failed[f.tp] = &OfflineError{Partition: f.tp, Dir: f.path, Err: err}
		s.suspect(f.d, err)
		return
	}
	s.mu.logs[f.tp] = l
	if r.Rescued {
		f.d.replayed = append(f.d.replayed, l)
	}
	if r.Replayed > 0 {
		s.replayedBatches.Add(uint64(r.Replayed))
		s.logger.Info("acknowledged batches were taken from the journal", append(attrs, "end", r.End, "batches", r.Replayed)...)
	}
	if r.Lowered {
		s.lowered = append(s.lowered, l)
	}
	switch {
	case r.Cut > 0:
		s.logger.Warn("log was cut after a crash", append(attrs, "end", r.End, "cutBytes", r.Cut, "readBytes", r.Bytes,
			"reason", r.Reason)...)
	case r.Bytes > 0:
		s.logger.Info("log was read again after a crash", append(attrs, "end", r.End, "readBytes", r.Bytes,
			"ms", s.o.Now().Sub(began).Milliseconds())...)
	}
}

func (s *Store) openIn(f found, read *atomic.Int64) (*Log, Recovered, error) {
	id, err := s.readPartition(f.path)
	if err != nil {
		return nil, Recovered{}, err
	}
	replays, rescued, err := s.replays(f, id)
	if err != nil {
		return nil, Recovered{}, err
	}
	l, r, err := openLog(opening{
		tp:       f.tp,
		id:       id,
		dir:      f.path,
		files:    s.files,
		keeper:   s,
		cfg:      s.o.Config(f.tp.Topic),
		logger:   s.logger,
		now:      s.o.Now(),
		clean:    f.d.clean,
		recovery: f.d.written[recoveryPointFile][f.tp],
		start:    f.d.written[logStartFile][f.tp],
		unsure:   f.d.unsure,
		read:     read,
		hw:       f.d.written[highWatermarkFile][f.tp],
		cleaned:  f.d.written[cleanerFile][f.tp],
		journal:  f.d.journal,
		replays:  replays,
	})
	r.Rescued = rescued
	return l, r, err
}

// readPartition is the topic's id, zero where the file is missing or was torn by a crash: it is not flushed on its own,
// the cluster knows the id too.
func (s *Store) readPartition(dir string) (protocol.TopicID, error) {
	b, err := vfs.ReadFile(s.fs, path.Join(dir, partitionFile), smallFileMax)
	if errors.Is(err, fs.ErrNotExist) {
		return protocol.TopicID{}, nil
	}
	if err != nil {
		return protocol.TopicID{}, err
	}
	id, err := parsePartition(b)
	if err != nil {
		s.logger.Warn("partition.metadata is damaged", "dir", dir, "err", err)
		return protocol.TopicID{}, nil
	}
	return id, nil
}
