package gossip

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"moldau.io/moldau/storage/vfs"
)

// The memory is a text file: a first line with its version, then one line for each member's cluster address. It only saves
// an operator from naming others again, so it is not synced and may be lost.
const (
	memoryFirst    = "moldau peers 1"
	memoryBytesMax = 64 << 10
	rememberedMax  = 64
)

func (g *Gossip) recall() []string {
	if g.cfg.FS == nil || g.cfg.Path == "" {
		return nil
	}
	b, err := vfs.ReadFile(g.cfg.FS, g.cfg.Path, memoryBytesMax)
	if err != nil {
		return nil // there is none, most likely
	}
	return parseMemory(b)
}

func parseMemory(b []byte) []string {
	lines := strings.Split(string(b), "\n")
	if lines[0] != memoryFirst {
		return nil
	}
	var out []string
	for _, l := range lines[1:] {
		if l != "" && clean([]byte(l)) == l && len(out) < rememberedMax && !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	return out
}

// remember writes the addresses of those that are there, and of those that were and have not left.
func (g *Gossip) remember() {
	if g.cfg.FS == nil || g.cfg.Path == "" {
		return
	}
	g.mu.Lock()
	var addrs []string
	for _, m := range g.members {
		addrs = append(addrs, m.Addr)
	}
	for addr := range g.lost {
		addrs = append(addrs, addr)
	}
	g.mu.Unlock()
	slices.Sort(addrs)
	addrs = slices.Compact(addrs)
	var b bytes.Buffer
	fmt.Fprintln(&b, memoryFirst)
	for _, a := range addrs[:min(len(addrs), rememberedMax)] {
		if a != g.cfg.Link.Addr() {
			fmt.Fprintln(&b, a)
		}
	}
	if bytes.Equal(b.Bytes(), g.written) {
		return
	}
	if err := vfs.WriteFileUnsynced(g.cfg.FS, g.cfg.Path, b.Bytes()); err != nil {
		g.cfg.Logger.Warn("the addresses of other brokers could not be written down", "file", g.cfg.Path, "err", err)
		return
	}
	g.written = b.Bytes()
}
