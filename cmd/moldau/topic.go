package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/protocol"
)

func newTopic(w world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "topic",
		Short: "Create, list, describe, alter and delete topics",
		Args:  cobra.NoArgs,
		RunE:  helpOrUsage,
	}
	c := addClusterFlags(w, cmd)
	cmd.AddCommand(newTopicCreate(w, c), newTopicList(w, c), newTopicDescribe(w, c), newTopicAlter(w, c), newTopicDelete(w, c))
	return cmd
}

// helpOrUsage is what a command does that only has commands below it.
func helpOrUsage(cmd *cobra.Command, _ []string) error {
	return usageErrorf("%s needs a command", cmd.CommandPath())
}

// topicRow is a topic as create and list print it.
type topicRow struct {
	Topic      string `json:"topic"`
	ID         string `json:"id"`
	Partitions int    `json:"partitions"`
	Replicas   int    `json:"replication_factor"`
	Internal   bool   `json:"internal"`
}

func printTopicRows(w world, o output, rows []topicRow) error {
	if o == outputJSON {
		return printJSON(w.stdout, rows)
	}
	t := newTable(w.stdout, "TOPIC", "PARTITIONS", "REPLICATION", "ID")
	for _, r := range rows {
		t.row(r.Topic, r.Partitions, r.Replicas, r.ID)
	}
	return t.flush()
}

func newTopicCreate(w world, c *cluster) *cobra.Command {
	var (
		partitions int32
		replicas   int16
		configs    []string
		exists     bool
	)
	cmd := &cobra.Command{
		Use:   "create TOPIC...",
		Short: "Create topics",
		Example: "  moldau topic create rides --partitions 12\n" +
			"  moldau topic create profiles --config cleanup.policy=compact --config min.cleanable.dirty.ratio=0.1",
		Args: cobra.MinimumNArgs(1),
	}
	f := cmd.Flags()
	f.Int32VarP(&partitions, "partitions", "p", -1, "number of partitions; -1 takes the broker's num.partitions")
	f.Int16VarP(&replicas, "replication-factor", "r", -1, "copies of each partition; -1 takes the broker's default")
	f.StringArrayVarP(&configs, "config", "c", nil, "a topic property, key=value; may be given more than once")
	f.BoolVar(&exists, "if-not-exists", false, "a topic that is there already is no failure")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, topics []string) error {
		props, err := keyValues("config", configs)
		if err != nil {
			return err
		}
		return c.admin(cmd.Context(), func(ctx context.Context, adm *kadm.Client) error {
			made, err := adm.CreateTopics(ctx, partitions, replicas, props, topics...)
			if err != nil {
				return err
			}
			var rows []topicRow
			var failed []error
			for _, r := range made.Sorted() {
				switch {
				case r.Err == nil:
					rows = append(rows, topicRow{r.Topic, protocol.TopicID(r.ID).String(), int(r.NumPartitions), int(r.ReplicationFactor), false})
				case exists && errors.Is(r.Err, kerr.TopicAlreadyExists):
				default:
					failed = append(failed, brokerError("create topic "+r.Topic, r.Err, r.ErrMessage))
				}
			}
			if len(rows) > 0 {
				failed = append(failed, printTopicRows(w, *out, rows))
			}
			return errors.Join(failed...)
		})
	}
	return cmd
}

func newTopicList(w world, c *cluster) *cobra.Command {
	var internal bool
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the topics",
		Example: "  moldau topic list\n  moldau topic list --internal -o json",
		Args:    cobra.NoArgs,
	}
	cmd.Flags().BoolVarP(&internal, "internal", "i", false, "show the broker's own topics too, as __consumer_offsets")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return c.admin(cmd.Context(), func(ctx context.Context, adm *kadm.Client) error {
			list := adm.ListTopics
			if internal {
				list = adm.ListTopicsWithInternal
			}
			details, err := list(ctx)
			if err != nil {
				return err
			}
			rows := []topicRow{}
			for _, d := range details.Sorted() {
				rows = append(rows, topicRow{d.Topic, protocol.TopicID(d.ID).String(), len(d.Partitions), d.Partitions.NumReplicas(), d.IsInternal})
			}
			return printTopicRows(w, *out, rows)
		})
	}
	return cmd
}

// topicView is a topic as describe prints it.
type topicView struct {
	topicRow
	Parts   []partitionView   `json:"partition_details"`
	Configs map[string]string `json:"configs"`
}

type partitionView struct {
	Partition int32   `json:"partition"`
	Leader    int32   `json:"leader"`
	Epoch     int32   `json:"leader_epoch"`
	Replicas  []int32 `json:"replicas"`
	ISR       []int32 `json:"isr"`
	Start     int64   `json:"log_start_offset"`
	End       int64   `json:"high_watermark"`
}

