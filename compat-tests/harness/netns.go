package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// Net is a network of namespaces, one for each broker, on a bridge that is in a namespace of its own; the test's own
// programs reach it from the machine's. What one host sends to another can be made to get lost, each direction by itself.
type Net struct {
	prefix string // of the namespaces' names
	subnet string // its first three numbers
	size   int
}

// NewNet makes a network of n hosts, or skips the test where that is not allowed. It goes when the test ends.
func NewNet(tb testing.TB, n int) *Net {
	tb.Helper()
	sweepNets()
	pid := os.Getpid()
	w := &Net{prefix: fmt.Sprintf("moldau%d-", pid), subnet: fmt.Sprintf("10.213.%d", 1+pid%250), size: n}
	if out, err := exec.Command("ip", "netns", "add", w.prefix+"sw").CombinedOutput(); err != nil {
		tb.Skipf("network namespaces are not allowed here: %v: %s", err, strings.TrimSpace(string(out)))
	}
	tb.Cleanup(func() { sweep(w.prefix) })
	sw := w.prefix + "sw"
	w.ip(tb, "-n", sw, "link", "add", "br0", "type", "bridge", "stp_state", "0", "forward_delay", "0")
	w.ip(tb, "-n", sw, "link", "set", "br0", "up")
	for i := 1; i <= n; i++ {
		ns, port := w.Namespace(i), fmt.Sprintf("v%d", i)
		w.ip(tb, "netns", "add", ns)
		w.ip(tb, "-n", sw, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", ns)
		w.ip(tb, "-n", sw, "link", "set", port, "master", "br0", "up")
		w.ip(tb, "-n", ns, "link", "set", "eth0", "address", w.mac(i))
		w.ip(tb, "-n", ns, "addr", "add", w.Host(i)+"/24", "dev", "eth0")
		w.ip(tb, "-n", ns, "link", "set", "eth0", "up")
		w.ip(tb, "-n", ns, "link", "set", "lo", "up")
	}
	mine := fmt.Sprintf("mol%d", pid)
	w.ip(tb, "link", "add", mine, "type", "veth", "peer", "name", "v0", "netns", sw)
	w.ip(tb, "-n", sw, "link", "set", "v0", "master", "br0", "up")
	w.ip(tb, "addr", "add", w.subnet+".254/24", "dev", mine)
	w.ip(tb, "link", "set", mine, "up")
	w.Heal(tb)
	return w
}

// Namespace is the name of the n-th host's namespace, from 1.
func (w *Net) Namespace(n int) string { return w.prefix + strconv.Itoa(n) }

// Host is its address.
func (w *Net) Host(n int) string { return fmt.Sprintf("%s.%d", w.subnet, n) }

func (w *Net) mac(n int) string { return fmt.Sprintf("02:6d:6f:6c:00:%02x", n) }

// Drop has what host a sends to host b get lost without a word, as on a broken link: it goes to an Ethernet address that
// nobody has. The other direction works on.
func (w *Net) Drop(tb testing.TB, a, b int) {
	tb.Helper()
	w.neighbour(tb, a, b, "02:6d:6f:6c:ff:ff")
}

// Cut is Drop in both directions.
func (w *Net) Cut(tb testing.TB, a, b int) {
	tb.Helper()
	w.Drop(tb, a, b)
	w.Drop(tb, b, a)
}

// Heal has everything arrive again.
func (w *Net) Heal(tb testing.TB) {
	tb.Helper()
	for a := 1; a <= w.size; a++ {
		for b := 1; b <= w.size; b++ {
			if a != b {
				w.neighbour(tb, a, b, w.mac(b))
			}
		}
	}
}

func (w *Net) neighbour(tb testing.TB, at, of int, mac string) {
	tb.Helper()
	w.ip(tb, "-n", w.Namespace(at), "neigh", "replace", w.Host(of), "lladdr", mac, "nud", "permanent", "dev", "eth0")
}

func (w *Net) ip(tb testing.TB, args ...string) {
	tb.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		tb.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// sweepNets removes what tests that were killed have left.
func sweepNets() {
	names, _ := filepath.Glob("/run/netns/moldau*-sw")
	for _, name := range names {
		prefix := strings.TrimSuffix(filepath.Base(name), "sw")
		pid := strings.TrimSuffix(strings.TrimPrefix(prefix, "moldau"), "-")
		if _, err := os.Stat("/proc/" + pid); err != nil {
			sweep(prefix)
		}
	}
}

// sweep removes the namespaces, and with them the cables.
func sweep(prefix string) {
	names, _ := filepath.Glob("/run/netns/" + prefix + "*")
	for _, name := range names {
		_ = exec.Command("ip", "netns", "del", filepath.Base(name)).Run()
	}
}
