package storage

import (
	"fmt"
	"path"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage/epoch"
	"moldau.io/moldau/storage/segment"
)

// settleStart compares the log's start with the leader epochs, before anything is removed because it lies below. Neither
// has a checksum. The epochs begin where the log does: they are cut when the start is raised, and the start is durable
// before them, so that after a crash they may only lag.
func (r *recovery) settleStart() error {
	if r.file == nil || len(r.file.Entries()) == 0 || r.kafkas {
		return nil
	}
	begins := r.file.Entries()[0].Start
	said := r.o.start
	switch {
	case begins == said || said <= r.disk.segments[0] && begins <= r.disk.segments[0]:
		return nil // the names of the segments say it, too
	case begins < said && !r.o.clean:
		return nil
	case begins > said:
		older, err := r.olderThanEpochs(begins)
		if err != nil || older {
			return err
		}
		if said == 0 && !r.o.unsure { // it may be the epochs that are wrong: the first read will tell
			return nil
		}
		if r.o.unsure {
			r.o.logger.Warn("where a log begins is taken from its leader epochs, the checkpoint is damaged", "dir", r.o.dir,
				"start", begins)
			r.o.start = begins
			return nil
		}
	}
	return fmt.Errorf("%s says that the log begins at offset %d, and %s that it begins at %d; one of the two is damaged: "+
		"correct it, or delete the partition's line in the first or the whole second file, while the broker is stopped",
		path.Join(path.Dir(r.o.dir), logStartFile), said, path.Join(r.o.dir, epochFile), begins)
}

// olderThanEpochs says that the log begins with records from before leaders had epochs, or has none that lie before the
// first epoch.
func (r *recovery) olderThanEpochs(begins protocol.Offset) (bool, error) {
	base := r.disk.segments[0]
	if r.disk.sizes[base].Log < batch.HeaderBytes {
		return true, nil
	}
	name := path.Join(r.o.dir, segment.FileName(base, segment.LogSuffix))
	f, err := r.o.files.FS().Open(name)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make(batch.Batch, batch.HeaderBytes)
	if n, err := f.ReadAt(head, 0); n < len(head) {
		return false, fmt.Errorf("read %s: %w", name, err)
	}
	return head.LeaderEpoch() == epoch.Unknown || head.BaseOffset() >= begins, nil
}
