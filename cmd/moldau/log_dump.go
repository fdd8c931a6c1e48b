package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/batch"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/inspect"
	"moldau.io/moldau/storage/vfs"
)

// dumpFlags is what `moldau log dump` is asked for.
type dumpFlags struct {
	records bool
	offsets bool // decode the records of __consumer_offsets
	from    int64
	to      int64
	max     int64
}

func newLogDump(w world) *cobra.Command {
	var f dumpFlags
	cmd := &cobra.Command{
		Use:   "dump PATH...",
		Short: "Print what is in data folders, partition folders or single files",
		Long: "Print what is in a data folder, a partition's folder, or one file: segments (.log), indexes (.index, .timeindex, " +
			".txnindex), producer snapshots (.snapshot), leader epochs, partition.metadata, checkpoints, meta.properties and the " +
			"shared journal (moldau.journal). " +
			"It only reads, and takes no lock: a broker may be using the folder.",
		Example: "  moldau log dump /var/lib/moldau/rides-0\n" +
			"  moldau log dump --records --from 1000 --to 1010 /var/lib/moldau/rides-0\n" +
			"  moldau log dump --offsets-decoder /var/lib/moldau/__consumer_offsets-12 -o json",
		Args: cobra.MinimumNArgs(1),
	}
	fl := cmd.Flags()
	fl.BoolVarP(&f.records, "records", "r", false, "print the records of each batch")
	fl.BoolVar(&f.offsets, "offsets-decoder", false, "print keys and values of __consumer_offsets in readable form; "+
		"implies --records")
	fl.Int64Var(&f.from, "from", 0, "the first offset to print")
	fl.Int64Var(&f.to, "to", math.MaxInt64, "the last offset to print")
	fl.Int64Var(&f.max, "max-records", math.MaxInt64, "stop after so many records")
	fl.Lookup("to").DefValue, fl.Lookup("max-records").DefValue = "", ""
	out := addOutputFlag(cmd)
	cmd.RunE = func(_ *cobra.Command, paths []string) error {
		if f.from > f.to {
			return usageErrorf("--from %d lies behind --to %d", f.from, f.to)
		}
		f.records = f.records || f.offsets
		d := &dumper{fs: vfs.ReadOnly(), f: f, p: newLinePrinter(w.stdout, *out), left: f.max}
		for _, name := range paths {
			if err := d.path(filepath.ToSlash(filepath.Clean(name))); err != nil {
				return errors.Join(err, d.p.flush())
			}
		}
		return d.p.flush()
	}
	return cmd
}

// dumper prints files.
type dumper struct {
	fs   vfs.FS
	f    dumpFlags
	p    *linePrinter
	left int64 // records that may still be printed
	buf  []byte
}

func (d *dumper) path(name string) error {
	st, err := d.fs.Stat(name)
	if err != nil {
		return pathError(err)
	}
	switch base := path.Base(name); {
	case base == storage.JournalFolder && st.Dir, base == storage.RescuedFile:
		return d.journal(name)
	case !st.Dir:
		return d.file(name)
	}
	files, err := inspect.Files(d.fs, name)
	if err != nil {
		return pathError(err)
	}
	if len(files) == 0 {
		return usageErrorf("%s holds no file of a broker's; name a data folder, a partition's folder or a file", name)
	}
	for _, file := range files {
		if err := d.file(file); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue // a running broker has removed it meanwhile
			}
			return err
		}
	}
	for _, more := range []string{storage.JournalFolder, storage.RescuedFile} {
		if _, err := d.fs.Stat(path.Join(name, more)); err == nil {
			if err := d.journal(path.Join(name, more)); err != nil {
				return err
			}
		}
	}
	return nil
}

// pathError says of a path that it does not exist as bad usage, since it was given by hand.
func pathError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return usageErrorf("%w", err)
	}
	return err
}

func (d *dumper) file(name string) error {
	kind := inspect.KindOf(name)
	if kind == inspect.Unknown {
		return usageErrorf("%s is not a file of a broker's log: no .log, .index, .timeindex, .txnindex, .snapshot, "+
			".checkpoint, leader-epoch-checkpoint, partition.metadata, ...-offset-checkpoint or meta.properties", name)
	}
	st, err := d.fs.Stat(name)
	if err != nil {
		return err
	}
	if err := d.p.print(fileLine{lineType{"file"}, name, string(kind), st.Size}); err != nil {
		return err
	}
	switch kind {
	case inspect.Batches:
		return d.batches(name)
	case inspect.Offsets:
		return d.offsetIndex(name)
	case inspect.Times:
		return d.timeIndex(name)
	case inspect.Aborted:
		return d.txnIndex(name)
	}
	lines, err := inspect.Small(d.fs, name, kind)
	if err != nil {
		return d.p.print(damageLine{lineType{"damage"}, 0, st.Size, err.Error()})
	}
	for _, l := range lines {
		if err := d.p.print(smallLine(l)); err != nil {
			return err
		}
	}
	return nil
}

