package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// deletedRow is a partition whose committed offset was to go.
type deletedRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Error     string `json:"error,omitempty"`
}

func newGroupDeleteOffsets(w world, c *cluster) *cobra.Command {
	var topics []string
	cmd := &cobra.Command{
		Use:   "delete-offsets GROUP --topic TOPIC[:PARTITION,...]",
		Short: "Forget what a group has committed of some topics",
		Long: "Forget what a group has committed of some topics, so that no lag is counted for what it does not read any more.\n" +
			"The group may go on working, as long as no member is subscribed to the topics.",
		Example: "  moldau group delete-offsets database --topic old-rides\n" +
			"  moldau group delete-offsets database --topic rides:0,2",
		Args: cobra.ExactArgs(1),
	}
	cmd.Flags().StringArrayVar(&topics, "topic", nil, "a topic, or partitions of it: rides:0,1,2; may be repeated")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		chosen, err := parsePlaces(topics)
		if err != nil {
			return err
		}
		if len(chosen) == 0 {
			return usageErrorf("name the topics with --topic")
		}
		return c.groups(cmd.Context(), func(ctx context.Context, adm groupAdmin) error {
			places, err := chosen.expand(ctx, adm)
			if err != nil {
				return err
			}
			rows, failed, err := deleteOffsets(ctx, adm, args[0], places)
			if err != nil {
				return err
			}
			return printOrPart(failed, func() error {
				if *out == outputJSON {
					return printJSON(w.stdout, rows)
				}
				t := newTable(w.stdout, "TOPIC", "PARTITION", "STATUS")
				for _, r := range rows {
					status := "deleted"
					if r.Error != "" {
						status = r.Error
					}
					t.row(r.Topic, r.Partition, status)
				}
				return t.flush()
			})
		})
	}
	return cmd
}

func deleteOffsets(ctx context.Context, adm groupAdmin, group string, places []place) ([]deletedRow, []error, error) {
	var set kadm.TopicsSet
	for _, p := range places {
		set.Add(p.topic, p.partition)
	}
	var answers kadm.DeleteOffsetsResponses
	err := patiently(ctx, func() (err error) {
		answers, err = adm.DeleteOffsets(ctx, group, set)
		return err
	})
	if err != nil {
		if errors.Is(err, kerr.NonEmptyGroup) {
			views, _ := describeGroups(ctx, adm, []string{group})
			return nil, nil, brokerError("group "+group, err, holders(views[group]))
		}
		return nil, nil, groupError(group, err)
	}
	rows := []deletedRow{}
	var failed []error
	for _, p := range places {
		row := deletedRow{Topic: p.topic, Partition: p.partition}
		if err := answers[p.topic][p.partition]; err != nil {
			failed = append(failed, brokerError(fmt.Sprintf("group %s, %s", group, p), err, ""))
			row.Error = errorName(err)
		}
		rows = append(rows, row)
	}
	return rows, failed, nil
}

// errorName is Kafka's name of an error.
func errorName(err error) string {
	var ke *kerr.Error
	if errors.As(err, &ke) {
		return ke.Message
	}
	return err.Error()
}

// chosenPlaces are topics as --topic names them; a topic without partitions stands for all of them.
type chosenPlaces map[string][]int32

// parsePlaces reads TOPIC, TOPIC:0,1,2 and lists of these: rides:0,1,fares.
func parsePlaces(args []string) (chosenPlaces, error) {
	chosen := chosenPlaces{}
	whole := map[string]bool{}
	for _, arg := range args {
		topic := "" // whose partitions are being listed
		for part := range strings.SplitSeq(arg, ",") {
			if _, err := strconv.Atoi(part); topic == "" || err != nil {
				name, first, listed := strings.Cut(part, ":")
				if name == "" || listed && first == "" {
					return nil, usageErrorf("--topic %q: it must be TOPIC or TOPIC:PARTITION,...", arg)
				}
				if !listed {
					topic, whole[name], chosen[name] = "", true, nil
					continue
				}
				topic, part = name, first
			}
			n, err := strconv.ParseInt(part, 10, 32)
			if err != nil || n < 0 {
				return nil, usageErrorf("--topic %q: %q is not the number of a partition", arg, part)
			}
			if !whole[topic] {
				chosen[topic] = append(chosen[topic], int32(n))
			}
		}
	}
	return chosen, nil
}

// expand names every partition, sorted and each once, and fails where one does not exist.
func (c chosenPlaces) expand(ctx context.Context, adm groupAdmin) ([]place, error) {
	if len(c) == 0 {
		return nil, nil
	}
	details, err := adm.ListTopicsWithInternal(ctx, slices.Sorted(maps.Keys(c))...)
	if err != nil {
		return nil, err
	}
	var places []place
	var failed []error
	for _, topic := range slices.Sorted(maps.Keys(c)) {
		d := details[topic]
		if d.Err != nil {
			failed = append(failed, brokerError("topic "+topic, d.Err, ""))
			continue
		}
		partitions := c[topic]
		if partitions == nil {
			partitions = d.Partitions.Numbers()
		}
		for _, p := range partitions {
			if _, ok := d.Partitions[p]; !ok {
				failed = append(failed, fmt.Errorf("topic %s has no partition %d, but 0 to %d", topic, p, len(d.Partitions)-1))
			}
			places = append(places, place{topic, p})
		}
	}
	slices.SortFunc(places, comparePlaces)
	return slices.Compact(places), errors.Join(failed...)
}
