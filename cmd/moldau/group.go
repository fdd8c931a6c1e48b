package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
)

func newGroup(w world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "group",
		Short: "List, describe, reset and delete consumer groups",
		Args:  cobra.NoArgs,
		RunE:  helpOrUsage,
	}
	c := addClusterFlags(w, cmd)
	cmd.AddCommand(newGroupList(w, c), newGroupDescribe(w, c), newGroupReset(w, c), newGroupDelete(w, c))
	return cmd
}

type groupRow struct {
	Group       string `json:"group"`
	State       string `json:"state"`
	Type        string `json:"protocol_type"`
	Coordinator int32  `json:"coordinator"`
}

func newGroupList(w world, c *cluster) *cobra.Command {
	var states []string
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the groups",
		Example: "  moldau group list\n  moldau group list --state stable,empty",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringSliceVar(&states, "state", nil, "only groups in these states")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.admin(cmd.Context(), func(ctx context.Context, adm *kadm.Client) error {
			listed, err := adm.ListGroups(ctx, states...)
			if err != nil {
				return err
			}
			rows := []groupRow{}
			for _, g := range listed.Sorted() {
				rows = append(rows, groupRow{g.Group, g.State, g.ProtocolType, g.Coordinator})
			}
			if *out == outputJSON {
				return printJSON(w.stdout, rows)
			}
			t := newTable(w.stdout, "GROUP", "STATE", "TYPE", "COORDINATOR")
			for _, r := range rows {
				t.row(r.Group, r.State, r.Type, r.Coordinator)
			}
			return t.flush()
		})
	}
	return cmd
}

type groupView struct {
	groupRow
	Protocol   string      `json:"protocol"`
	Lag        int64       `json:"lag"`
	Members    []groupPeer `json:"members"`
	Partitions []groupLag  `json:"partitions"`
}

type groupPeer struct {
	Member   string `json:"member"`
	Instance string `json:"instance,omitempty"`
	Client   string `json:"client"`
	Host     string `json:"host"`
	Assigned int    `json:"partitions"`
}

type groupLag struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"` // -1: nothing committed
	End       int64  `json:"end"`
	Lag       int64  `json:"lag"`
	Member    string `json:"member,omitempty"`
	Client    string `json:"client,omitempty"`
}

func newGroupDescribe(w world, c *cluster) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "describe GROUP...",
		Short:   "Show state, members, and the lag of every partition",
		Example: "  moldau group describe database",
		Args:    cobra.MinimumNArgs(1),
	}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, groups []string) error {
		return c.admin(cmd.Context(), func(ctx context.Context, adm *kadm.Client) error {
			var lags kadm.DescribedGroupLags
			err := patiently(ctx, func() (err error) {
				if lags, err = adm.Lag(ctx, groups...); err == nil {
					err = passing(lags.Error())
				}
				return err
			})
			if err != nil {
				return err
			}
			var views []groupView
			var failed []error
			for _, l := range lags.Sorted() {
				if err := groupMissing(l); err != nil {
					failed = append(failed, err)
					continue
				}
				views = append(views, viewOf(l))
			}
			if *out == outputJSON {
				failed = append(failed, printJSON(w.stdout, views))
				return errors.Join(failed...)
			}
			for i, v := range views {
				if i > 0 {
					fmt.Fprintln(w.stdout)
				}
				failed = append(failed, v.print(w))
			}
			return errors.Join(failed...)
		})
	}
	return cmd
}

// groupMissing is an error when l is not a group that is there.
func groupMissing(l kadm.DescribedGroupLag) error {
	if err := l.Error(); err != nil {
		return brokerError("group "+l.Group, err, "")
	}
	if l.State == "Dead" {
		return fmt.Errorf("group %s does not exist; 'moldau group list' shows those that do", l.Group)
	}
	return nil
}

