package harness

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// Root is the folder of the module.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Cache is where setup/setup.sh installs to.
func Cache() string {
	base := os.Getenv("XDG_CACHE_HOME")
	if base == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			home = "/root"
		}
		base = filepath.Join(home, ".cache")
	}
	return filepath.Join(base, "moldau", "compat")
}

// Python is the interpreter that has the Python clients.
func Python() string { return filepath.Join(Cache(), "venv", "bin", "python") }

// Node is a Node that is new enough for the Node clients. It is named where its package puts it: npm before version 10 makes
// no link to it.
func Node() string {
	arch := map[string]string{"amd64": "x64"}[runtime.GOARCH]
	if arch == "" {
		arch = runtime.GOARCH
	}
	return filepath.Join(Cache(), "node", "node_modules", "node-linux-"+arch, "bin", "node")
}

// ClassPath is the class path of one folder of jars: "broker", "tools", "java-4.4" or "java-3.9".
func ClassPath(jars string) string { return filepath.Join(Cache(), "jars", jars, "*") }

// GoBuild builds the main package at dir, relative to the module, and returns the program.
func GoBuild(tb testing.TB, dir string) string {
	tb.Helper()
	bin := filepath.Join(tb.TempDir(), filepath.Base(dir))
	cmd := exec.Command("go", "build", "-o", bin, "./"+dir)
	cmd.Dir = Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		tb.Fatalf("go build %s: %v\n%s", dir, err, out)
	}
	return bin
}

// JavaBuild compiles the sources in dir, relative to the module, against a folder of jars and returns the class path to
// run them with.
func JavaBuild(tb testing.TB, dir, jars string) string {
	tb.Helper()
	sources, err := filepath.Glob(filepath.Join(Root(), dir, "*.java"))
	if err != nil || len(sources) == 0 {
		tb.Fatalf("no Java sources in %s: %v", dir, err)
	}
	classes := tb.TempDir()
	args := append([]string{"-nowarn", "-d", classes, "-cp", ClassPath(jars)}, sources...)
	if out, err := exec.Command("javac", args...).CombinedOutput(); err != nil {
		tb.Fatalf("javac %s: %v\n%s", strings.Join(sources, " "), err, out)
	}
	return classes + string(filepath.ListSeparator) + ClassPath(jars)
}