func (d *dumper) batches(name string) error {
	l, err := inspect.OpenLog(d.fs, name)
	if err != nil {
		return err
	}
	defer l.Close()
	for {
		p, err := l.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if p.Head == nil {
			err = d.p.print(damageLine{lineType{"damage"}, p.Position, p.Bytes, p.Damage.Error()})
		} else if int64(p.Head.BaseOffset()) > d.f.to {
			return nil
		} else if int64(p.Head.LastOffset()) >= d.f.from && d.left > 0 {
			err = d.batch(l, p)
		}
		if err != nil {
			return err
		}
	}
}

func (d *dumper) batch(l *inspect.Log, p inspect.Piece) error {
	line := newBatchLine(p)
	whole := d.f.records || p.Head.IsControl()
	if !whole || p.Damage != nil {
		return d.p.print(line)
	}
	b, err := l.Batch(p, d.buf)
	if errors.Is(err, inspect.ErrLarge) {
		line.Note = err.Error()
		return d.p.print(line)
	}
	if err != nil {
		return err
	}
	d.buf = b
	if b.IsControl() {
		line.Control = inspect.Control(b)
	}
	if err := d.p.print(line); err != nil {
		return err
	}
	return d.records(p, b)
}

// records prints the records of a batch, where they were asked for.
func (d *dumper) records(p inspect.Piece, b batch.Batch) error {
	if !d.f.records {
		return nil
	}
	for r, err := range b.Records(nil) {
		if err != nil {
			return d.p.print(damageLine{lineType{"damage"}, p.Position, p.Bytes, err.Error()})
		}
		offset := int64(b.BaseOffset()) + int64(r.OffsetDelta)
		if offset < d.f.from || offset > d.f.to || d.left == 0 {
			continue
		}
		d.left--
		rl := newRecordLine(protocol.Offset(offset), b, r)
		if d.f.offsets {
			rl.Decoded = inspect.DecodeCoordinator(r.Key, r.Value)
		}
		if err := d.p.print(rl); err != nil {
			return err
		}
	}
	return nil
}

// rest prints what follows the last entry of an index.
func (d *dumper) rest(zeros, torn int64) error {
	if zeros > 0 {
		return d.p.print(restLine{lineType{"rest"}, zeros, "zeros: Kafka fills the index of the segment that it writes to"})
	}
	if torn > 0 {
		return d.p.print(restLine{lineType{"rest"}, torn, "bytes of a torn entry"})
	}
	return nil
}

func (d *dumper) offsetIndex(name string) error {
	x, err := inspect.OpenOffsetIndex(d.fs, name)
	if err != nil {
		return usageErrorf("%w", err)
	}
	defer x.Close()
	for {
		e, err := x.Next()
		if err == io.EOF {
			return d.rest(x.Rest())
		}
		if err == nil {
			err = d.p.print(offsetLine{lineType{"offset_index"}, e.Offset, e.Position})
		}
		if err != nil {
			return err
		}
	}
}

func (d *dumper) timeIndex(name string) error {
	x, err := inspect.OpenTimeIndex(d.fs, name)
	if err != nil {
		return usageErrorf("%w", err)
	}
	defer x.Close()
	for {
		e, err := x.Next()
		if err == io.EOF {
			return d.rest(x.Rest())
		}
		if err == nil {
			err = d.p.print(timeLine{lineType{"time_index"}, e.Timestamp, e.Offset})
		}
		if err != nil {
			return err
		}
	}
}

func (d *dumper) txnIndex(name string) error {
	x, err := inspect.OpenTxnIndex(d.fs, name)
	if err != nil {
		return usageErrorf("%w", err)
	}
	defer x.Close()
	for {
		e, err := x.Next()
		if err == io.EOF {
			return d.rest(x.Rest())
		}
		if err == nil {
			err = d.p.print(txnLine{lineType{"aborted_transaction"}, e.Version, e.ProducerID, e.First, e.Last, e.LastStable})
		}
		if err != nil {
			return fmt.Errorf("dump %s: %w", name, err)
		}
	}
}
