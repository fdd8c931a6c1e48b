package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

func newGroup(w world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "group",
		Short: "List, describe, watch, reset and delete consumer groups",
		Args:  cobra.NoArgs,
		RunE:  helpOrUsage,
	}
	c := addClusterFlags(w, cmd)
	cmd.AddCommand(newGroupList(w, c), newGroupDescribe(w, c), newGroupWatch(w, c), newGroupReset(w, c),
		newGroupDelete(w, c), newGroupDeleteOffsets(w, c), newGroupExport(w, c), newGroupImport(w, c),
		newGroupValidateRegex(w), newGroupWhy(w))
	return cmd
}

// groupAdmin is what the group commands talk to a cluster with: kadm for what it shows whole, the client for the rest.
type groupAdmin struct {
	*kadm.Client
	cl *kgo.Client
}

// groups runs f with the means to administer groups, within the timeout.
func (c *cluster) groups(ctx context.Context, f func(context.Context, groupAdmin) error) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return f(ctx, groupAdmin{kadm.NewClient(cl), cl})
}

// groupScope says which groups a command is about: those named, or all.
type groupScope struct{ all bool }

func (s *groupScope) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.all, "all-groups", false, "all consumer groups of the cluster")
}

// check refuses a command that says neither which groups nor all of them, or both.
func (s *groupScope) check(named []string) error {
	switch {
	case s.all && len(named) > 0:
		return usageErrorf("name groups or give --all-groups, not both")
	case !s.all && len(named) == 0:
		return usageErrorf("name a group, or give --all-groups")
	}
	return nil
}

// ids are the groups meant, sorted, each once. All are those that consume: groups of Connect and of schema registries keep no
// offsets here.
func (s *groupScope) ids(ctx context.Context, adm groupAdmin, named []string) ([]string, error) {
	if !s.all {
		return slices.Compact(slices.Sorted(slices.Values(named))), nil
	}
	rows, err := listGroups(ctx, adm, groupFilter{consumer: true})
	if err != nil {
		return nil, err
	}
	ids := make([]string, len(rows))
	for i, r := range rows {
		ids[i] = r.Group
	}
	return ids, nil
}

// place is a partition of a topic.
type place struct {
	topic     string
	partition int32
}

func (p place) String() string { return fmt.Sprintf("topic %s, partition %d", p.topic, p.partition) }

func comparePlaces(a, b place) int {
	return cmp.Or(cmp.Compare(a.topic, b.topic), cmp.Compare(a.partition, b.partition))
}

// dash stands for nothing in a table, so that columns can be counted.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// offsetCell is an offset or a count, of which -1 means none.
func offsetCell(o int64) string {
	if o < 0 {
		return "-"
	}
	return strconv.FormatInt(o, 10)
}

// printOrPart prints rows and keeps the errors of those that failed; what worked is shown in either case.
func printOrPart(failed []error, print func() error) error {
	return errors.Join(append(failed, print())...)
}

// atMostOne refuses flags that exclude one another.
func atMostOne(cmd *cobra.Command, flags ...string) error {
	given := []string{}
	for _, f := range flags {
		if cmd.Flags().Changed(f) {
			given = append(given, "--"+f)
		}
	}
	if len(given) > 1 {
		return usageErrorf("%s cannot go together", strings.Join(given, " and "))
	}
	return nil
}
