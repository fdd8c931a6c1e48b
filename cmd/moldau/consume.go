package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

type consumeOptions struct {
	from, since string
	group       string
	protocol    string
	partitions  []int32
	count       int
	exit        bool
	format      string
	committed   bool
}

func newConsume(w world) *cobra.Command {
	var o consumeOptions
	cmd := &cobra.Command{
		Use:   "consume TOPIC...",
		Short: "Print records as they come",
		Long: "Print records as they come, until interrupted, until -n records were printed, or with -e until what was there\n" +
			"at the start has been printed. In a group, --from and --since count only where nothing is committed yet.\n" +
			"With -o json each record is an object on a line of its own, as 'moldau produce --input json' takes it; keys,\n" +
			"values and headers that are not UTF-8 are in base64, under names that end in _base64.",
		Example: "  moldau consume rides --from beginning -e\n" +
			"  moldau consume rides --since 5m -o json\n" +
			"  moldau consume rides --from -10 -f '%p@%o %k=%v\\n'\n" +
			"  moldau consume rides --group database\n" +
			"  moldau consume rides --from beginning -e -o json | moldau produce copy-of-rides --input json",
		Args: cobra.MinimumNArgs(1),
	}
	c := addClusterFlags(w, cmd)
	f := cmd.Flags()
	f.StringVar(&o.from, "from", "end", "beginning, end, an offset, or -N for the last N records of each partition")
	f.StringVar(&o.since, "since", "", "from the first record not older than this: 5m, or 2026-11-21T10:00:00Z")
	f.StringVarP(&o.group, "group", "g", "", "consume as a member of this group, and commit")
	f.StringVar(&o.protocol, "group-protocol", "classic", "how to be a member: classic, or consumer, where the broker assigns")
	f.Int32SliceVarP(&o.partitions, "partition", "p", nil, "only these partitions; not in a group")
	f.IntVarP(&o.count, "count", "n", 0, "end after so many records")
	f.BoolVarP(&o.exit, "exit", "e", false, "end when all that was there at the start is printed")
	f.StringVarP(&o.format, "format", "f", "%v\n", "how to print: %t topic, %p partition, %o offset, %k key, %v value, "+
		"%h{%k=%v } headers, %d timestamp; \\n and \\t as in C")
	f.BoolVar(&o.committed, "read-committed", false, "leave out records of transactions that are open or were aborted")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, topics []string) error {
		print, err := recordPrinter(*out, o.format)
		if err != nil {
			return err
		}
		opts, err := o.clientOptions(topics)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		cl, err := c.connect(ctx, opts...)
		if err != nil {
			return err
		}
		defer cl.Close()
		if err := existing(ctx, kadm.NewClient(cl), topics); err != nil {
			return err // otherwise the client waits for the topic to be made
		}
		return o.run(ctx, w, cl, topics, print)
	}
	return cmd
}

