package storage

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/storage/vfs"
)

// listing is every name below dir with what it is and a hash of what it holds, without what every opening changes.
func listing(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		switch {
		case rel == lockFile || rel == cleanFile || strings.HasPrefix(rel, "moldau.journal"):
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(name)
			out[rel] = "link to " + to
			return err
		case d.IsDir():
			out[rel] = "folder"
		default:
			b, err := os.ReadFile(name)
			out[rel] = fmt.Sprintf("%x", sha256.Sum256(b))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// kept wants everything of before to be there still.
func kept(t *testing.T, what string, before, after map[string]string) {
	t.Helper()
	for name, was := range before {
		if after[name] != was {
			t.Errorf("%s: %s was %.12s and is %.12s", what, name, was, after[name])
		}
	}
}

// TestBadFolders puts things into a data folder that do not belong there. One partition may go offline for it, with a
// reason that names the file and the way out; the other is served, and nothing is removed or changed.
func TestBadFolders(t *testing.T) {
	const log = "00000000000000000013.log"
	write := func(data string) func(string) error {
		return func(name string) error { return os.WriteFile(name, []byte(data), 0o644) }
	}
	f := func(what, name string, do func(name string) error, says ...string) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.CopyFS(dir, os.DirFS(cleanFolder(t))); err != nil {
			t.Fatal(err)
		}
		if err := do(filepath.Join(dir, name)); err != nil {
			t.Fatal(what, err)
		}
		before := listing(t, dir)
		var said bytes.Buffer
		o := testOptions(flipConfig())
		o.Logger = slog.New(slog.NewTextHandler(&said, nil))
		s, err := openIdle(vfs.OS(), []string{dir}, o)
		if err != nil {
			t.Fatal(what, err)
		}
		reason := s.Failed(tp0)
		if l, ok := s.Log(tp0); ok {
			_, reason = takePicture(l)
		}
		text := said.String()
		if len(says) > 0 && says[0] == "offline" {
			if reason == nil || protocol.CodeOf(reason) != protocol.KafkaStorageError {
				t.Fatalf("%s: %v", what, reason)
			}
			text, says = reason.Error(), says[1:]
		} else if reason != nil {
			t.Fatalf("%s: %v", what, reason)
		}
		for _, say := range append(says, name) {
			if !strings.Contains(text, filepath.Base(say)) {
				t.Errorf("%s: %q does not say %q", what, text, say)
			}
		}
		if _, err := takePicture(mustLog(t, s, protocol.TopicPartition{Topic: "u"})); err != nil {
			t.Errorf("%s: the other partition: %v", what, err)
		}
		kept(t, what, before, listing(t, dir))
		if err := s.Close(); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		kept(t, what, before, listing(t, dir))
	}
	f("a foreign file", "t-0/notes.txt", write("mine"))
	f("a foreign file that ends as ours do", "t-0/notes.tmp", write("mine"))
	f("another one", "t-0/backup.log.deleted", write("mine"))
	f("a foreign folder", "t-0/backup", func(name string) error { return os.Mkdir(name, 0o755) })
	f("a folder in the place of a segment", "t-0/00000000000000000027.log",
		func(name string) error { return os.Mkdir(name, 0o755) }, "offline", "move it away")
	f("a link in the place of a segment", "t-0/"+log, func(name string) error {
		return errors.Join(os.Rename(name, name+"-moved"), os.Symlink(filepath.Base(name)+"-moved", name))
	}, "offline", "symbolic link", "stopped")
	f("a link in the place of the partition", "t-0", func(name string) error {
		return errors.Join(os.Rename(name, name+".moved"), os.Symlink(filepath.Base(name)+".moved", name))
	}, "offline", "symbolic link", "stopped")
	f("a file in the place of the partition", "t-0", func(name string) error {
		return errors.Join(os.RemoveAll(name), os.WriteFile(name, []byte("mine"), 0o644))
	}, "offline", "move it away")
	f("a hole", "t-0/"+log, func(name string) error {
		file, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		size, err := file.Seek(0, 2)
		return errors.Join(err, file.Truncate(0), file.Truncate(size), file.Close())
	}, "offline", "zeros", "log repair")
	f("a segment cut short", "t-0/"+log, func(name string) error { return os.Truncate(name, 100) },
		"offline", "bytes are left", "log repair")
	f("batches of a later version", "t-0/00000000000000000000.log", func(name string) error {
		b, err := os.ReadFile(name)
		b[16] = 3
		return errors.Join(err, os.WriteFile(name, b, 0o644))
	}, "offline", "magic 3")
}

// cleanFolder is the folder of scrubbed on a real disk.
func cleanFolder(t *testing.T) string {
	t.Helper()
	disk, dir := scrubbed(t), t.TempDir()
	for _, name := range filesBelow(t, disk, "/data") {
		b, err := vfs.ReadFile(disk, name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(dir, strings.TrimPrefix(name, "/data"))
		if err := errors.Join(os.MkdirAll(filepath.Dir(to), 0o755), os.WriteFile(to, b, 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestDeletingALinkLeavesWhatItLeadsTo deletes a partition whose folder is a link.
func TestDeletingALinkLeavesWhatItLeadsTo(t *testing.T) {
	dir, real := cleanFolder(t), filepath.Join(t.TempDir(), "real")
	if err := errors.Join(os.Rename(filepath.Join(dir, "t-0"), real), os.Symlink(real, filepath.Join(dir, "t-0"))); err != nil {
		t.Fatal(err)
	}
	before := listing(t, real)
	s := openStore(t, vfs.OS(), dir, testOptions(flipConfig()))
	defer closeStore(t, s)
	if err := s.Delete(tp0); err != nil {
		t.Fatal(err)
	}
	s.removeDue(true)
	kept(t, "what the link leads to", before, listing(t, real))
	if _, err := s.Create(tp0, protocol.TopicID{2}, flipConfig()); err != nil {
		t.Error(err)
	}
}

// TestTheDataFolderMayBeALink opens one.
func TestTheDataFolderMayBeALink(t *testing.T) {
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(cleanFolder(t), link); err != nil {
		t.Fatal(err)
	}
	s := openStore(t, vfs.OS(), link, testOptions(flipConfig()))
	defer closeStore(t, s)
	if _, err := takePicture(mustLog(t, s, tp0)); err != nil {
		t.Error(err)
	}
}
