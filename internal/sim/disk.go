package sim

import (
	"math/rand/v2"

	"moldau.io/moldau/storage/vfs"
)

// Disk is a machine's disk, which outlives the process.
type Disk struct {
	mem *vfs.Mem
	rng *rand.Rand
}

// NewDisk is an empty disk. Its purpose names the generator by which crashes choose.
func NewDisk(s *Sim, purpose string) *Disk {
	return &Disk{mem: vfs.NewMem(), rng: s.Rand("disk " + purpose)}
}

// FS is the disk as the present process has it.
func (d *Disk) FS() *vfs.Mem { return d.mem }

// Kill is the end of the process: everything written is there for the next one.
func (d *Disk) Kill() { d.mem = d.mem.KillClone() }

// PowerCut is the end of the machine: of what was not synced, so many sectors in a hundred stay.
func (d *Disk) PowerCut(keepPercent int) { d.mem = d.mem.CrashClone(d.rng, keepPercent) }

// Lose is a new, empty disk.
func (d *Disk) Lose() { d.mem = vfs.NewMem() }
