package storage

import (
	"path"
	"strings"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/segment"
	"moldau.io/moldau/storage/vfs"
)

// completeSwaps ends what a compaction had begun when the broker was killed or the machine lost its power, this one's
// or Kafka's. Compaction writes files with the ending .cleaned, gives them the ending .swap, removes what they were
// made from, and takes the ending away. So:
//
//   - a .swap from the lowest .cleaned on is not complete, and goes; look removes what is .cleaned;
//   - where a log is .swap, everything without ending from its begin to its end was its source, and goes;
//   - where only indexes are, the log has its place already.
//
// It can be cut short anywhere and called again.
func completeSwaps(o opening) error {
	fsys := o.files.FS()
	entries, err := fsys.List(o.dir)
	if err != nil {
		return err
	}
	found := swaps{o: o, unfinished: -1}
	for _, e := range entries {
		base, suffix, ok := segment.ParseName(e.Name)
		switch {
		case !ok || e.Dir:
		case strings.HasSuffix(suffix, segment.CleanedSuffix):
			if found.unfinished < 0 || base < found.unfinished {
				found.unfinished = base
			}
		case suffix == segment.LogSuffix+segment.SwapSuffix:
			found.logs = append(found.logs, swapFile{e.Name, base, e.Size})
		case strings.HasSuffix(suffix, segment.SwapSuffix):
			found.indexes = append(found.indexes, swapFile{e.Name, base, e.Size})
		case !strings.HasSuffix(suffix, segment.DeletedSuffix):
			found.final = append(found.final, swapFile{e.Name, base, e.Size})
		}
	}
	if len(found.logs) == 0 && len(found.indexes) == 0 {
		return nil
	}
	return found.complete()
}

type swapFile struct {
	name string
	base protocol.Offset
	size int64
}

type swaps struct {
	o                    opening
	unfinished           protocol.Offset // the lowest base of a .cleaned file, -1 for none
	logs, indexes, final []swapFile
}

func (x *swaps) complete() error {
	fsys := x.o.files.FS()
	sync := func() error { return fsys.SyncDir(x.o.dir) }
	var err error
	if x.logs, err = x.dropUnfinished(x.logs); err != nil {
		return err
	}
	if x.indexes, err = x.dropUnfinished(x.indexes); err != nil {
		return err
	}
	if err := sync(); err != nil { // before the .cleaned files go, which say so
		return err
	}
	if err := x.removeSources(); err != nil {
		return err
	}
	for _, files := range [][]swapFile{x.logs, x.indexes} {
		for _, f := range files {
			x.o.logger.Info("a compaction that was cut short is completed", "dir", x.o.dir, "file", f.name)
			name := path.Join(x.o.dir, f.name)
			if err := fsys.Rename(name, strings.TrimSuffix(name, segment.SwapSuffix)); err != nil {
				return err
			}
		}
		if err := sync(); err != nil {
			return err
		}
	}
	return nil
}

func (x *swaps) dropUnfinished(files []swapFile) (rest []swapFile, err error) {
	for _, f := range files {
		if x.unfinished < 0 || f.base < x.unfinished {
			rest = append(rest, f)
			continue
		}
		x.o.logger.Info("a compaction that was cut short is dropped", "dir", x.o.dir, "file", f.name)
		if err := vfs.RemoveIfThere(x.o.files.FS(), path.Join(x.o.dir, f.name)); err != nil {
			return nil, err
		}
	}
	return rest, nil
}

// removeSources removes what the complete .swap files were made from, the logs first: what is left of a segment without
// one is removed like any such leftover.
func (x *swaps) removeSources() error {
	if len(x.logs) == 0 {
		return nil
	}
	from, to := x.logs[0].base, x.logs[0].base+1
	for _, f := range x.logs {
		next, err := segment.NextOf(x.o.files, x.o.dir, f.base, segment.SwapSuffix, f.size)
		if err != nil {
			return err
		}
		from, to = min(from, f.base), max(to, f.base+1, next)
	}
	fsys := x.o.files.FS()
	for _, logs := range []bool{true, false} {
		for _, f := range x.final {
			suffix := path.Ext(f.name)
			if f.base < from || f.base >= to || suffix == segment.SnapshotSuffix || (suffix == segment.LogSuffix) != logs {
				continue
			}
			if err := vfs.RemoveIfThere(fsys, path.Join(x.o.dir, f.name)); err != nil {
				return err
			}
		}
		if err := fsys.SyncDir(x.o.dir); err != nil {
			return err
		}
	}
	return nil
}
