package group

// Counts is how much a machine holds, for metrics.
type Counts struct {
	Groups  map[Counted]int
	Offsets int // committed
}

// Counted is what groups are counted by.
type Counted struct {
	State    State
	Consumer bool // of the consumer protocol, not the classic one
}

// Count looks at every group.
func (m *Machine) Count() Counts {
	n := Counts{Groups: map[Counted]int{}}
	for _, g := range m.groups {
		n.Groups[Counted{State: g.state}]++
	}
	for _, g := range m.consumers {
		n.Groups[Counted{State: g.state(), Consumer: true}]++
	}
	for _, of := range m.offsets {
		for _, partitions := range of {
			n.Offsets += len(partitions)
		}
	}
	return n
}
