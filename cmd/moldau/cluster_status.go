package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// namesMax is how many partitions in trouble status names.
const namesMax = 8

func newClusterStatus(w world, c *cluster) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show brokers, voters, and what is not as it should be",
		Long: "Show brokers, voters, and what is not as it should be. Versions, and which brokers are drained, come from the admin\n" +
			"address of any broker; where none answers they are left out.",
		Example: "  moldau cluster status\n  moldau cluster status -b 10.0.0.5:9092 --admin 10.0.0.5:9644 -o json",
		Args:    cobra.NoArgs,
	}
	admin, out := addAdminFlag(w, cmd), addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		admin.named(cmd)
		return c.groups(cmd.Context(), func(ctx context.Context, adm groupAdmin) error {
			v, err := c.view(ctx, adm, true)
			if err != nil {
				return err
			}
			if err := v.tell(ctx, admin); err != nil {
				return err
			}
			if *out == outputJSON {
				return printJSON(w.stdout, v)
			}
			return printCluster(w, v)
		})
	}
	return cmd
}

func printCluster(w world, v *clusterView) error {
	live, voters := 0, 0
	for _, b := range v.Brokers {
		if b.live {
			live++
		}
		if b.Voter {
			voters++
		}
	}
	fmt.Fprintf(w.stdout, "cluster %s: %d of %d brokers alive, %d voters, controller %d\n", harmless(v.Cluster), live,
		len(v.Brokers), voters, v.Controller)
	fmt.Fprintf(w.stdout, "%d topics, %d partitions, %d replicas: %d under-replicated, %d offline, %d moving\n\n", v.Topics,
		v.Partitions, v.Replicas, len(v.Under), len(v.Offline), v.Moving)
	t := newTable(w.stdout, "BROKER", "STATE", "QUORUM", "RACK", "VERSION", "ADDRESS", "LEADERS", "REPLICAS", "NOT IN SYNC", "LAG",
		"DATA", "FREE")
	for _, b := range v.Brokers {
		seat := "observer"
		switch {
		case b.Controller:
			seat = "controller"
		case b.Voter:
			seat = "voter"
		}
		t.row(b.ID, b.State, seat, orDash(b.Rack), orDash(b.Version), b.Address, b.Leaders, b.Replicas, b.Behind, orOpen(b.Lag),
			bytesText(b.Bytes), bytesText(b.FreeBytes))
	}
	if err := t.flush(); err != nil {
		return err
	}
	for _, l := range []struct {
		what  string
		names []string
	}{{"offline", v.Offline}, {"under-replicated", v.Under}} {
		if len(l.names) > 0 {
			fmt.Fprintf(w.stdout, "\n%s: %s\n", l.what, harmless(someOf(l.names)))
		}
	}
	return nil
}

func someOf(names []string) string {
	if len(names) <= namesMax {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:namesMax], ", "), len(names)-namesMax)
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func orOpen(n int64) string {
	if n < 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

// bytesText is a size for people.
func bytesText(n int64) string {
	switch {
	case n < 0:
		return "-"
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	}
	units, f := "KMGTP", float64(n)/1024
	for f >= 1024 && len(units) > 1 {
		f, units = f/1024, units[1:]
	}
	return fmt.Sprintf("%.1f %ciB", f, units[0])
}
