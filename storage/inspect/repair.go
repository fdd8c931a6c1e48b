package inspect

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// Plan is what a repair will do to a data folder.
type Plan struct {
	Dir        string
	Partitions []PartitionPlan
	// Checkpoints are damaged files whose whole lines are kept.
	Checkpoints []string
	// Unused are notes: what was seen and needs no repair.
	Unused int
}

// Empty says that there is nothing to do.
func (p Plan) Empty() bool { return len(p.Partitions) == 0 && len(p.Checkpoints) == 0 }

// PartitionPlan is what a repair will do to one partition.
type PartitionPlan struct {
	Partition protocol.TopicPartition
	Findings  []Finding
	// Segments are the segments whose bytes change, in order. The files beside all logs are made anew in any case.
	Segments []SegmentPlan
	// End is where the log will end.
	End protocol.Offset
	// LostFrom and LostTo are the first and the last offset that may have held a record which is lost; equal to -1 where no
	// record is. Good is how many of them can be read, and are cut off because something before them cannot.
	LostFrom, LostTo protocol.Offset
	Good             int64
	// Rescued says that acknowledged records wait beside the log for its end to be what it was, which it will not be again.
	Rescued bool
}

// cuts says whether the log will end before it does now.
func (p PartitionPlan) cuts() bool {
	return slices.ContainsFunc(p.Segments, func(s SegmentPlan) bool { return s.CutAt >= 0 })
}

// SegmentPlan is what happens to one segment's log.
type SegmentPlan struct {
	Base    protocol.Offset
	Size    int64 // now
	Whole   bool  // the segment is moved aside
	CutAt   int64 // everything from this byte on is cut off; -1 where nothing is
	Dropped []Span
}

// Span is a stretch of a file.
type Span struct{ From, To int64 }

// Repairer puts damaged data folders in order. Its fields are set before and not changed.
type Repairer struct {
	FS vfs.FS
	// Skip drops what is damaged and keeps what follows, instead of cutting the log there.
	Skip bool
}

// errJournal is for folders that a crash has left with acknowledged records beside the logs.
var errJournal = errors.New("the shared journal holds acknowledged records that are not in the logs yet; start moldau on the " +
	"folder once, which takes them from there, stop it, and repair then")

// Plan looks at dir, a data folder or a partition's folder in one, and says what is to be done. It changes nothing.
func (r *Repairer) Plan(dir string) (Plan, error) {
	only := ""
	if _, ok := storage.ParseFolder(path.Base(dir)); ok {
		dir, only = path.Dir(dir), path.Base(dir)
	}
	p := Plan{Dir: dir}
	if left, err := r.FS.List(path.Join(dir, storage.JournalFolder)); err == nil && len(left) > 0 {
		return p, fmt.Errorf("%s: %w", path.Join(dir, storage.JournalFolder), errJournal)
	}
	entries, err := r.FS.List(dir)
	if err != nil {
		return p, err
	}
	own := &Verifier{FS: r.FS, Report: func(f Finding) {}}
	d, err := own.dataFolder(dir)
	if err != nil {
		return p, err
	}
	for _, name := range checkpoints {
		if _, err := storage.ReadCheckpoint(r.FS, dir, name); err != nil {
			p.Checkpoints = append(p.Checkpoints, name)
		}
	}
	for _, e := range entries {
		tp, ok := storage.ParseFolder(e.Name)
		if !ok || !e.Dir || only != "" && e.Name != only || tp.Topic == "__cluster_metadata" {
			continue
		}
		if err := r.planPartition(&p, d, tp); err != nil {
			return p, err
		}
	}
	return p, nil
}

// planPartition adds a partition to the plan where it is damaged.
func (r *Repairer) planPartition(p *Plan, d *folder, tp protocol.TopicPartition) error {
	pp := PartitionPlan{Partition: tp, LostFrom: -1, LostTo: -1}
	v := &Verifier{FS: r.FS, Report: func(f Finding) {
		if !f.Note {
			pp.Findings = append(pp.Findings, f)
		} else {
			p.Unused++
		}
	}}
	if err := v.partition(d, tp.String()); err != nil {
		return err
	}
	if len(pp.Findings) == 0 {
		return nil
	}
	s := &survey{r: r, dir: path.Join(d.dir, tp.String()), plan: &pp, recovery: -1, clean: d.clean}
	if o, ok := d.offsets[storage.RecoveryPoints][tp]; ok {
		s.recovery = o
	}
	if err := s.run(); err != nil {
		return err
	}
	p.Partitions = append(p.Partitions, pp)
	return nil
}