func viewOf(l kadm.DescribedGroupLag) groupView {
	v := groupView{
		groupRow:   groupRow{l.Group, l.State, l.ProtocolType, l.Coordinator.NodeID},
		Protocol:   l.Protocol,
		Lag:        l.Lag.Total(),
		Members:    []groupPeer{},
		Partitions: []groupLag{},
	}
	assigned := map[string]int{}
	for _, p := range l.Lag.Sorted() {
		row := groupLag{Topic: p.Topic, Partition: p.Partition, Committed: p.Commit.At, End: p.End.Offset, Lag: p.Lag}
		if p.Member != nil {
			row.Member, row.Client = p.Member.MemberID, p.Member.ClientID
			assigned[p.Member.MemberID]++
		}
		v.Partitions = append(v.Partitions, row)
	}
	for _, m := range l.Members {
		peer := groupPeer{Member: m.MemberID, Client: m.ClientID, Host: strings.TrimPrefix(m.ClientHost, "/"), Assigned: assigned[m.MemberID]}
		if m.InstanceID != nil {
			peer.Instance = *m.InstanceID
		}
		v.Members = append(v.Members, peer)
	}
	return v
}

func (v *groupView) print(w world) error {
	fmt.Fprintf(w.stdout, "group %s  state %s  type %s  protocol %s  coordinator %d  members %d  lag %d\n",
		v.Group, v.State, dash(v.Type), dash(v.Protocol), v.Coordinator, len(v.Members), v.Lag)
	if len(v.Members) > 0 {
		t := newTable(w.stdout, "MEMBER", "INSTANCE", "CLIENT", "HOST", "PARTITIONS")
		for _, m := range v.Members {
			t.row(m.Member, dash(m.Instance), dash(m.Client), m.Host, m.Assigned)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	t := newTable(w.stdout, "TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "CLIENT")
	for _, p := range v.Partitions {
		t.row(p.Topic, p.Partition, offsetCell(p.Committed), p.End, p.Lag, dash(p.Client))
	}
	return t.flush()
}

// dash stands for nothing in a table, so that columns can be counted.
func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// offsetCell is a committed offset, of which -1 means none.
func offsetCell(o int64) string {
	if o < 0 {
		return "-"
	}
	return strconv.FormatInt(o, 10)
}

func newGroupDelete(w world, c *cluster) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "delete GROUP...",
		Short:   "Delete groups without members, and what they have committed",
		Example: "  moldau group delete database",
		Args:    cobra.MinimumNArgs(1),
	}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, groups []string) error {
		return c.admin(cmd.Context(), func(ctx context.Context, adm *kadm.Client) error {
			var answers kadm.DeleteGroupResponses
			err := patiently(ctx, func() (err error) {
				if answers, err = adm.DeleteGroups(ctx, groups...); err == nil {
					err = passing(answers.Error())
				}
				return err
			})
			if err != nil {
				return err
			}
			gone := []string{}
			var failed []error
			for _, a := range answers.Sorted() {
				if a.Err != nil {
					failed = append(failed, brokerError("delete group "+a.Group, a.Err, ""))
					continue
				}
				gone = append(gone, a.Group)
			}
			if *out == outputJSON {
				failed = append(failed, printJSON(w.stdout, map[string][]string{"deleted": gone}))
			} else {
				for _, g := range gone {
					fmt.Fprintf(w.stdout, "deleted %s\n", g)
				}
			}
			return errors.Join(failed...)
		})
	}
	return cmd
}

