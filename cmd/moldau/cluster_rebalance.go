package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"

	"moldau.io/moldau/broker"
	"moldau.io/moldau/cluster/spread"
)

// batchMax is how many partitions are on their way at a time.
const batchMax = 32

// moveView is one line of the plan.
type moveView struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	From      []int32 `json:"from"`
	To        []int32 `json:"to"`
	Bytes     int64   `json:"bytes"` // that are copied
}

// planView is what rebalance prints.
type planView struct {
	Moves     []moveView `json:"moves"`
	Bytes     int64      `json:"bytes"`
	Elections int        `json:"elections"` // partitions that others lead than their preferred replicas, now
	Done      bool       `json:"done"`      // false with --dry-run
}

func newClusterRebalance(w world, c *cluster) *cobra.Command {
	var yes, dry bool
	throttle := byteRate(50 << 20)
	cmd := &cobra.Command{
		Use:   "rebalance",
		Short: "Spread replicas and leaderships evenly over brokers and racks",
		Long: "Plan the fewest moves that leave all brokers about as many replicas and leaderships, and the replicas of a partition in\n" +
			"different racks; show them; and after a typed yes, or with --yes, carry them out, a few partitions at a time. Brokers\n" +
			"that are down or drained get nothing. If this is interrupted, what is under way is finished; run it again for the rest.",
		Example: "  moldau cluster rebalance --dry-run\n  moldau cluster rebalance --yes --throttle 20MiB",
		Args:    cobra.NoArgs,
	}
	f := cmd.Flags()
	f.BoolVar(&yes, "yes", false, "do not ask")
	f.BoolVar(&dry, "dry-run", false, "only show the plan")
	f.Var(&throttle, "throttle", "bytes a second that are copied on average: a number, KiB, MiB or GiB after it; 0 for no bound")
	admin, out := addAdminFlag(w, cmd), addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		admin.named(cmd)
		plan, err := planOf(cmd.Context(), c, admin)
		if err != nil {
			return err
		}
		if *out == outputTable {
			if err := plan.print(w.stdout); err != nil {
				return err
			}
		}
		if len(plan.Moves)+plan.Elections > 0 && !dry {
			if !yes && !confirmed(w) {
				return errors.New("nothing was moved; --yes does not ask")
			}
			m := carrier{c: c, plan: plan, rate: int64(throttle), progress: w.stderr}
			if err := m.run(cmd.Context()); err != nil {
				return err
			}
			plan.Done = true
			if *out == outputTable {
				fmt.Fprintln(w.stdout, "all is moved")
			}
		}
		if *out == outputJSON {
			return printJSON(w.stdout, plan)
		}
		return nil
	}
	return cmd
}

// planOf looks at the cluster and plans.
func planOf(ctx context.Context, c *cluster, admin *adminFlag) (*planView, error) {
	plan := &planView{Moves: []moveView{}}
	err := c.groups(ctx, func(ctx context.Context, adm groupAdmin) error {
		v, err := c.view(ctx, adm, true)
		if err != nil {
			return err
		}
		if err := v.tell(ctx, admin); err != nil {
			return err
		}
		if v.Moving > 0 {
			return fmt.Errorf("%d partitions are on their way to other brokers already: wait until they have arrived", v.Moving)
		}
		var brokers []spread.Broker
		for _, b := range v.Brokers {
			if b.live && b.State == broker.MemberAlive {
				brokers = append(brokers, spread.Broker{ID: b.ID, Rack: b.Rack})
			}
		}
		var parts []spread.Partition
		for _, p := range v.parts {
			if p.Leader >= 0 && p.Leader != p.Replicas[0] && slices.Contains(p.ISR, p.Replicas[0]) {
				plan.Elections++
			}
			parts = append(parts, spread.Partition{Topic: p.Topic, Number: p.Partition, Replicas: p.Replicas,
				Bytes: v.bytes[p.Topic][p.Partition]})
		}
		for _, m := range spread.Plan(brokers, parts) {
			plan.Moves = append(plan.Moves, moveView{m.Topic, m.Number, m.From, m.To, m.Bytes})
			plan.Bytes += m.Bytes
		}
		return nil
	})
	return plan, err
}

func (p *planView) print(w io.Writer) error {
	if p.Elections > 0 {
		fmt.Fprintf(w, "%d partitions are led by others than their preferred replicas, which will lead them\n", p.Elections)
	}
	if len(p.Moves)+p.Elections == 0 {
		_, err := fmt.Fprintln(w, "replicas and leaderships are spread as evenly as they can be")
		return err
	}
	if len(p.Moves) == 0 {
		return nil
	}
	t := newTable(w, "TOPIC", "PARTITION", "FROM", "TO", "COPIED")
	for _, m := range p.Moves {
		t.row(m.Topic, m.Partition, joined(m.From), joined(m.To), bytesText(m.Bytes))
	}
	if err := t.flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d partitions, %s to copy\n", len(p.Moves), bytesText(p.Bytes))
	return err
}

