package storage

import (
	"fmt"
	"math"
	"strings"
	"sync/atomic"
	"time"

	"moldau.io/moldau/protocol"
)

// space is what is known of a data folder's file system between two looks at it. A part of it, the reserve, is kept free:
// for the broker's own records and files, which go on when clients' appends are refused.
type space struct {
	// What an append looks at: it goes on while what has been appended stays below the limit. So it cannot run through the
	// reserve before the next look.
	appended atomic.Int64 // bytes, since the store was opened
	limit    atomic.Int64
	wanted   atomic.Int64 // bytes of an append that was refused since the last look

	seen   atomic.Pointer[DirSpace] // the last look
	warned int64                    // the chore's: the configured reserve that was said to be too large
}

// DirSpace is the space of a data folder's file system, in bytes.
type DirSpace struct {
	Path    string
	Total   int64
	Free    int64
	Reserve int64 // that is kept free
	Full    bool  // clients' appends are refused
}

// FullError says that an append was refused, since only the reserve is left of a disk. Clients are sent
// KAFKA_STORAGE_ERROR, on which they try again.
type FullError struct {
	Dir           string
	Free, Reserve int64
}

func (e *FullError) Error() string {
	return fmt.Sprintf("the disk of %s is full: %d bytes are free, and %d are kept in reserve (moldau.disk.reserve.bytes); "+
		"nothing is lost and reads go on; give it space, delete records or topics, or shorten their retention",
		e.Dir, e.Free, e.Reserve)
}

// Unwrap is the code.
func (e *FullError) Unwrap() error { return protocol.KafkaStorageError }

// spaceInterval is how often free space is looked at.
const spaceInterval = time.Second

// slack is how much more than the reserve must be free before appends go on, or deletion ends, so that the two do not
// change places every second.
func slack(reserve int64) int64 { return reserve / 8 }

// reserveShare bounds the reserve on a small disk: a tenth of it.
const reserveShare = 10

// admit implements keeper. The broker's own appends may use the reserve.
func (s *Store) admit(l *Log, bytes int64, own bool) error {
	d := s.dirs[0]
	if len(s.dirs) > 1 { // seldom, and asking for it costs something
		if d = s.folderOf(l); d == nil {
			return nil
		}
	}
	p := &d.space
	appended, limit := p.appended.Add(bytes), p.limit.Load()
	if appended <= limit || own {
		return nil
	}
	p.appended.Add(-bytes)
	p.wanted.Store(bytes)
	seen := p.seen.Load()
	e := &FullError{Dir: d.path, Free: seen.Free, Reserve: seen.Reserve}
	if !seen.Full { // it may have become free since the last look
		e.Free = seen.Reserve + max(0, limit-(appended-bytes))
		s.lookSoon()
	}
	return e
}

func (s *Store) lookSoon() {
	select {
	case s.background.look <- struct{}{}:
	default:
	}
}

// Spaces is the space of each data folder, as of the last look.
func (s *Store) Spaces() []DirSpace {
	var out []DirSpace
	for _, d := range s.dirs {
		if seen := d.space.seen.Load(); seen != nil {
			out = append(out, *seen)
		}
	}
	return out
}

// keepReserves is the chore.
func (s *Store) keepReserves() {
	for _, d := range s.dirs {
		s.keepReserve(d)
	}
}

// keepReserve looks how much is free, makes room where that is too little, and says whether clients may append.
func (s *Store) keepReserve(d *dataDir) {
	p, t := &d.space, s.Tuning()
	wanted := p.wanted.Swap(0)
	now, upTo, err := s.look(d, t)
	if err != nil {
		p.limit.Store(math.MaxInt64) // a full disk then shows itself by failing writes
		return
	}
	enough := now.Reserve + wanted
	was := p.seen.Load() != nil && p.seen.Load().Full
	if was || t.DeleteOldest {
		enough += slack(now.Reserve)
	}
	if now.Free < enough {
		s.removeWaiting(d.path)
		now, upTo, err = s.look(d, t)
		if err == nil && t.DeleteOldest && now.Free < enough && s.deleteOldest(d, enough-now.Free) {
			s.removeWaiting(d.path)
			now, upTo, err = s.look(d, t)
		}
		if err != nil {
			return
		}
	}
	now.Full = now.Free < now.Reserve+wanted || was && now.Free < enough
	p.seen.Store(&now)
	if now.Full {
		upTo = math.MinInt64
	}
	p.limit.Store(upTo)
	switch {
	case now.Full && !was:
		s.logger.Warn("the disk is full: clients' appends are refused until there is space again", "dir", d.path,
			"free", now.Free, "reserve", now.Reserve,
			"do", "give it space, delete records or topics, or shorten their retention")
	case was && !now.Full:
		s.logger.Info("the disk has space again: appends go on", "dir", d.path, "free", now.Free, "reserve", now.Reserve)
	}
}

