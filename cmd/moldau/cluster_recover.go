package main

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	clusters "moldau.io/moldau/cluster"
	"moldau.io/moldau/cluster/quorum"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/vfs"
)

// recoveredView is what recover prints.
type recoveredView struct {
	Folder      string `json:"folder"`
	Recovered   bool   `json:"recovered"` // false with --dry-run
	Voters      int    `json:"voters_before"`
	Term        uint64 `json:"term"`
	Last        int64  `json:"last_entry"`
	Uncommitted int64  `json:"uncertain_entries"` // kept, though it is not known that they were agreed on
	Copy        string `json:"copy,omitempty"`
}

func newClusterRecover(w world) *cobra.Command {
	var data string
	var yes, dry bool
	cmd := &cobra.Command{
		Use:   "recover",
		Short: "Let one broker go on alone when the majority of the voters is gone for ever",
		Long: "Rewrite the metadata of a stopped broker so that it is the only voter. This is for a cluster of which a majority of\n" +
			"the voters is gone for ever: as long as their disks exist, start them again instead.\n\n" +
			"What the lost voters had agreed on and this broker has not heard of is lost: topics, settings and who is in sync may be\n" +
			"as they were a moment before. So it is for the folder with the highest term, and of those the last entry: run it with\n" +
			"--dry-run on all that are left and compare. Partitions whose replicas in sync are all gone have no leader afterwards;\n" +
			"'kafka-leader-election.sh --election-type unclean' gives them one, with what that one has.\n\n" +
			"Afterwards start the broker, then the others that are left, each with --join and without its folder \"quorum\".",
		Example: "  moldau cluster recover --data /var/lib/moldau --dry-run\n  moldau cluster recover --data /var/lib/moldau",
		Args:    cobra.NoArgs,
	}
	f := cmd.Flags()
	f.StringVar(&data, "data", defaultData, "the broker's data folder, the first one where there are several")
	f.BoolVar(&yes, "yes", false, "do not ask")
	f.BoolVar(&dry, "dry-run", false, "only say what there is")
	out := addOutputFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		return recoverQuorum(w, data, yes, dry, *out)
	}
	return cmd
}

func recoverQuorum(w world, data string, yes, dry bool, out output) (err error) {
	data, _, _ = strings.Cut(data, ",")
	data = filepath.ToSlash(filepath.Clean(data))
	fsys, dir := vfs.OS(), path.Join(data, "quorum")
	if _, err := fsys.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return dataErrorf("%s holds no metadata: --data names the data folder of a broker, the first one where it has several", data)
	}
	lock, err := storage.TakeFolder(fsys, data)
	var held *vfs.LockedError
	switch {
	case errors.As(err, &held):
		return dataErrorf("%s is in use: %w; stop that broker first", data, err)
	case err != nil:
		return dataErrorf("%s: %w", data, err)
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	in, err := quorum.Inspect(fsys, dir)
	if err != nil {
		return dataErrorf("%w", err)
	}
	v := recoveredView{Folder: data, Voters: len(in.Members.Voters), Term: in.Term, Last: in.Last,
		Uncommitted: max(0, in.Last-in.Committed)}
	if !dry {
		if err := confirm(w, yes, v); err != nil {
			return err
		}
		r, err := quorum.Recover(fsys, dir, clusters.NewQuorumID())
		if err != nil {
			return dataErrorf("%w; it can be run again", err)
		}
		v.Recovered, v.Copy = true, r.Copy
	}
	if out == outputJSON {
		return printJSON(w.stdout, v)
	}
	fmt.Fprintln(w.stdout, v)
	return nil
}

// String is for people.
func (v recoveredView) String() string {
	text := fmt.Sprintf("%s: term %d, last entry %d, %d of them not known to be agreed on; %d voters", v.Folder, v.Term, v.Last,
		v.Uncommitted, v.Voters)
	if v.Recovered {
		text += fmt.Sprintf("\nit is the only voter now. The old files are in %s. Start this broker, then the others with --join and "+
			"without their folder \"quorum\"", v.Copy)
	}
	return text
}

// confirm asks the user, unless it was told not to.
func confirm(w world, yes bool, v recoveredView) error {
	if yes {
		return nil
	}
	fmt.Fprintf(w.stderr, "%s\nWhat other voters had agreed on after that is lost, and none of them may come back with its old metadata.\n"+
		"This broker is to be the only voter. ", v)
	if !confirmed(w) {
		return errors.New("nothing was changed; --yes does not ask")
	}
	return nil
}