// carrier carries out a plan.
type carrier struct {
	c        *cluster
	plan     *planView
	rate     int64 // bytes a second, 0 for no bound
	progress io.Writer
}

// run moves one batch after the other. Each must have arrived, and the bytes must have had their time, before the next begins.
func (m carrier) run(ctx context.Context) error {
	began, told := time.Now(), time.Now()
	var copied int64
	for left := m.plan.Moves; len(left) > 0; {
		batch := left[:min(len(left), batchMax)]
		left = left[len(batch):]
		if err := m.move(ctx, batch); err != nil {
			return err
		}
		for _, b := range batch {
			copied += b.Bytes
		}
		if m.rate > 0 && len(left) > 0 {
			due := began.Add(time.Duration(float64(copied) / float64(m.rate) * float64(time.Second)))
			if err := pause(ctx, time.Until(due)); err != nil {
				return err
			}
		}
		if done := len(m.plan.Moves) - len(left); time.Since(told) >= 2*time.Second && len(left) > 0 {
			told = time.Now()
			fmt.Fprintln(m.progress, progressLine(fmt.Sprintf("%d of %d partitions, %s of %s", done, len(m.plan.Moves), bytesText(copied),
				bytesText(m.plan.Bytes)), time.Since(began), done, len(left)))
		}
	}
	return m.elect(ctx, nil) // of those that did not move, too
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// move moves some partitions, waits for them, and has the preferred replicas lead them.
func (m carrier) move(ctx context.Context, batch []moveView) error {
	var set kadm.TopicsSet
	if err := m.c.groups(ctx, func(ctx context.Context, adm groupAdmin) error {
		var req kadm.AlterPartitionAssignmentsReq
		for _, b := range batch {
			req.Assign(b.Topic, b.Partition, b.To)
			set.Add(b.Topic, b.Partition)
		}
		resps, err := adm.AlterPartitionAssignments(ctx, req)
		if err != nil {
			return err
		}
		var failed []error
		for _, r := range resps.Sorted() {
			if r.Err != nil {
				failed = append(failed, brokerError(fmt.Sprintf("move %s-%d", r.Topic, r.Partition), r.Err, r.ErrMessage))
			}
		}
		return errors.Join(failed...)
	}); err != nil {
		return err
	}
	for moving := 1; moving > 0; {
		if err := m.c.groups(ctx, func(ctx context.Context, adm groupAdmin) error {
			list, err := adm.ListPartitionReassignments(ctx, set)
			moving = 0
			list.Each(func(kadm.ListPartitionReassignmentsResponse) { moving++ })
			return err
		}); err != nil {
			return err
		}
		if moving > 0 {
			if err := pause(ctx, lookEvery/5); err != nil {
				return err
			}
		}
	}
	return m.elect(ctx, set)
}

// elect has the preferred replicas lead, as far as they can: of all partitions where set is nil.
func (m carrier) elect(ctx context.Context, set kadm.TopicsSet) error {
	return m.c.groups(ctx, func(ctx context.Context, adm groupAdmin) error {
		elected, err := adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, set)
		if err != nil {
			return err
		}
		var failed []error
		for _, ps := range elected {
			for _, r := range ps {
				if r.Err != nil && !errors.Is(r.Err, kerr.ElectionNotNeeded) && !errors.Is(r.Err, kerr.PreferredLeaderNotAvailable) {
					failed = append(failed, brokerError(fmt.Sprintf("elect the leader of %s-%d", r.Topic, r.Partition), r.Err, r.ErrMessage))
				}
			}
		}
		return errors.Join(failed...)
	})
}

// byteRate is a flag's value: 1048576, 512KiB, 20MiB, 1GiB.
type byteRate int64

func (r *byteRate) String() string { return bytesText(int64(*r)) }
func (r *byteRate) Type() string   { return "bytes" }

// Set takes a value given on the command line.
func (r *byteRate) Set(s string) error {
	var n int64
	var unit string
	if _, err := fmt.Sscanf(s+" ", "%d%s", &n, &unit); err != nil && unit != "" || n < 0 {
		return errors.New("it must be a number of bytes, as 20MiB")
	}
	shift, ok := map[string]int{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30}[unit]
	if !ok || n > 1<<(62-shift) {
		return errors.New("it must be a number of bytes, as 20MiB")
	}
	*r = byteRate(n << shift)
	return nil
}