// survey finds out what of a partition's log is good.
type survey struct {
	r        *Repairer
	dir      string
	plan     *PartitionPlan
	recovery protocol.Offset
	clean    bool

	next protocol.Offset // after the last batch that is kept
	seen protocol.Offset // after the last batch that was made out, kept or not
	cut  bool            // everything from here on goes
	buf  []byte
}

func (s *survey) run() error {
	v := &Verifier{FS: s.r.FS, Report: func(Finding) {}}
	fl, err := v.list(s.dir)
	if err != nil {
		return err
	}
	for i, base := range fl.segments {
		if i == 0 {
			s.next, s.seen = base, base
		}
		kafkas := fl.present[segment.FileName(fl.segments[len(fl.segments)-1], segment.IndexSuffix)] >= 1<<20
		lost := base > s.next && base > s.recovery && s.recovery >= 0 && !kafkas
		if i > 0 && lost && !s.r.Skip && !s.cut {
			s.lose(s.next, base)
			s.cut = true
		}
		if err := s.segment(base, i == 0); err != nil {
			return err
		}
	}
	s.plan.End = s.next
	s.plan.Rescued = fl.rescued && s.plan.cuts()
	if s.recovery > s.seen {
		s.lose(s.seen, s.recovery)
	}
	return nil
}

// lose notes that the offsets from from to before to are lost.
func (s *survey) lose(from, to protocol.Offset) {
	if to <= from {
		to = from + 1 // nobody knows how many
	}
	if s.plan.LostFrom < 0 || from < s.plan.LostFrom {
		s.plan.LostFrom = from
	}
	s.plan.LostTo = max(s.plan.LostTo, to-1)
}

func (s *survey) segment(base protocol.Offset, first bool) error {
	l, err := OpenLog(s.r.FS, path.Join(s.dir, segment.FileName(base, segment.LogSuffix)))
	if err != nil {
		return err
	}
	defer l.Close()
	sp := SegmentPlan{Base: base, Size: l.Size(), CutAt: -1}
	if s.cut {
		sp.CutAt = 0
	}
	for {
		p, err := l.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		bad, err := s.bad(l, p)
		if err != nil {
			return err
		}
		switch {
		case !bad && !s.cut:
			s.next = p.Next()
		case !bad:
			s.lose(p.Head.BaseOffset(), p.Next())
			s.plan.Good += int64(p.Head.Count())
		default:
			s.loseBad(p)
			if !s.r.Skip && !s.cut {
				s.cut, sp.CutAt = true, p.Position
			} else if s.r.Skip {
				sp.Dropped = append(sp.Dropped, Span{p.Position, p.Position + p.Bytes})
			}
		}
		if p.Head != nil && !bad {
			s.seen = max(s.seen, p.Next())
		}
	}
	sp.Whole = sp.CutAt == 0 && !first
	if sp.CutAt >= 0 || len(sp.Dropped) > 0 {
		s.plan.Segments = append(s.plan.Segments, sp)
	}
	return nil
}

// loseBad notes which offsets a bad piece may have held.
func (s *survey) loseBad(p Piece) {
	to := s.seen + 1
	if p.Head != nil && p.Head.BaseOffset() >= s.seen && p.Head.LastOffset()-s.seen < 1<<31 {
		to = p.Next()
	}
	s.lose(s.seen, to)
}

// bad says whether a piece cannot stay in the log.
func (s *survey) bad(l *Log, p Piece) (bool, error) {
	if p.Damage != nil || p.Head.BaseOffset() < s.next || p.Head.BaseOffset() < l.Base() {
		return true, nil
	}
	b, err := l.Batch(p, s.buf)
	if errors.Is(err, ErrLarge) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.buf = b
	last := int32(-1)
	for r, err := range b.Records(nil) {
		if err != nil || r.OffsetDelta <= last || r.OffsetDelta > b.LastOffsetDelta() {
			return true, nil
		}
		last = r.OffsetDelta
	}
	return false, nil
}

// ignoreMissing is nil for a file that is not there.
func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// kept are the pieces of a log that stay, as spans.
func (sp SegmentPlan) kept() []Span {
	end := sp.Size
	if sp.CutAt >= 0 {
		end = sp.CutAt
	}
	var out []Span
	from := int64(0)
	for _, d := range sp.Dropped {
		if d.From > from {
			out = append(out, Span{from, min(d.From, end)})
		}
		from = d.To
	}
	if from < end {
		out = append(out, Span{from, end})
	}
	return slices.DeleteFunc(out, func(s Span) bool { return s.From >= s.To })
}
