package broker

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"

	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/vfs"
)

// A broker with several data folders must be given all of them. With one left out, the partitions in it would be created
// anew, empty, in the others. So each folder holds a list of all, by the directory.id of their meta.properties, one a line.
const (
	foldersFile    = "moldau.folders"
	foldersFileMax = 1 << 16
	quorumFolder   = "quorum" // of the folder that holds the metadata log
)

// checkFolders refuses to go on where a folder is missing, and writes the list anew where one has come.
func checkFolders(fsys vfs.FS, dirs []storage.Dir) error {
	have := map[string]bool{}
	unread := 0 // folders that could not be opened: which they are cannot be known
	for _, d := range dirs {
		if d.ID == "" {
			unread++
			continue
		}
		have[d.ID] = true
	}
	usable := slices.DeleteFunc(slices.Clone(dirs), func(d storage.Dir) bool { return d.Offline != nil })
	ids := make([]string, 0, len(dirs))
	for id := range have {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	want := strings.Join(ids, "\n") + "\n"
	var stale []string
	missing := map[string]bool{}
	for _, d := range usable {
		name := path.Join(d.Path, foldersFile)
		raw, err := vfs.ReadFile(fsys, name, foldersFileMax)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s: %w", name, err)
		}
		for id := range strings.FieldsSeq(string(raw)) {
			if !have[id] {
				missing[id] = true
			}
			if len(missing) > unread {
				return fmt.Errorf("the data folder with directory.id=%s in its meta.properties is missing, and with it the "+
					"partitions in it; name all folders of this broker (to give it up for ever, delete %s in the others)", id,
					foldersFile)
			}
		}
		if string(raw) != want {
			stale = append(stale, name)
		}
	}
	if len(dirs) < 2 || unread > 0 {
		return nil // one folder alone has nothing to miss; of one that is not there the list says more than can be seen
	}
	for _, name := range stale {
		if err := vfs.WriteFile(fsys, name, []byte(want)); err != nil {
			return err
		}
	}
	return nil
}

// metadataPlaces are the folders in which the metadata log may be: the data folders, and where Kafka was told to keep its own
// metadata.
func (b *Broker) metadataPlaces() []string {
	places := slices.Clone(b.cfg.Dirs)
	if own, _ := b.static.Get("metadata.log.dir"); own != "" && !slices.Contains(places, path.Clean(own)) {
		places = append(places, path.Clean(own))
	}
	return places
}

// metadataDir is the folder that holds the folder of the metadata log: the data folder that has it, or Kafka's metadata folder
// in one; where there is none yet, the first that has Kafka's, else the first.
func metadataDir(fsys vfs.FS, dirs []string) (string, error) {
	var found []string
	var failed error
	fresh := ""
	for _, d := range dirs {
		for _, place := range []string{d, path.Join(d, kafkasMetadata)} {
			have, err := exists(fsys, path.Join(place, quorumFolder))
			if storage.DiskFailed(err) {
				failed = errors.Join(failed, fmt.Errorf("%s: %w", d, err))
				continue
			}
			if err != nil {
				return "", err
			}
			if have {
				found = append(found, place)
			}
		}
		kafkas, err := exists(fsys, path.Join(d, kafkasMetadata))
		if storage.DiskFailed(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		if kafkas && fresh == "" {
			fresh = path.Join(d, kafkasMetadata)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return "", fmt.Errorf("the folders %s hold a metadata log each; they belong to different brokers",
			strings.Join(found, " and "))
	case failed != nil:
		return "", unusableMetadata(dirs[0], failed)
	case fresh != "":
		return fresh, nil
	}
	return dirs[0], nil
}

func exists(fsys vfs.FS, name string) (bool, error) {
	_, err := fsys.Stat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
