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
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// dirView is a data folder as `moldau log dirs` prints it.
type dirView struct {
	Broker     int32     `json:"broker"`
	Dir        string    `json:"dir"`
	Error      string    `json:"error,omitempty"` // why it is offline
	Partitions int       `json:"partitions"`
	Bytes      int64     `json:"bytes"`
	Free       int64     `json:"free_bytes"` // of the file system; -1 where it is not known
	Total      int64     `json:"total_bytes"`
	Moves      []moveRow `json:"moves"` // on their way here

	parts map[string]kmsg.DescribeLogDirsResponseDirTopicPartition // those that are here, by name
}

// moveRow is a log on its way to a folder.
type moveRow struct {
	Partition string `json:"partition"`
	Bytes     int64  `json:"bytes"` // that are there
	Total     int64  `json:"total_bytes"`
	Lag       int64  `json:"lag"` // records that are not
}

func (m moveRow) percent() string {
	if m.Total <= 0 {
		return "0%"
	}
	return strconv.FormatInt(min(100, 100*m.Bytes/m.Total), 10) + "%"
}

func newLogDirs(w world) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "dirs",
		Short:   "Show the data folders of running brokers: what is in them, what is free, what is being moved",
		Example: "  moldau log dirs\n  moldau log dirs -o json",
		Args:    cobra.NoArgs,
	}
	c := addClusterFlags(w, cmd)
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.client(cmd.Context(), func(ctx context.Context, cl *kgo.Client) error {
			views, err := describeDirs(ctx, cl)
			if err != nil {
				return err
			}
			if *out == outputJSON {
				return printJSON(w.stdout, views)
			}
			return printDirs(w, views)
		})
	}
	return cmd
}

// client runs f with a client, within the timeout.
func (c *cluster) client(ctx context.Context, f func(context.Context, *kgo.Client) error) error {
	cl, err := c.connect(ctx)
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	return f(ctx, cl)
}

// describeDirs is the folders of every broker, sorted by broker and path.
func describeDirs(ctx context.Context, cl *kgo.Client) ([]dirView, error) {
	brokers, err := kadm.NewClient(cl).ListBrokers(ctx)
	if err != nil {
		return nil, err
	}
	views := []dirView{}
	for _, id := range brokers.NodeIDs() {
		resp, err := kmsg.NewPtrDescribeLogDirsRequest().RequestWith(ctx, cl.Broker(int(id)))
		if err != nil {
			return nil, fmt.Errorf("ask broker %d for its folders: %w", id, err)
		}
		if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
			return nil, brokerError(fmt.Sprintf("the folders of broker %d", id), err, "")
		}
		for _, d := range resp.Dirs {
			views = append(views, dirViewOf(id, d))
		}
	}
	sizes := map[string]int64{}
	for _, v := range views {
		for name, p := range v.parts {
			sizes[fmt.Sprint(v.Broker, name)] = p.Size
		}
	}
	for i, v := range views {
		for j, m := range v.Moves {
			views[i].Moves[j].Total = sizes[fmt.Sprint(v.Broker, m.Partition)]
		}
	}
	slices.SortFunc(views, func(a, b dirView) int {
		if a.Broker != b.Broker {
			return int(a.Broker - b.Broker)
		}
		return strings.Compare(a.Dir, b.Dir)
	})
	return views, nil
}

func dirViewOf(broker int32, d kmsg.DescribeLogDirsResponseDir) dirView {
	v := dirView{Broker: broker, Dir: d.Dir, Free: d.UsableBytes, Total: d.TotalBytes, Moves: []moveRow{},
		parts: map[string]kmsg.DescribeLogDirsResponseDirTopicPartition{}}
	if err := kerr.ErrorForCode(d.ErrorCode); err != nil {
		v.Error = err.Error()
	}
	for _, t := range d.Topics {
		for _, p := range t.Partitions {
			name := t.Topic + ":" + strconv.Itoa(int(p.Partition))
			v.Bytes += p.Size
			if p.IsFuture {
				v.Moves = append(v.Moves, moveRow{Partition: name, Bytes: p.Size, Lag: p.OffsetLag})
				continue
			}
			v.Partitions++
			v.parts[name] = p
		}
	}
	return v
}

func printDirs(w world, views []dirView) error {
	t := newTable(w.stdout, "BROKER", "DIR", "PARTITIONS", "BYTES", "FREE", "TOTAL", "STATE")
	for _, v := range views {
		state := "online"
		if v.Error != "" {
			state = "offline"
		}
		t.row(v.Broker, v.Dir, v.Partitions, v.Bytes, orUnknown(v.Free), orUnknown(v.Total), state)
	}
	if err := t.flush(); err != nil {
		return err
	}
	head := true
	for _, v := range views {
		for _, m := range v.Moves {
			if head {
				fmt.Fprintln(w.stdout)
				t = newTable(w.stdout, "MOVING", "TO", "BYTES", "OF", "DONE", "LAG")
				head = false
			}
			t.row(m.Partition, v.Dir, m.Bytes, m.Total, m.percent(), m.Lag)
		}
	}
	return t.flush()
}

