package assignor

import "errors"

// Errors of targets that no assignor made.
var (
	errLeft      = errors.New("partitions were left unassigned: the targets of the members overlap")
	errPartition = errors.New("a target has a partition that its topic does not have")
)

// Uniform gives all members that have the same subscription the same number of partitions, or one more, and comes as near
// to that as it can when subscriptions differ. Members keep what they had as far as that allows.
func Uniform(g Group) (Assignment, error) {
	if len(g.Members) == 0 {
		return Assignment{}, nil
	}
	if g.Homogeneous {
		return newHomogeneous(&g).assign()
	}
	return newHeterogeneous(&g).assign()
}