func newGroupReset(w world, c *cluster) *cobra.Command {
	var (
		topics    []string
		to, since string
		execute   bool
		dry       bool
	)
	cmd := &cobra.Command{
		Use:   "reset GROUP",
		Short: "Move a group's committed offsets; shows the plan unless --execute is given",
		Long: "Move a group's committed offsets. The group must have no members. Without --execute nothing is changed:\n" +
			"the plan is printed. Without --topic every topic is meant that the group has committed.",
		Example: "  moldau group reset database --topic rides --to beginning\n" +
			"  moldau group reset database --since 5m --execute",
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.StringSliceVar(&topics, "topic", nil, "topics to reset")
	f.StringVar(&to, "to", "", "beginning, end, an offset, or -N for N records before the end")
	f.StringVar(&since, "since", "", "the first record not older than this: 5m, or 2026-11-21T10:00:00Z")
	f.BoolVar(&execute, "execute", false, "do it")
	f.BoolVar(&dry, "dry-run", false, "only show the plan, which is what happens without --execute")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var where startPoint
		var err error
		switch {
		case execute && dry:
			return usageErrorf("--execute and --dry-run cannot go together")
		case (to == "") == (since == ""):
			return usageErrorf("give either --to or --since")
		case to != "":
			where, err = parseFrom("to", to)
		default:
			where, err = parseSince(since, time.Now())
		}
		if err != nil {
			return err
		}
		return c.admin(cmd.Context(), func(ctx context.Context, adm *kadm.Client) error {
			plan, err := planReset(ctx, adm, args[0], topics, where)
			if err != nil {
				return err
			}
			if execute {
				if err := commitPlan(ctx, adm, args[0], plan); err != nil {
					return err
				}
			} else {
				fmt.Fprintln(w.stderr, "nothing is changed yet; --execute does it")
			}
			if *out == outputJSON {
				return printJSON(w.stdout, plan)
			}
			t := newTable(w.stdout, "TOPIC", "PARTITION", "COMMITTED", "NEW")
			for _, p := range plan {
				t.row(p.Topic, p.Partition, offsetCell(p.Old), p.New)
			}
			return t.flush()
		})
	}
	return cmd
}

type resetRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Old       int64  `json:"committed"` // -1: nothing committed
	New       int64  `json:"new"`
}

func planReset(ctx context.Context, adm *kadm.Client, group string, topics []string, where startPoint) ([]resetRow, error) {
	var described kadm.DescribedGroups
	err := patiently(ctx, func() (err error) {
		if described, err = adm.DescribeGroups(ctx, group); err == nil {
			err = passing(described.Error())
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if d := described[group]; len(d.Members) > 0 {
		return nil, fmt.Errorf("group %s is %s with %d members, who would go on from where they are; stop them first",
			group, d.State, len(d.Members))
	}
	committed, err := adm.FetchOffsets(ctx, group)
	if err != nil {
		return nil, brokerError("group "+group, err, "")
	}
	if len(topics) == 0 {
		for topic := range committed {
			topics = append(topics, topic)
		}
	}
	if len(topics) == 0 {
		return nil, fmt.Errorf("group %s has committed nothing; name the topics with --topic", group)
	}
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	var times kadm.ListedOffsets
	if !where.start && !where.end && where.exact < 0 && where.relative == 0 {
		if times, err = adm.ListOffsetsAfterMilli(ctx, where.millis, topics...); err != nil {
			return nil, err
		}
	}
	var plan []resetRow
	var failed []error
	ends.Each(func(end kadm.ListedOffset) {
		start, _ := starts.Lookup(end.Topic, end.Partition)
		if err := errors.Join(end.Err, start.Err); err != nil {
			failed = append(failed, brokerError(fmt.Sprintf("topic %s, partition %d", end.Topic, end.Partition), err, ""))
			return
		}
		row := resetRow{Topic: end.Topic, Partition: end.Partition, Old: -1, New: where.in(start.Offset, end.Offset)}
		if at, ok := times.Lookup(end.Topic, end.Partition); ok {
			row.New = at.Offset
		}
		if c, ok := committed.Lookup(end.Topic, end.Partition); ok {
			row.Old = c.At
		}
		plan = append(plan, row)
	})
	slices.SortFunc(plan, func(a, b resetRow) int {
		if a.Topic != b.Topic {
			return strings.Compare(a.Topic, b.Topic)
		}
		return int(a.Partition - b.Partition)
	})
	return plan, errors.Join(failed...)
}

// in is the point's offset in a partition that holds start to end; what lies outside is moved to the nearer bound.
func (p startPoint) in(start, end int64) int64 {
	switch {
	case p.start:
		return start
	case p.end:
		return end
	case p.relative > 0:
		return max(start, end-p.relative)
	default:
		return min(max(start, p.exact), end)
	}
}

func commitPlan(ctx context.Context, adm *kadm.Client, group string, plan []resetRow) error {
	var offsets kadm.Offsets
	for _, p := range plan {
		offsets.Add(kadm.Offset{Topic: p.Topic, Partition: p.Partition, At: p.New, LeaderEpoch: -1})
	}
	if err := adm.CommitAllOffsets(ctx, group, offsets); err != nil {
		return brokerError("group "+group, err, "")
	}
	return nil
}
