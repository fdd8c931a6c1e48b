package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// groupRow is a group as list prints it.
type groupRow struct {
	Group       string `json:"group"`
	State       string `json:"state"`
	Type        string `json:"type"`          // of the protocol between members and broker: classic or consumer
	Kind        string `json:"protocol_type"` // what the members are: consumer, connect, ...; "" where none ever was
	Coordinator int32  `json:"coordinator"`
}

// The states and types that a broker knows, as it spells them.
var (
	groupStates = []string{"PreparingRebalance", "CompletingRebalance", "Stable", "Dead", "Empty", "Assigning",
		"Reconciling", "NotReady"}
	groupTypes = []string{"classic", "consumer", "share", "streams"}
)

// groupFilter says which groups to list; what is empty does not matter.
type groupFilter struct {
	states, types []string
	kind          string // the protocol type
	consumer      bool   // only groups of consumers, of either type
}

func (f *groupFilter) matches(r groupRow) bool {
	if f.consumer && r.Type != "consumer" && (r.Type != "classic" || r.Kind != "consumer" && r.Kind != "") {
		return false
	}
	return (f.kind == "" || f.kind == r.Kind) &&
		(len(f.types) == 0 || slices.Contains(f.types, r.Type)) && (len(f.states) == 0 || slices.Contains(f.states, r.State))
}

func newGroupList(w world, c *cluster) *cobra.Command {
	var f groupFilter
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the groups",
		Long: "List the groups with their state, type and protocol. The type says how members and broker talk: classic, or\n" +
			"consumer (KIP-848). The protocol says what the members are: consumer for consumers, connect for Kafka Connect.",
		Example: "  moldau group list\n  moldau group list --state stable,empty\n  moldau group list --type consumer",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().StringSliceVar(&f.states, "state", nil, "only groups in these states")
	cmd.Flags().StringSliceVar(&f.types, "type", nil, "only groups of these types: classic, consumer")
	cmd.Flags().StringVar(&f.kind, "protocol", "", "only groups with this protocol: consumer, connect, ...")
	cmd.Flags().BoolVar(&f.consumer, "consumer", false, "only groups of consumers, of either type")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.consumer && (len(f.types) > 0 || f.kind != "") {
			return usageErrorf("--consumer cannot go together with --type and --protocol")
		}
		if err := errors.Join(spell("state", f.states, groupStates), spell("type", f.types, groupTypes)); err != nil {
			return err
		}
		return c.groups(cmd.Context(), func(ctx context.Context, adm groupAdmin) error {
			rows, err := listGroups(ctx, adm, f)
			if err != nil {
				return err
			}
			if *out == outputJSON {
				return printJSON(w.stdout, rows)
			}
			t := newTable(w.stdout, "GROUP", "STATE", "TYPE", "PROTOCOL", "COORDINATOR")
			for _, r := range rows {
				t.row(r.Group, r.State, dash(r.Type), dash(r.Kind), r.Coordinator)
			}
			return t.flush()
		})
	}
	return cmd
}

// spell replaces what was typed by the broker's spelling, or names those there are.
func spell(flag string, typed, known []string) error {
	for i, s := range typed {
		at := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(strings.TrimSpace(s), k) })
		if at < 0 {
			return usageErrorf("--%s %q: it must be among %s", flag, s, strings.Join(known, ", "))
		}
		typed[i] = known[at]
	}
	return nil
}

// listGroups asks every broker for the groups that it coordinates.
func listGroups(ctx context.Context, adm groupAdmin, f groupFilter) ([]groupRow, error) {
	var rows []groupRow
	err := patiently(ctx, func() error {
		rows = []groupRow{}
		req := kmsg.NewPtrListGroupsRequest()
		req.StatesFilter, req.TypesFilter = f.states, f.types
		for _, shard := range adm.cl.RequestSharded(ctx, req) {
			if shard.Err != nil {
				return shard.Err
			}
			resp := shard.Resp.(*kmsg.ListGroupsResponse)
			if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
				return brokerError(fmt.Sprintf("list groups of broker %d", shard.Meta.NodeID), err, "")
			}
			for _, g := range resp.Groups {
				r := groupRow{g.Group, g.GroupState, strings.ToLower(g.GroupType), g.ProtocolType, shard.Meta.NodeID}
				if resp.Version < 5 {
					r.Type = "classic" // from before there were others
				}
				// Brokers from before the filters ignore them.
				if f.matches(r) {
					rows = append(rows, r)
				}
			}
		}
		return nil
	})
	slices.SortFunc(rows, func(a, b groupRow) int { return cmp.Compare(a.Group, b.Group) })
	return rows, err
}
