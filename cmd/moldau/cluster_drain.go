package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"moldau.io/moldau/broker"
)

// lookEvery is how often a command that waits looks at the cluster.
const lookEvery = 500 * time.Millisecond

// drainedView is what drain prints.
type drainedView struct {
	Broker   int32 `json:"broker"`
	Draining bool  `json:"draining"`
	Leaders  int   `json:"leaders"`
	Replicas int   `json:"replicas"` // that are left
}

func newClusterDrain(w world, c *cluster) *cobra.Command {
	var undo bool
	cmd := &cobra.Command{
		Use:   "drain BROKER",
		Short: "Move everything off a broker, and wait for it",
		Long: "Have leaderships and replicas moved off a broker, a few at a time, and wait until it has none. It is given no new ones\n" +
			"until --undo, not even after a restart. If this command is interrupted, the cluster goes on by itself.\n\n" +
			"Where there are no other brokers for a replica, it stays: the broker then leads nothing, and can be stopped for a while.\n" +
			"This is asked for at the admin address of any broker of the cluster, by HTTP.",
		Example: "  moldau cluster drain 3\n  moldau cluster drain 3 --undo",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().BoolVar(&undo, "undo", false, "let the broker have partitions again; what has moved stays where it is")
	admin, out := addAdminFlag(w, cmd), addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := brokerID(args[0])
		if err != nil {
			return err
		}
		d := drainer{c: c, admin: admin, id: id, progress: w.stderr}
		left, err := d.run(cmd.Context(), undo)
		if err != nil {
			return err
		}
		if *out == outputJSON {
			err = printJSON(w.stdout, left)
		} else {
			fmt.Fprintln(w.stdout, left)
		}
		if err == nil && !undo && left.Replicas > 0 {
			err = fmt.Errorf("broker %d still has %d replicas for which there is no other broker: add one, and they move by "+
				"themselves. It leads nothing, so it may be stopped for a while", id, left.Replicas)
		}
		return err
	}
	return cmd
}

// String is for people.
func (d drainedView) String() string {
	switch {
	case !d.Draining:
		return fmt.Sprintf("broker %d may have partitions again; 'moldau cluster rebalance' gives it some", d.Broker)
	case d.Replicas > 0:
		return fmt.Sprintf("broker %d leads nothing and keeps %d replicas", d.Broker, d.Replicas)
	}
	return fmt.Sprintf("broker %d is empty", d.Broker)
}

// drainer has one broker emptied.
type drainer struct {
	c        *cluster
	admin    *adminFlag
	id       int32
	progress io.Writer
}

// run asks for it, and waits where that is no undo.
func (d drainer) run(ctx context.Context, undo bool) (left drainedView, err error) {
	err = d.c.groups(ctx, func(ctx context.Context, adm groupAdmin) error {
		v, err := d.c.view(ctx, adm, false)
		if err != nil {
			return err
		}
		if _, err := v.known(d.id); err != nil {
			return err
		}
		method := http.MethodPost
		if undo {
			method = http.MethodDelete
		}
		st, err := d.admin.drain(ctx, method, d.id)
		if err == nil && st.Cluster != v.Cluster {
			err = fmt.Errorf("the broker at --admin %s is one of another cluster, %s, which was told to drain its broker %d: undo that "+
				"there", d.admin.address, st.Cluster, d.id)
		}
		return err
	})
	if err != nil || undo {
		return drainedView{Broker: d.id}, err
	}
	return d.wait(ctx)
}

// wait looks until the broker has nothing, or nothing that anybody could take.
func (d drainer) wait(ctx context.Context) (left drainedView, err error) {
	began, told, first, settled := time.Now(), time.Time{}, -1, 0
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		var v *clusterView
		if err := d.c.groups(ctx, func(ctx context.Context, adm groupAdmin) (err error) {
			v, err = d.c.view(ctx, adm, false)
			return err
		}); err != nil {
			return left, fmt.Errorf("the cluster goes on emptying broker %d, but cannot be looked at: %w", d.id, err)
		}
		b, err := v.known(d.id)
		if err != nil {
			return left, err
		}
		left = drainedView{d.id, true, b.Leaders, b.Replicas}
		if b.Leaders > 0 || b.Replicas != v.stuck(d.id) || v.Moving > 0 {
			settled = 0
		} else if settled++; settled == 2 || b.Replicas == 0 { // a look is no moment: a move may begin or end in the middle
			return left, nil
		}
		if now := time.Now(); now.Sub(told) >= 2*time.Second {
			first, told = max(first, b.Replicas), now
			fmt.Fprintln(d.progress, progressLine(fmt.Sprintf("broker %d leads %d and has %d replicas, %d partitions are on their way", d.id,
				b.Leaders, b.Replicas, v.Moving), now.Sub(began), first-b.Replicas, b.Replicas))
		}
		select {
		case <-ctx.Done():
			return left, ctx.Err()
		case <-tick.C:
		}
	}
}

// progressLine adds the time that is left to what is said, once there is something to go by.
func progressLine(text string, took time.Duration, done, left int) string {
	if done > 0 && left > 0 {
		text += fmt.Sprintf(", about %s left", (took * time.Duration(left) / time.Duration(done)).Round(time.Second))
	}
	return text
}

// stuck is how many replicas on a broker no other could take: all that live have one of the partition already.
func (v *clusterView) stuck(id int32) (n int) {
	for _, p := range v.parts {
		if !slices.Contains(p.Replicas, id) {
			continue
		}
		if !slices.ContainsFunc(v.Brokers, func(b brokerView) bool { return b.live && !slices.Contains(p.Replicas, b.ID) }) {
			n++
		}
	}
	return n
}

// drain tells the broker at the admin address to have another one, or itself, emptied.
func (a *adminFlag) drain(ctx context.Context, method string, id int32) (st broker.ClusterStatus, err error) {
	url := fmt.Sprintf("http://%s/cluster/drain/%d", strings.TrimPrefix(a.address, "http://"), id)
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return st, usageErrorf("--admin: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return st, fmt.Errorf("%w; --admin names the --admin-listen of any broker of the cluster", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return st, err
	}
	if resp.StatusCode >= 300 {
		return st, fmt.Errorf("%s: %s", url, strings.TrimSpace(string(body)))
	}
	if err := json.Unmarshal(body, &st); err != nil {
		return st, fmt.Errorf("%s does not answer as a broker does: %w", url, err)
	}
	return st, nil
}
