package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
)

// resetFlags are those that reset and import share.
type resetFlags struct {
	execute, dry, csv bool
	out               *output
}

func (f *resetFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.BoolVar(&f.execute, "execute", false, "do it")
	fs.BoolVar(&f.dry, "dry-run", false, "only show the plan, which is what happens without --execute")
	fs.BoolVar(&f.csv, "export", false, "print the plan as CSV, as --from-file and 'moldau group import' take it")
	f.out = addOutputFlag(cmd)
}

func newGroupReset(w world, c *cluster) *cobra.Command {
	var (
		topics []string
		every  bool
		scope  groupScope
		to     targetFlags
		flags  resetFlags
	)
	cmd := &cobra.Command{
		Use:   "reset GROUP... | --all-groups",
		Short: "Move groups' committed offsets; shows the plan unless --execute is given",
		Long: "Move groups' committed offsets. The groups must have no members. Without --execute nothing is changed: the plan is\n" +
			"printed. Without --topic every topic is meant that the group has committed. An offset that lies outside of a\n" +
			"partition is moved to its nearer end, and a line says so.",
		Example: "  moldau group reset database --topic rides --to beginning\n" +
			"  moldau group reset database --since 5m --execute\n" +
			"  moldau group reset database --topic rides:0,1 --shift-by -100 --execute\n" +
			"  moldau group reset database --to-current --export > offsets.csv\n" +
			"  moldau group reset database --from-file offsets.csv --execute",
	}
	scope.add(cmd)
	to.add(cmd)
	fs := cmd.Flags()
	fs.StringArrayVar(&topics, "topic", nil, "a topic to reset, or partitions of it: rides:0,1,2; may be repeated")
	fs.BoolVar(&every, "all-topics", false, "every topic that the group has committed, as without --topic")
	flags.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, groups []string) error {
		err := errors.Join(scope.check(groups), atMostOne(cmd, "execute", "dry-run"),
			atMostOne(cmd, "topic", "all-topics", "from-file"))
		if err != nil {
			return err
		}
		chosen, err := parsePlaces(topics)
		if err != nil {
			return err
		}
		target, err := to.target(w, cmd, time.Now())
		if err != nil {
			return err
		}
		return c.groups(cmd.Context(), func(ctx context.Context, adm groupAdmin) error {
			ids, err := scope.ids(ctx, adm, groups)
			if err != nil {
				return err
			}
			return flags.run(ctx, w, adm, resetOrder{groups: ids, topics: chosen, target: target, all: scope.all})
		})
	}
	return cmd
}

// notesShown is how many offsets that were moved into their partition are named.
const notesShown = 10

// run plans, carries the plan out where it is to be, and prints it. A group that cannot be reset does not keep the others
// from it.
func (f *resetFlags) run(ctx context.Context, w world, adm groupAdmin, order resetOrder) error {
	plan, notes, failed, err := order.plan(ctx, adm)
	if err != nil {
		return err
	}
	if f.execute {
		var unset []error
		plan, unset = commitPlan(ctx, adm, plan)
		failed = append(failed, unset...)
	}
	for _, n := range notes[:min(notesShown, len(notes))] {
		fmt.Fprintln(w.stderr, n)
	}
	if more := len(notes) - notesShown; more > 0 {
		fmt.Fprintf(w.stderr, "… and %d more offsets like these\n", more)
	}
	if !f.execute && len(plan) > 0 {
		fmt.Fprintln(w.stderr, "nothing is changed yet; --execute does it")
	}
	if len(plan) == 0 && len(failed) > 0 {
		return errors.Join(failed...)
	}
	return printOrPart(failed, func() error { return f.print(w, order, plan) })
}

func (f *resetFlags) print(w world, order resetOrder, plan []resetRow) error {
	switch {
	case f.csv:
		return writeOffsets(w.stdout, plan, len(order.groups) != 1 || order.all)
	case *f.out == outputJSON:
		return printJSON(w.stdout, plan)
	}
	t := newTable(w.stdout, "GROUP", "TOPIC", "PARTITION", "COMMITTED", "NEW")
	for _, p := range plan {
		t.row(p.Group, p.Topic, p.Partition, offsetCell(p.Old), p.New)
	}
	return t.flush()
}
