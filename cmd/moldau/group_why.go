package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"moldau.io/moldau/broker"
)

func newGroupWhy(w world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "why GROUP",
		Short: "Say why a group rebalanced: its last rebalance, and the journal of its members",
		Long: "Say why a group rebalanced: its last rebalance with its cause, and the journal of joins, leaves, expiries and\n" +
			"rebalances. The broker that coordinates the group keeps the journal in memory since it does, the last 64 entries;\n" +
			"it is asked at its admin address, by HTTP.",
		Example: "  moldau group why database\n  moldau group why database -o json --admin 10.0.0.5:9644",
		Args:    cobra.ExactArgs(1),
	}
	admin := addAdminFlag(w, cmd)
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		timeout, err := cmd.Flags().GetDuration("timeout")
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
		defer cancel()
		d, err := admin.group(ctx, args[0])
		if err != nil {
			return err
		}
		if *out == outputJSON {
			return printJSON(w.stdout, d)
		}
		return printWhy(w, d, time.Now())
	}
	return cmd
}

// group is what the broker knows of a group. It asks again while the coordinator is being loaded.
func (a *adminFlag) group(ctx context.Context, name string) (*broker.GroupDetail, error) {
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for {
		d := &broker.GroupDetail{}
		status, err := a.get(ctx, "/groups", url.Values{"group": {name}}, d)
		switch {
		case err == nil:
			return d, nil
		case status == http.StatusNotFound:
			return nil, fmt.Errorf("group %s: %w", name, err)
		case status != http.StatusServiceUnavailable:
			return nil, err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return nil, err
		}
	}
}

func printWhy(w world, d *broker.GroupDetail, now time.Time) error {
	line := fmt.Sprintf("group %s  state %s  type %s  generation %d  members %d", d.Name, d.State, d.Type, d.Generation,
		len(d.Members))
	if d.Lag != nil {
		line += fmt.Sprintf("  lag %d", *d.Lag)
	}
	if d.LagSeconds != nil {
		line += "  oldest unread " + ageCell(d.LagSeconds)
	}
	fmt.Fprintln(w.stdout, line)
	if d.Last == nil {
		fmt.Fprintln(w.stdout, "no rebalance since the coordinator was started")
	} else {
		fmt.Fprintln(w.stdout, rebalanceLine(d.Last, now))
	}
	if len(d.Journal) == 0 {
		return nil
	}
	fmt.Fprintln(w.stdout)
	if d.JournalDropped > 0 {
		fmt.Fprintf(w.stdout, "%d older entries are not kept\n", d.JournalDropped)
	}
	t := newTable(w.stdout, "TIME", "EVENT", "GENERATION", "MEMBERS", "TOOK", "CLIENT", "HOST", "SOFTWARE", "MEMBER", "REASON")
	for _, e := range d.Journal {
		event := e.Event
		if e.Count > 1 {
			event = fmt.Sprintf("%s (%d times)", event, e.Count)
		}
		t.row(e.At.Local().Format("2006-01-02 15:04:05.000"), event, e.Generation, e.Members, ageCell(e.Seconds),
			dash(e.ClientID), dash(e.Host), dash(e.Software), dash(e.Member), dash(e.Reason))
	}
	return t.flush()
}

// rebalanceLine is a rebalance in a sentence.
func rebalanceLine(r *broker.RebalanceStatus, now time.Time) string {
	line := "last rebalance " + ago(now.Sub(r.Began))
	if r.Ended == nil {
		line += ", goes on"
	} else {
		line += ", took " + ageCell(&r.Seconds)
	}
	line += ": " + dash(harmless(r.Reason))
	var who []string
	for _, kv := range [...][2]string{{"client", r.ClientID}, {"instance", r.Instance}, {"software", r.Software}} {
		if kv[1] != "" {
			who = append(who, kv[0]+" "+dash(harmless(kv[1])))
		}
	}
	if len(who) > 0 {
		line += " (" + strings.Join(who, ", ") + ")"
	}
	line += fmt.Sprintf("; %d joined, %d gone", r.Joined, r.Left)
	if r.Begun > 1 {
		line += fmt.Sprintf("; begun anew %d times, last since %s", r.Begun-1, dash(harmless(r.Again)))
	}
	return line
}

func ago(d time.Duration) string { return d.Round(time.Second).String() + " ago" }

// ageCell is a number of seconds for people.
func ageCell(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	d := time.Duration(*seconds * float64(time.Second))
	if d < 10*time.Second {
		return d.Round(time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
