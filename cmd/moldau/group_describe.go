package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

// describeParts says what of a group a table shows. JSON always has everything.
type describeParts struct{ members, offsets, state, verbose bool }

func newGroupDescribe(w world, c *cluster) *cobra.Command {
	var parts describeParts
	var scope groupScope
	cmd := &cobra.Command{
		Use:   "describe GROUP... | --all-groups",
		Short: "Show state, members, and the lag of every partition",
		Long: "Show state, members, and the lag of every partition that a member has or the group has committed. The lag is\n" +
			"how many records lie between what is committed and the end; where nothing is committed, how many there are.\n" +
			"With -o json everything is shown, whichever parts are asked for. How old the oldest unread record is (AGE), and\n" +
			"why a group rebalanced last, is shown where the broker that coordinates it answers at its admin address.",
		Example: "  moldau group describe database\n  moldau group describe database --members --verbose\n" +
			"  moldau group describe --all-groups --state",
	}
	f := cmd.Flags()
	scope.add(cmd)
	f.BoolVar(&parts.members, "members", false, "only the members")
	f.BoolVar(&parts.offsets, "offsets", false, "only the partitions")
	f.BoolVar(&parts.state, "state", false, "only the state, a line a group")
	f.BoolVar(&parts.verbose, "verbose", false, "also epochs, subscriptions and assignments")
	admin := addAdminFlag(w, cmd)
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, groups []string) error {
		admin.named(cmd)
		if err := errors.Join(scope.check(groups), atMostOne(cmd, "members", "offsets", "state")); err != nil {
			return err
		}
		return c.groups(cmd.Context(), func(ctx context.Context, adm groupAdmin) error {
			ids, err := scope.ids(ctx, adm, groups)
			if err != nil {
				return err
			}
			views, failed, err := viewGroups(ctx, adm, ids)
			if err != nil {
				return err
			}
			if err := admin.explain(ctx, adm, views); err != nil {
				return err
			}
			return printOrPart(failed, func() error {
				if *out == outputJSON {
					return printJSON(w.stdout, views)
				}
				return parts.print(w, views)
			})
		})
	}
	return cmd
}

func (d describeParts) print(w world, views []groupView) error {
	if d.state {
		return d.printStates(w, views)
	}
	for i, v := range views {
		if i > 0 {
			fmt.Fprintln(w.stdout)
		}
		fmt.Fprintln(w.stdout, v.headline())
		if v.LastRebalance != nil {
			fmt.Fprintln(w.stdout, rebalanceLine(v.LastRebalance, time.Now()))
		}
		if !d.offsets && len(v.Members) > 0 {
			if err := d.printMembers(w, v); err != nil {
				return err
			}
		}
		if !d.members {
			if err := d.printPartitions(w, v); err != nil {
				return err
			}
		}
	}
	return nil
}

func (v *groupView) headline() string {
	line := fmt.Sprintf("group %s  state %s  type %s  assignor %s  coordinator %d  members %d  lag %d", v.Group, v.State,
		v.Type, dash(v.Protocol), v.Coordinator, len(v.Members), v.Lag)
	if v.LagSeconds != nil {
		line += "  oldest unread " + ageCell(v.LagSeconds)
	}
	if v.Epoch != nil {
		line += fmt.Sprintf("  epoch %d  assignment epoch %d", *v.Epoch, *v.AssignmentEpoch)
	}
	return line
}

func (d describeParts) printStates(w world, views []groupView) error {
	head := []string{"GROUP", "STATE", "TYPE", "ASSIGNOR", "COORDINATOR", "MEMBERS", "LAG"}
	if d.verbose {
		head = append(head, "EPOCH", "ASSIGNMENT-EPOCH")
	}
	t := newTable(w.stdout, head...)
	for _, v := range views {
		cells := []any{v.Group, v.State, v.Type, dash(v.Protocol), v.Coordinator, len(v.Members), v.Lag}
		if d.verbose {
			cells = append(cells, epochCell(v.Epoch), epochCell(v.AssignmentEpoch))
		}
		t.row(cells...)
	}
	return t.flush()
}

func (d describeParts) printMembers(w world, v groupView) error {
	head := []string{"MEMBER", "INSTANCE", "CLIENT", "HOST", "PARTITIONS"}
	if d.verbose {
		head = append(head, "TYPE", "RACK", "EPOCH", "SUBSCRIBED", "ASSIGNMENT", "TARGET")
	}
	t := newTable(w.stdout, head...)
	for _, m := range v.Members {
		cells := []any{m.Member, dash(m.Instance), dash(m.Client), m.Host, m.Assigned}
		if d.verbose {
			cells = append(cells, m.Type, dash(m.Rack), epochCell(m.Epoch), m.subscribed(), partsCell(m.Assignment),
				partsCell(m.Target))
		}
		t.row(cells...)
	}
	return t.flush()
}

// subscribed is what a member wants, as a cell shows it: topics, and an expression between slashes.
func (p *groupPeer) subscribed() string {
	topics := p.Topics
	if p.Regex != "" {
		topics = append(sorted(topics), "/"+p.Regex+"/")
	}
	return dash(joined(topics))
}

func (d describeParts) printPartitions(w world, v groupView) error {
	head := []string{"TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "AGE", "CLIENT"}
	if d.verbose {
		head = append(head, "HOST", "MEMBER", "LEADER-EPOCH", "METADATA")
	}
	t := newTable(w.stdout, head...)
	for _, p := range v.Partitions {
		cells := []any{p.Topic, p.Partition, offsetCell(p.Committed), offsetCell(p.End), offsetCell(p.Lag),
			ageCell(p.LagSeconds), dash(p.Client)}
		if d.verbose {
			cells = append(cells, dash(p.Host), dash(p.Member), offsetCell(int64(p.Epoch)), dash(p.Metadata))
		}
		t.row(cells...)
	}
	return t.flush()
}

// epochCell is an epoch, of which groups and members of the classic protocol have none.
func epochCell(e *int32) string {
	if e == nil {
		return "-"
	}
	return strconv.Itoa(int(*e))
}
