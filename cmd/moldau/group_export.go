package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
)

// offsetRow is a line of a file of offsets: topic,partition,offset or group,topic,partition,offset, as Kafka's tool writes
// and reads them.
type offsetRow struct {
	group string // "": the line has none
	place
	offset int64
}

func newGroupExport(w world, c *cluster) *cobra.Command {
	var scope groupScope
	var topics []string
	cmd := &cobra.Command{
		Use:   "export GROUP... | --all-groups",
		Short: "Print what groups have committed as CSV, to be kept or taken elsewhere",
		Long: "Print what groups have committed as CSV: topic,partition,offset for one group, with the group in front for several.\n" +
			"'moldau group import' and kafka-consumer-groups.sh --from-file take it. Members may be at work meanwhile.",
		Example: "  moldau group export database > offsets.csv\n  moldau group export --all-groups > all.csv",
	}
	scope.add(cmd)
	cmd.Flags().StringArrayVar(&topics, "topic", nil, "only this topic, or partitions of it: rides:0,1,2; may be repeated")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, groups []string) error {
		if err := scope.check(groups); err != nil {
			return err
		}
		chosen, err := parsePlaces(topics)
		if err != nil {
			return err
		}
		return c.groups(cmd.Context(), func(ctx context.Context, adm groupAdmin) error {
			ids, err := scope.ids(ctx, adm, groups)
			if err != nil {
				return err
			}
			rows, failed := committedRows(ctx, adm, ids, chosen)
			return printOrPart(failed, func() error {
				if *out == outputJSON {
					return printJSON(w.stdout, rows)
				}
				return writeOffsets(w.stdout, rows, scope.all || len(ids) != 1)
			})
		})
	}
	return cmd
}

// committedRows is what groups have committed, where it stays.
func committedRows(ctx context.Context, adm groupAdmin, ids []string, chosen chosenPlaces) (rows []resetRow, failed []error) {
	rows = []resetRow{}
	for _, id := range ids {
		committed, err := adm.FetchOffsets(ctx, id)
		if err != nil {
			failed = append(failed, groupError(id, err))
			continue
		}
		for _, r := range committed.Sorted() {
			partitions, named := chosen[r.Topic]
			if r.Err != nil || r.At < 0 || len(chosen) > 0 && !named ||
				partitions != nil && !slices.Contains(partitions, r.Partition) {
				continue
			}
			rows = append(rows, resetRow{Group: id, Topic: r.Topic, Partition: r.Partition, Old: r.At, New: r.At})
		}
	}
	return rows, failed
}

func newGroupImport(w world, c *cluster) *cobra.Command {
	var flags resetFlags
	cmd := &cobra.Command{
		Use:   "import FILE [GROUP...]",
		Short: "Set groups' committed offsets to what a file says; shows the plan unless --execute is given",
		Long: "Set groups' committed offsets to what a CSV file says, as 'moldau group export' and kafka-consumer-groups.sh --export\n" +
			"write it; - is stdin. A file without groups needs the name of one. Without --execute the plan is printed and\n" +
			"nothing is changed. The groups must have no members.",
		Example: "  moldau group import offsets.csv database --execute\n  moldau group import all.csv --execute",
		Args:    cobra.MinimumNArgs(1),
	}
	flags.add(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := atMostOne(cmd, "execute", "dry-run"); err != nil {
			return err
		}
		rows, err := readOffsetsFile(w, args[0])
		if err != nil {
			return err
		}
		groups := sorted(args[1:])
		if len(groups) == 0 {
			for _, r := range rows {
				if r.group == "" {
					return usageErrorf("%s names no groups; say which group it is for: moldau group import %s GROUP", args[0], args[0])
				}
				groups = append(groups, r.group)
			}
			slices.Sort(groups)
		}
		groups = slices.Compact(groups)
		return c.groups(cmd.Context(), func(ctx context.Context, adm groupAdmin) error {
			return flags.run(ctx, w, adm, resetOrder{groups: groups, target: resetTarget{kind: targetRows, rows: rows}})
		})
	}
	return cmd
}

// writeOffsets writes the new offsets of rows as CSV, without a head.
func writeOffsets(w io.Writer, rows []resetRow, withGroup bool) error {
	out := csv.NewWriter(w)
	for _, r := range rows {
		cells := []string{r.Topic, strconv.Itoa(int(r.Partition)), strconv.FormatInt(r.New, 10)}
		if withGroup {
			cells = append([]string{r.Group}, cells...)
		}
		if err := out.Write(cells); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// readOffsetsFile reads a file of offsets, or stdin.
func readOffsetsFile(w world, name string) ([]offsetRow, error) {
	if name == "-" {
		return readOffsets(w.stdin, "stdin")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readOffsets(f, name)
}

func readOffsets(r io.Reader, name string) ([]offsetRow, error) {
	in := csv.NewReader(r)
	in.FieldsPerRecord = -1 // told below, in words
	in.TrimLeadingSpace = true
	var rows []offsetRow
	for {
		cells, err := in.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		line, _ := in.FieldPos(0)
		row, err := parseOffsetRow(cells)
		if err == nil && len(rows) > 0 && (row.group == "") != (rows[0].group == "") {
			err = errors.New("some lines have a group and others have none")
		}
		if err != nil {
			return nil, fmt.Errorf("%s, line %d: %w", name, line, err)
		}
		rows = append(rows, row)
	}
	if len(rows) == 0 {
		return nil, fmt.Errorf("%s holds no offsets; a line is topic,partition,offset or group,topic,partition,offset", name)
	}
	return rows, nil
}

func parseOffsetRow(cells []string) (offsetRow, error) {
	var r offsetRow
	if len(cells) == 4 {
		if r.group, cells = cells[0], cells[1:]; r.group == "" {
			return r, errors.New("the group has no name")
		}
	}
	if len(cells) != 3 {
		return r, fmt.Errorf("%d fields; it must be topic,partition,offset or group,topic,partition,offset", len(cells))
	}
	r.topic = cells[0]
	partition, err := strconv.ParseInt(cells[1], 10, 32)
	if err != nil || partition < 0 {
		return r, fmt.Errorf("%q is not the number of a partition", cells[1])
	}
	if r.offset, err = strconv.ParseInt(cells[2], 10, 64); err != nil || r.offset < 0 {
		return r, fmt.Errorf("%q is not an offset", cells[2])
	}
	if r.partition = int32(partition); r.topic == "" {
		return r, errors.New("the topic has no name")
	}
	return r, nil
}