func orUnknown(n int64) string {
	if n < 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

func newLogMove(w world) *cobra.Command {
	var broker int32
	var nowait bool
	cmd := &cobra.Command{
		Use:   "move TOPIC:PARTITION DIR",
		Short: "Move a partition's log to another data folder of its broker, and wait until it is there",
		Long: "Move a partition's log to another data folder of its broker, while it is read and written. The folder is named as\n" +
			"'moldau log dirs' names it. replica.alter.log.dirs.io.max.bytes.per.second bounds how fast it goes. Interrupting the\n" +
			"command does not end the move; to end it, move the log to where it is.",
		Example: "  moldau log move rides:3 /disk2/moldau",
		Args:    cobra.ExactArgs(2),
	}
	cmd.Flags().Int32Var(&broker, "broker", -1, "the broker whose replica is meant, where several have one")
	cmd.Flags().BoolVar(&nowait, "no-wait", false, "end as soon as the broker has taken the order")
	c := addClusterFlags(w, cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		topic, number, ok := strings.Cut(args[0], ":")
		p, err := strconv.ParseInt(number, 10, 32)
		if !ok || topic == "" || err != nil || p < 0 {
			return usageErrorf("%q is not of the form TOPIC:PARTITION", args[0])
		}
		cl, err := c.connect(cmd.Context())
		if err != nil {
			return err
		}
		defer cl.Close()
		m := mover{c: c, cl: cl, w: w, topic: topic, partition: int32(p), dir: args[1], broker: broker}
		if err := m.order(cmd.Context()); err != nil || nowait {
			return err
		}
		return m.follow(cmd.Context())
	}
	return cmd
}

// mover is one `moldau log move`.
type mover struct {
	c         *cluster
	cl        *kgo.Client
	w         world
	topic     string
	partition int32
	dir       string
	broker    int32 // -1 until it is known
}

func (m *mover) name() string { return m.topic + ":" + strconv.Itoa(int(m.partition)) }

func (m *mover) views(ctx context.Context) ([]dirView, error) {
	ctx, cancel := context.WithTimeout(ctx, m.c.timeout)
	defer cancel()
	return describeDirs(ctx, m.cl)
}

// order asks the broker that has the log for the move.
func (m *mover) order(ctx context.Context) error {
	views, err := m.views(ctx)
	if err != nil {
		return err
	}
	if err := m.pick(views); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, m.c.timeout)
	defer cancel()
	req := kmsg.NewPtrAlterReplicaLogDirsRequest()
	rd := kmsg.NewAlterReplicaLogDirsRequestDir()
	rt := kmsg.NewAlterReplicaLogDirsRequestDirTopic()
	rd.Dir, rt.Topic, rt.Partitions = m.dir, m.topic, []int32{m.partition}
	rd.Topics = append(rd.Topics, rt)
	req.Dirs = append(req.Dirs, rd)
	resp, err := req.RequestWith(ctx, m.cl.Broker(int(m.broker)))
	if err != nil {
		return fmt.Errorf("ask broker %d for the move: %w", m.broker, err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
				return brokerError(fmt.Sprintf("move %s to %s", m.name(), m.dir), err, "")
			}
		}
	}
	return nil
}

// pick finds the broker that has both the log and the folder.
func (m *mover) pick(views []dirView) error {
	var has, both []int32
	var dirs []string
	for _, v := range views {
		if _, here := v.parts[m.name()]; here && (m.broker < 0 || m.broker == v.Broker) {
			has = append(has, v.Broker)
		}
	}
	for _, v := range views {
		if !slices.Contains(has, v.Broker) {
			continue
		}
		dirs = append(dirs, v.Dir)
		if v.Dir == m.dir {
			both = append(both, v.Broker)
		}
	}
	switch {
	case len(has) == 0:
		return fmt.Errorf("no broker has a log of %s that is online; 'moldau topic list' and 'moldau log dirs' show what is there",
			m.name())
	case len(both) == 0:
		return fmt.Errorf("%s is no data folder of the broker that has %s; its folders are %s", m.dir, m.name(),
			strings.Join(dirs, ", "))
	case len(both) > 1:
		return usageErrorf("the brokers %s have both; name one with --broker", joined(both))
	}
	m.broker = both[0]
	return nil
}

// errMoveGone says that neither the log nor a move to the folder is there.
var errMoveGone = errors.New("the broker has given the move up; its log says why")

// follow says how far the move is, until it is done.
func (m *mover) follow(ctx context.Context) error {
	tick := time.NewTicker(followInterval)
	defer tick.Stop()
	said := ""
	for {
		views, err := m.views(ctx)
		if err != nil {
			return err
		}
		done, row, err := m.state(views)
		if err != nil {
			return err
		}
		if done {
			fmt.Fprintf(m.w.stdout, "%s is in %s\n", m.name(), m.dir)
			return nil
		}
		if line := fmt.Sprintf("%d of %d bytes, %s", row.Bytes, row.Total, row.percent()); line != said {
			fmt.Fprintf(m.w.stderr, "%s: %s\n", m.name(), line)
			said = line
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the move of %s goes on in the broker: %w", m.name(), ctx.Err())
		}
	}
}

// followInterval is how often the broker is asked how far it is.
const followInterval = time.Second

func (m *mover) state(views []dirView) (done bool, row moveRow, err error) {
	for _, v := range views {
		if v.Broker != m.broker || v.Dir != m.dir {
			continue
		}
		if _, here := v.parts[m.name()]; here {
			return true, row, nil
		}
		for _, row := range v.Moves {
			if row.Partition == m.name() {
				return false, row, nil
			}
		}
	}
	return false, row, fmt.Errorf("%s: %w", m.name(), errMoveGone)
}
