package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestFoldersThatCannotBeUsedAreExitCode3 starts a broker on folders that it must not touch. It says which file is in the
// way and what to do, and leaves everything as it was.
func TestFoldersThatCannotBeUsedAreExitCode3(t *testing.T) {
	used := t.TempDir()
	start(t, used, nil).stop()
	fresh := func() string {
		dir := filepath.Join(t.TempDir(), "data")
		if err := os.CopyFS(dir, os.DirFS(used)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	f := func(what, dir string, args []string, says ...string) {
		t.Helper()
		before := contents(t, dir)
		args = append([]string{"serve", "--data", dir, "--listen", "127.0.0.1:0", "--admin-listen="}, args...)
		code, _, stderr := command(t, nil, args...)
		if code != exitData {
			t.Errorf("%s: exit code %d, %s", what, code, stderr)
		}
		for _, say := range append(says, "--data") {
			if !strings.Contains(stderr, say) {
				t.Errorf("%s: %q does not say %q", what, stderr, say)
			}
		}
		if after := contents(t, dir); after != before {
			t.Errorf("%s: the folder was\n%s\nand is\n%s", what, before, after)
		}
	}
	meta := func(dir, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, "meta.properties"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dir := fresh()
	f("another node", dir, []string{"--node-id", "77"}, "77", dir)
	dir = fresh()
	meta(dir, "\x00\x01garbage")
	f("garbage", dir, nil, "meta.properties")
	dir = fresh()
	meta(dir, "version=2\ncluster.id=MkU3OEVBNTcwNTJENDM2Qg\nnode.id=1\n")
	f("a later version", dir, nil, "meta.properties", "version", "2")

	one, two := fresh(), filepath.Join(t.TempDir(), "two")
	for _, d := range []string{one, two} {
		if err := os.MkdirAll(filepath.Join(d, "t-0"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	both := one + "," + two
	before := contents(t, one) + contents(t, two)
	code, _, stderr := command(t, nil, "serve", "--data", both, "--listen", "127.0.0.1:0", "--admin-listen=")
	if code != exitData || !strings.Contains(stderr, "t-0") || !strings.Contains(stderr, "Move one of the two") {
		t.Errorf("one partition in two folders: exit code %d, %s", code, stderr)
	}
	for _, line := range strings.Split(before, "\n") {
		if !strings.Contains(contents(t, one)+contents(t, two), line) {
			t.Errorf("one partition in two folders: %q is gone", line)
		}
	}
}

// TestAReadOnlyMountIsExitCode3 starts a broker on a file system that is mounted read-only, where this test may mount one.
func TestAReadOnlyMountIsExitCode3(t *testing.T) {
	dir := t.TempDir()
	start(t, dir, nil).stop()
	if err := syscall.Mount(dir, dir, "", syscall.MS_BIND, ""); err != nil {
		t.Logf("not tried, this user cannot mount: %v", err)
		return
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	if err := syscall.Mount("", dir, "", syscall.MS_BIND|syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Logf("not tried: %v", err)
		return
	}
	before := contents(t, dir)
	code, _, stderr := command(t, nil, "serve", "--data", dir, "--listen", "127.0.0.1:0", "--admin-listen=")
	if code != exitData || !strings.Contains(stderr, dir) || !strings.Contains(stderr, "mount it for writing") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
	if after := contents(t, dir); after != before {
		t.Errorf("the folder was\n%s\nand is\n%s", before, after)
	}
}

// TestAFolderOfAnotherUserIsExitCode3 runs a broker as nobody on a folder of root's.
func TestAFolderOfAnotherUserIsExitCode3(t *testing.T) {
	if os.Getuid() != 0 {
		t.Log("not tried, only root can run a process as another user")
		return
	}
	dir, err := os.MkdirTemp("/tmp", "moldau-root-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	binary := filepath.Join(dir, "moldau")
	b, err := os.ReadFile(program)
	data := filepath.Join(dir, "data")
	if err := errors.Join(err, os.WriteFile(binary, b, 0o755), os.Chmod(dir, 0o755), os.Mkdir(data, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "serve", "--data", data, "--listen", "127.0.0.1:0", "--admin-listen=")
	cmd.Env, cmd.Dir = cleanEnv(), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != exitData || !strings.Contains(string(out), data) ||
		!strings.Contains(string(out), "writable for this user") {
		t.Errorf("exit code %d, %s", code, out)
	}
}

// contents is every name below dir with its size, and what the small files hold. What says who uses the folder is left out.
func contents(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(name string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		b, err := os.ReadFile(name)
		out.WriteString(name + " " + string(b) + "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}