// look asks the file system, and says up to which number of appended bytes the reserve stays free.
func (s *Store) look(d *dataDir, t Tuning) (now DirSpace, upTo int64, err error) {
	appended := d.space.appended.Load() // before: what is appended meanwhile is counted twice rather than not at all
	sp, err := s.fs.Space(d.path)
	if err != nil {
		return now, 0, err
	}
	now = DirSpace{Path: d.path, Total: sp.Total, Free: sp.Free, Reserve: t.ReserveBytes}
	if most := sp.Total / reserveShare; now.Reserve > most {
		now.Reserve = most
		if d.space.warned != t.ReserveBytes {
			s.logger.Warn("moldau.disk.reserve.bytes is more than a tenth of the disk: a tenth is kept free", "dir", d.path,
				"configured", t.ReserveBytes, "disk", sp.Total, "reserve", now.Reserve)
		}
		d.space.warned = t.ReserveBytes
	}
	return now, appended + now.Free - now.Reserve, nil
}

// removeWaiting removes at once what file.delete.delay.ms keeps in a folder.
func (s *Store) removeWaiting(dir string) {
	s.remove(s.background.removal.take(func(r removal) bool { return strings.HasPrefix(r.name, dir+"/") }))
}

// deleteOldest deletes closed segments of a folder before their time, so that at least need bytes become free. It says
// whether there were any.
func (s *Store) deleteOldest(d *dataDir, need int64) bool {
	var logs []*Log
	var segs [][]aged
	for _, l := range s.All() {
		if l.Config().Deletes && s.folderOf(l) == d && l.Failure() == nil {
			logs = append(logs, l)
			segs = append(segs, l.closedBelowHighWatermark())
		}
	}
	some := false
	for i, n := range oldest(segs, need) {
		if n == 0 {
			continue
		}
		l, gone := logs[i], segs[i][:n]
		if err := l.deleteEarly(gone[n-1].end); err != nil {
			s.logger.Warn("segments cannot be deleted", "topic", l.tp.Topic, "partition", l.tp.Partition, "err", err)
			continue
		}
		some = true
		for _, x := range gone {
			s.deleted[byFullDisk].Add(1)
			s.logger.Warn("a segment is deleted before its time: the disk is full", "topic", l.tp.Topic,
				"partition", l.tp.Partition, "end", x.end, "bytes", x.bytes, "newest", time.UnixMilli(x.newest).UTC())
		}
	}
	return some
}

// oldest says how many of each log's segments go, from the front: always the one whose newest record is the oldest, until
// they have need bytes.
func oldest(logs [][]aged, need int64) []int {
	n := make([]int, len(logs))
	for need > 0 {
		next := -1
		for i, segs := range logs {
			if n[i] < len(segs) && (next < 0 || segs[n[i]].newest < logs[next][n[next]].newest) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		need -= logs[next][n[next]].bytes
		n[next]++
	}
	return n
}

// closedBelowHighWatermark is the segments that may be deleted before their time.
func (l *Log) closedBelowHighWatermark() []aged {
	segs, hw := l.aged(*l.segments.Load()), l.HighWatermark()
	n := 0
	for n < len(segs)-1 && segs[n].end <= hw {
		n++
	}
	return segs[:n]
}

// deleteEarly deletes the segments below start.
func (l *Log) deleteEarly(start protocol.Offset) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.usable(); err != nil {
		return err
	}
	l.raiseStart(start)
	return l.removeBelow(start)
}