func (o *consumeOptions) clientOptions(topics []string) ([]kgo.Opt, error) {
	where, err := parseFrom("from", o.from)
	if o.since != "" {
		where, err = parseSince(o.since, time.Now())
	}
	if err != nil {
		return nil, err
	}
	if o.group != "" && len(o.partitions) > 0 {
		return nil, usageErrorf("--partition cannot be used with --group, which gives out the partitions")
	}
	if o.protocol != "classic" && o.protocol != "consumer" {
		return nil, usageErrorf("--group-protocol %q: it must be classic or consumer", o.protocol)
	}
	opts := []kgo.Opt{
		kgo.ConsumeResetOffset(where.offset),
		kgo.KeepControlRecords(), // not printed, but -e has to see that they came
	}
	if o.committed {
		opts = append(opts, kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	}
	switch {
	case o.group != "":
		if o.protocol == "consumer" {
			opts = append(opts, kgo.ServerSideBalancer())
		}
		// What is committed is what was printed: marked one by one.
		opts = append(opts, kgo.ConsumerGroup(o.group), kgo.ConsumeTopics(topics...), kgo.AutoCommitMarks())
	case len(o.partitions) > 0:
		chosen := map[string]map[int32]kgo.Offset{}
		for _, t := range topics {
			chosen[t] = map[int32]kgo.Offset{}
			for _, p := range o.partitions {
				chosen[t][p] = where.offset
			}
		}
		opts = append(opts, kgo.ConsumePartitions(chosen))
	default:
		opts = append(opts, kgo.ConsumeTopics(topics...))
	}
	return opts, nil
}

// run prints until there is a reason to end.
func (o *consumeOptions) run(ctx context.Context, w world, cl *kgo.Client, topics []string, print func(io.Writer, *kgo.Record) error) error {
	left, err := o.remaining(ctx, cl, topics)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(w.stdout)
	defer out.Flush()
	printed := 0
	for {
		if o.exit && left.none() {
			break
		}
		fetches := cl.PollFetches(ctx)
		if ctx.Err() != nil {
			break // interrupted: what was printed is committed below
		}
		if err := fatal(fetches); err != nil {
			return err
		}
		for it := fetches.RecordIter(); !it.Done(); {
			r := it.Next()
			if o.exit && !left.take(r) {
				continue // came after the start
			}
			cl.MarkCommitRecords(r)
			if r.Attrs.IsControl() {
				continue
			}
			if err := print(out, r); err != nil {
				return err
			}
			if printed++; printed == o.count {
				return o.finish(w, cl, out)
			}
		}
		if err := out.Flush(); err != nil {
			return err
		}
	}
	return o.finish(w, cl, out)
}

// finish flushes and, in a group, commits what was printed.
func (o *consumeOptions) finish(w world, cl *kgo.Client, out *bufio.Writer) error {
	if err := out.Flush(); err != nil {
		return err
	}
	if o.group == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := cl.CommitMarkedOffsets(ctx); err != nil {
		return fmt.Errorf("commit in group %s: %w", o.group, err)
	}
	return nil
}

// fatal is the first error of fetches that waiting does not mend.
func fatal(fetches kgo.Fetches) error {
	for _, e := range fetches.Errors() {
		if errors.Is(e.Err, context.Canceled) {
			continue
		}
		if e.Topic == "" {
			return e.Err
		}
		return brokerError(fmt.Sprintf("topic %s, partition %d", e.Topic, e.Partition), e.Err, "")
	}
	return nil
}

// remaining is, by partition, the end offset that -e reads to; partitions that are done are left out.
type remaining map[string]map[int32]int64

func (o *consumeOptions) remaining(ctx context.Context, cl *kgo.Client, topics []string) (remaining, error) {
	if !o.exit {
		return nil, nil
	}
	adm := kadm.NewClient(cl)
	list := adm.ListEndOffsets
	if o.committed {
		list = adm.ListCommittedOffsets // an open transaction may stay open
	}
	ends, err := list(ctx, topics...)
	if err != nil {
		return nil, err
	}
	starts, err := o.starts(ctx, adm, topics)
	if err != nil {
		return nil, err
	}
	left := remaining{}
	var failed error
	ends.Each(func(e kadm.ListedOffset) {
		if e.Err != nil {
			failed = errors.Join(failed, brokerError("topic "+e.Topic, e.Err, ""))
			return
		}
		if len(o.partitions) > 0 && !slices.Contains(o.partitions, e.Partition) {
			return
		}
		if start := starts(e); start < e.Offset {
			if left[e.Topic] == nil {
				left[e.Topic] = map[int32]int64{}
			}
			left[e.Topic][e.Partition] = e.Offset
		}
	})
	return left, failed
}

// starts says where reading begins in each partition: the group's commit if there is one, else --from or --since.
func (o *consumeOptions) starts(ctx context.Context, adm *kadm.Client, topics []string) (func(end kadm.ListedOffset) int64, error) {
	where, err := parseFrom("from", o.from)
	if o.since != "" {
		where, err = parseSince(o.since, time.Now())
	}
	if err != nil {
		return nil, err
	}
	first, err := adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	var times kadm.ListedOffsets
	if o.since != "" {
		if times, err = adm.ListOffsetsAfterMilli(ctx, where.millis, topics...); err != nil {
			return nil, err
		}
	}
	var committed kadm.OffsetResponses
	if o.group != "" {
		err := patiently(ctx, func() (err error) {
			committed, err = adm.FetchOffsets(ctx, o.group)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	return func(end kadm.ListedOffset) int64 {
		if c, ok := committed.Lookup(end.Topic, end.Partition); ok && c.At >= 0 {
			return c.At
		}
		if at, ok := times.Lookup(end.Topic, end.Partition); ok {
			return at.Offset
		}
		start, _ := first.Lookup(end.Topic, end.Partition)
		return where.in(start.Offset, end.Offset)
	}, nil
}

func (l remaining) none() bool { return len(l) == 0 }

// take notes that r was read, and says whether it was there at the start.
func (l remaining) take(r *kgo.Record) bool {
	end, ok := l[r.Topic][r.Partition]
	if !ok || r.Offset >= end {
		return false
	}
	if r.Offset == end-1 {
		delete(l[r.Topic], r.Partition)
		if len(l[r.Topic]) == 0 {
			delete(l, r.Topic)
		}
	}
	return true
}

// recordView is a record as JSON. A key or value that is not UTF-8 comes in base64, under another name.
type recordView struct {
	Topic       string       `json:"topic"`
	Partition   int32        `json:"partition"`
	Offset      int64        `json:"offset"`
	Timestamp   string       `json:"timestamp"`
	Key         *string      `json:"key,omitempty"`
	KeyBase64   []byte       `json:"key_base64,omitempty"`
	Value       *string      `json:"value"`
	ValueBase64 []byte       `json:"value_base64,omitempty"`
	Headers     []headerView `json:"headers,omitempty"`
}

type headerView struct {
	Key         string  `json:"key"`
	Value       *string `json:"value"`
	ValueBase64 []byte  `json:"value_base64,omitempty"`
}

func recordPrinter(o output, format string) (func(io.Writer, *kgo.Record) error, error) {
	if o == outputJSON {
		return func(w io.Writer, r *kgo.Record) error {
			e := json.NewEncoder(w)
			e.SetEscapeHTML(false)
			return e.Encode(viewRecord(r))
		}, nil
	}
	f, err := kgo.NewRecordFormatter(format)
	if err != nil {
		return nil, usageErrorf("--format %q: %w", format, err)
	}
	return func(w io.Writer, r *kgo.Record) error {
		_, err := w.Write(f.AppendRecord(nil, r))
		return err
	}, nil
}

func viewRecord(r *kgo.Record) recordView {
	v := recordView{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UTC().Format(time.RFC3339Nano)}
	v.Key, v.KeyBase64 = textOrBytes(r.Key)
	v.Value, v.ValueBase64 = textOrBytes(r.Value)
	for _, h := range r.Headers {
		view := headerView{Key: h.Key}
		view.Value, view.ValueBase64 = textOrBytes(h.Value)
		v.Headers = append(v.Headers, view)
	}
	return v
}

func textOrBytes(b []byte) (*string, []byte) {
	switch {
	case b == nil:
		return nil, nil
	case utf8.Valid(b):
		s := string(b)
		return &s, nil
	default:
		return nil, b
	}
}
