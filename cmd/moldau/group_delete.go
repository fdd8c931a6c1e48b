package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

func newGroupDelete(w world, c *cluster) *cobra.Command {
	var scope groupScope
	cmd := &cobra.Command{
		Use:     "delete GROUP... | --all-groups",
		Short:   "Delete groups without members, and what they have committed",
		Example: "  moldau group delete database\n  moldau group delete --all-groups",
	}
	scope.add(cmd)
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, groups []string) error {
		if err := scope.check(groups); err != nil {
			return err
		}
		return c.groups(cmd.Context(), func(ctx context.Context, adm groupAdmin) error {
			ids, err := scope.ids(ctx, adm, groups)
			if err != nil {
				return err
			}
			gone, failed, err := deleteGroups(ctx, adm, ids)
			if err != nil {
				return err
			}
			return printOrPart(failed, func() error {
				if *out == outputJSON {
					return printJSON(w.stdout, map[string][]string{"deleted": gone})
				}
				for _, g := range gone {
					fmt.Fprintf(w.stdout, "deleted %s\n", g)
				}
				return nil
			})
		})
	}
	return cmd
}

func deleteGroups(ctx context.Context, adm groupAdmin, ids []string) (gone []string, failed []error, err error) {
	gone = []string{}
	if len(ids) == 0 {
		return gone, nil, nil
	}
	var answers kadm.DeleteGroupResponses
	err = patiently(ctx, func() (err error) {
		if answers, err = adm.DeleteGroups(ctx, ids...); err == nil {
			err = passing(answers.Error())
		}
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	for _, a := range answers.Sorted() {
		switch {
		case a.Err == nil:
			gone = append(gone, a.Group)
		case errors.Is(a.Err, kerr.NonEmptyGroup):
			views, _ := describeGroups(ctx, adm, []string{a.Group})
			failed = append(failed, brokerError("delete group "+a.Group, a.Err, holders(views[a.Group])))
		default:
			failed = append(failed, brokerError("delete group "+a.Group, a.Err, ""))
		}
	}
	slices.Sort(gone)
	return gone, failed, nil
}

// holdersShown is how many members an error names.
const holdersShown = 3

// holders says who keeps a group from being empty; "" where that is not known.
func holders(v *groupView) string {
	if v == nil || len(v.Members) == 0 {
		return ""
	}
	text := fmt.Sprintf("%d members hold it:", len(v.Members))
	if len(v.Members) == 1 {
		text = "1 member holds it:"
	}
	for i, m := range v.Members {
		if i == holdersShown {
			return text + fmt.Sprintf(" and %d more", len(v.Members)-i)
		}
		if i > 0 {
			text += ","
		}
		text += fmt.Sprintf(" %s (client %s, host %s)", m.Member, dash(m.Client), m.Host)
	}
	return text
}