func newTopicDescribe(w world, c *cluster) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "describe TOPIC...",
		Short:   "Show partitions, leaders, offsets, and the properties that are set",
		Example: "  moldau topic describe rides",
		Args:    cobra.MinimumNArgs(1),
	}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, topics []string) error {
		return c.admin(cmd.Context(), func(ctx context.Context, adm *kadm.Client) error {
			views, err := describeTopics(ctx, adm, topics)
			if err != nil {
				return err
			}
			if *out == outputJSON {
				return printJSON(w.stdout, views)
			}
			for i, v := range views {
				if i > 0 {
					fmt.Fprintln(w.stdout)
				}
				if err := v.print(w); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return cmd
}

func describeTopics(ctx context.Context, adm *kadm.Client, topics []string) ([]topicView, error) {
	details, err := adm.ListTopicsWithInternal(ctx, topics...)
	if err != nil {
		return nil, err
	}
	for _, d := range details.Sorted() {
		if d.Err != nil {
			return nil, brokerError("topic "+d.Topic, d.Err, "")
		}
	}
	starts, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	configs, err := adm.DescribeTopicConfigs(ctx, topics...)
	if err != nil {
		return nil, err
	}
	var views []topicView
	for _, d := range details.Sorted() {
		v := topicView{
			topicRow: topicRow{d.Topic, protocol.TopicID(d.ID).String(), len(d.Partitions), d.Partitions.NumReplicas(), d.IsInternal},
			Configs:  map[string]string{},
		}
		for _, p := range d.Partitions.Sorted() {
			start, _ := starts.Lookup(d.Topic, p.Partition)
			end, _ := ends.Lookup(d.Topic, p.Partition)
			v.Parts = append(v.Parts, partitionView{p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR, start.Offset, end.Offset})
		}
		rc, err := configs.On(d.Topic, nil)
		if err != nil {
			return nil, err
		}
		for _, conf := range rc.Configs {
			if conf.Source == kmsg.ConfigSourceDynamicTopicConfig {
				v.Configs[conf.Key] = conf.MaybeValue()
			}
		}
		views = append(views, v)
	}
	return views, nil
}

func (v *topicView) print(w world) error {
	fmt.Fprintf(w.stdout, "topic %s  id %s  partitions %d  replication %d\n", v.Topic, v.ID, v.Partitions, v.Replicas)
	keys := make([]string, 0, len(v.Configs))
	for k := range v.Configs {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		fmt.Fprintf(w.stdout, "  %s=%s\n", k, v.Configs[k])
	}
	t := newTable(w.stdout, "PARTITION", "LEADER", "EPOCH", "REPLICAS", "ISR", "START", "END")
	for _, p := range v.Parts {
		t.row(p.Partition, p.Leader, p.Epoch, joined(p.Replicas), joined(p.ISR), p.Start, p.End)
	}
	return t.flush()
}

func newTopicAlter(w world, c *cluster) *cobra.Command {
	var (
		partitions   int
		sets, clears []string
	)
	cmd := &cobra.Command{
		Use:   "alter TOPIC",
		Short: "Set and unset properties, add partitions",
		Example: "  moldau topic alter rides --config retention.ms=3600000 --delete-config segment.bytes\n" +
			"  moldau topic alter rides --partitions 24",
		Args: cobra.ExactArgs(1),
	}
	f := cmd.Flags()
	f.IntVarP(&partitions, "partitions", "p", 0, "raise the number of partitions to this")
	f.StringArrayVarP(&sets, "config", "c", nil, "set a property, key=value; may be given more than once")
	f.StringArrayVar(&clears, "delete-config", nil, "unset a property, so that the broker's default holds again")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		props, err := keyValues("config", sets)
		if err != nil {
			return err
		}
		if len(props) == 0 && len(clears) == 0 && partitions == 0 {
			return usageErrorf("nothing to alter: give --config, --delete-config or --partitions")
		}
		topic := args[0]
		return c.admin(cmd.Context(), func(ctx context.Context, adm *kadm.Client) error {
			if err := alterTopic(ctx, adm, topic, props, clears, partitions); err != nil {
				return err
			}
			views, err := describeTopics(ctx, adm, []string{topic})
			if err != nil {
				return err
			}
			if *out == outputJSON {
				return printJSON(w.stdout, views[0])
			}
			return views[0].print(w)
		})
	}
	return cmd
}

func alterTopic(ctx context.Context, adm *kadm.Client, topic string, sets map[string]*string, clears []string, partitions int) error {
	var changes []kadm.AlterConfig
	for k, v := range sets {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: k, Value: v})
	}
	for _, k := range clears {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: k})
	}
	if len(changes) > 0 {
		answers, err := adm.AlterTopicConfigs(ctx, changes, topic)
		if err != nil {
			return err
		}
		for _, a := range answers {
			if a.Err != nil {
				return brokerError("alter topic "+a.Name, a.Err, a.ErrMessage)
			}
		}
	}
	if partitions == 0 {
		return nil
	}
	answers, err := adm.UpdatePartitions(ctx, partitions, topic)
	if err != nil {
		return err
	}
	for _, a := range answers.Sorted() {
		if a.Err != nil {
			return brokerError("alter topic "+a.Topic, a.Err, a.ErrMessage)
		}
	}
	return nil
}

func newTopicDelete(w world, c *cluster) *cobra.Command {
	var exists bool
	cmd := &cobra.Command{
		Use:     "delete TOPIC...",
		Short:   "Delete topics and their records",
		Example: "  moldau topic delete rides",
		Args:    cobra.MinimumNArgs(1),
	}
	cmd.Flags().BoolVar(&exists, "if-exists", false, "a topic that is not there is no failure")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, topics []string) error {
		return c.admin(cmd.Context(), func(ctx context.Context, adm *kadm.Client) error {
			answers, err := adm.DeleteTopics(ctx, topics...)
			if err != nil {
				return err
			}
			gone := []string{}
			var failed []error
			for _, a := range answers.Sorted() {
				switch {
				case a.Err == nil:
					gone = append(gone, a.Topic)
				case exists && errors.Is(a.Err, kerr.UnknownTopicOrPartition):
				default:
					failed = append(failed, brokerError("delete topic "+a.Topic, a.Err, a.ErrMessage))
				}
			}
			slices.Sort(gone) // kadm sorts by id
			if *out == outputJSON {
				failed = append(failed, printJSON(w.stdout, map[string][]string{"deleted": gone}))
			} else {
				for _, topic := range gone {
					fmt.Fprintf(w.stdout, "deleted %s\n", topic)
				}
			}
			return errors.Join(failed...)
		})
	}
	return cmd
}
