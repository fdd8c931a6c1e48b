package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"sort"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kgo"
)

const lineBytesMax = 64 << 20

type produceOptions struct {
	key         string
	separator   string
	headers     []string
	partition   int32
	compression string
	acks        string
	input       string
	tombstone   bool
	maxBytes    int32
}

func newProduce(w world) *cobra.Command {
	var o produceOptions
	cmd := &cobra.Command{
		Use:   "produce TOPIC",
		Short: "Send each line of standard input as a record",
		Long: "Send each line of standard input as a record. With --input json a line is an object with value, and as you\n" +
			"like key, headers (an object, or a list of key and value), timestamp (milliseconds, or 2026-11-21T10:00:00Z)\n" +
			"and the partition to send it to; a value of null is a tombstone, a value that is no string is sent as its JSON. It takes what\n" +
			"'moldau consume -o json' prints. With -o json each record that was acknowledged is printed.",
		Example: "  echo hello | moldau produce rides\n" +
			"  echo 'rider-7:{\"lat\":50.08}' | moldau produce rides --key-separator :\n" +
			"  echo '{\"key\":\"rider-7\",\"value\":{\"lat\":50.08}}' | moldau produce rides --input json\n" +
			"  moldau produce rides --key rider-7 --header source=replay --compression zstd <updates.txt",
		Args: cobra.ExactArgs(1),
	}
	c := addClusterFlags(w, cmd)
	f := cmd.Flags()
	f.StringVarP(&o.key, "key", "k", "", "the key of every record")
	f.StringVarP(&o.separator, "key-separator", "K", "", "split each line into key and value at the first of these")
	f.StringArrayVarP(&o.headers, "header", "H", nil, "a header of every record, key=value; may be given more than once")
	f.Int32VarP(&o.partition, "partition", "p", -1, "send to this partition; -1 chooses by key")
	f.StringVarP(&o.compression, "compression", "z", "none", "none, gzip, snappy, lz4 or zstd")
	f.StringVar(&o.acks, "acks", "all", "who must have a record before it counts as sent: all, 1 or 0")
	f.StringVar(&o.input, "input", "lines", "what standard input holds: lines or json")
	f.BoolVarP(&o.tombstone, "tombstone", "T", false, "an empty value is sent as null, which deletes the key in a compacted topic")
	f.Int32Var(&o.maxBytes, "max-bytes", 1_000_000, "largest batch to send; a topic's max.message.bytes is what it takes")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opts, err := o.clientOptions(args[0])
		if err != nil {
			return err
		}
		parse, err := o.parser(cmd.Flags().Changed("key"))
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
		return send(ctx, w, cl, parse, *out)
	}
	return cmd
}

func (o *produceOptions) clientOptions(topic string) ([]kgo.Opt, error) {
	codecs := map[string]kgo.CompressionCodec{
		"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
	}
	codec, ok := codecs[o.compression]
	if !ok {
		return nil, usageErrorf("--compression %q: it must be none, gzip, snappy, lz4 or zstd", o.compression)
	}
	opts := []kgo.Opt{kgo.DefaultProduceTopic(topic), kgo.ProducerBatchCompression(codec), kgo.AllowAutoTopicCreation(),
		kgo.ProducerBatchMaxBytes(o.maxBytes), kgo.RecordRetries(20),
		kgo.RecordPartitioner(chosenOrByKey{kgo.StickyKeyPartitioner(nil)})}
	switch o.acks {
	case "all", "-1":
	case "1":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	default:
		return nil, usageErrorf("--acks %q: it must be all, 1 or 0", o.acks)
	}
	return opts, nil
}

// parser turns a line into a record.
func (o *produceOptions) parser(keyGiven bool) (func(line []byte) (*kgo.Record, error), error) {
	headers, err := keyValues("header", o.headers)
	if err != nil {
		return nil, err
	}
	base := kgo.Record{Partition: o.partition}
	names := make([]string, 0, len(headers))
	for k := range headers {
		names = append(names, k)
	}
	sort.Strings(names)
	for _, k := range names {
		base.Headers = append(base.Headers, kgo.RecordHeader{Key: k, Value: []byte(*headers[k])})
	}
	if keyGiven {
		base.Key = []byte(o.key)
	}
	switch o.input {
	case "lines":
		return func(line []byte) (*kgo.Record, error) { return o.lineRecord(base, line) }, nil
	case "json":
		return func(line []byte) (*kgo.Record, error) { return jsonRecord(base, line) }, nil
	}
	return nil, usageErrorf("--input %q: it must be lines or json", o.input)
}

func (o *produceOptions) lineRecord(r kgo.Record, line []byte) (*kgo.Record, error) {
	value := bytes.Clone(line)
	if o.separator != "" {
		k, v, ok := bytes.Cut(value, []byte(o.separator))
		if !ok {
			return nil, fmt.Errorf("there is no key separator %q in it", o.separator)
		}
		r.Key, value = k, v
	}
	if len(value) == 0 && o.tombstone {
		value = nil
	} else if value == nil {
		value = []byte{}
	}
	r.Value = value
	return &r, nil
}

// jsonLine is a record as --input json takes it, and as consume -o json prints it.
type jsonLine struct {
	Key         *string         `json:"key"`
	KeyBase64   []byte          `json:"key_base64"`
	Value       json.RawMessage `json:"value"`
	ValueBase64 []byte          `json:"value_base64"`
	Headers     jsonHeaders     `json:"headers"`
	Timestamp   json.RawMessage `json:"timestamp"`
	Partition   *int32          `json:"partition"`

	// Where a record came from. It goes to the topic that the command names.
	Topic  string `json:"topic"`
	Offset int64  `json:"offset"`
}

// jsonHeaders are headers as an object, or as a list where a key may come twice.
type jsonHeaders []headerView

func (h *jsonHeaders) UnmarshalJSON(raw []byte) error {
	var object map[string]*string
	if err := json.Unmarshal(raw, &object); err != nil {
		return json.Unmarshal(raw, (*[]headerView)(h))
	}
	for _, k := range slices.Sorted(maps.Keys(object)) {
		*h = append(*h, headerView{Key: k, Value: object[k]})
	}
	return nil
}

func jsonRecord(r kgo.Record, line []byte) (*kgo.Record, error) {
	var l jsonLine
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return nil, fmt.Errorf("not a record: %w", err)
	}
	switch {
	case l.Key != nil:
		r.Key = []byte(*l.Key)
	case l.KeyBase64 != nil:
		r.Key = l.KeyBase64
	}
	var text string
	switch {
	case l.ValueBase64 != nil:
		r.Value = l.ValueBase64
	case len(l.Value) == 0 || string(l.Value) == "null":
	case json.Unmarshal(l.Value, &text) == nil:
		r.Value = []byte(text)
	default:
		r.Value = l.Value
	}
	r.Headers = r.Headers[:len(r.Headers):len(r.Headers)] // the flags' are every record's
	for _, h := range l.Headers {
		value := h.ValueBase64
		if h.Value != nil {
			value = []byte(*h.Value)
		}
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: h.Key, Value: value})
	}
	if l.Partition != nil {
		if *l.Partition < 0 {
			return nil, fmt.Errorf("partition %d is below 0", *l.Partition)
		}
		r.Partition = *l.Partition
	}
	var err error
	r.Timestamp, err = jsonTime(l.Timestamp)
	return &r, err
}

// chosenOrByKey sends a record to the partition that was named for it, and by its key where none was.
type chosenOrByKey struct{ byKey kgo.Partitioner }

func (p chosenOrByKey) ForTopic(topic string) kgo.TopicPartitioner {
	return chosenOrByKeyTopic{p.byKey.ForTopic(topic)}
}

type chosenOrByKeyTopic struct{ byKey kgo.TopicPartitioner }

func (p chosenOrByKeyTopic) RequiresConsistency(r *kgo.Record) bool {
	return r.Partition >= 0 || p.byKey.RequiresConsistency(r)
}

func (p chosenOrByKeyTopic) Partition(r *kgo.Record, partitions int) int {
	if r.Partition >= 0 {
		return int(r.Partition) // of one that is not there the client says so
	}
	return p.byKey.Partition(r, partitions)
}

func (p chosenOrByKeyTopic) OnNewBatch() {
	if b, ok := p.byKey.(kgo.TopicPartitionerOnNewBatch); ok {
		b.OnNewBatch()
	}
}

func jsonTime(raw json.RawMessage) (time.Time, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return time.Time{}, nil
	}
	var millis int64
	if json.Unmarshal(raw, &millis) == nil {
		return time.UnixMilli(millis), nil
	}
	var t time.Time
	if err := json.Unmarshal(raw, &t); err != nil {
		return t, fmt.Errorf("timestamp %s is neither milliseconds nor a moment as 2026-11-21T10:00:00Z", raw)
	}
	return t, nil
}

// sent counts what became of the records.
type sent struct {
	sync.Mutex
	ok     int
	failed int
	first  error
}

// send reads lines until the end of the input and waits until each is acknowledged or refused.
func send(ctx context.Context, w world, cl *kgo.Client, parse func([]byte) (*kgo.Record, error), o output) error {
	var s sent
	out := bufio.NewWriter(w.stdout)
	lines := bufio.NewReaderSize(w.stdin, 64<<10)
	for n := 1; ctx.Err() == nil; n++ {
		line, err := readLine(lines)
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		r, err := parse(line)
		if err != nil {
			_ = cl.Flush(ctx)
			return fmt.Errorf("line %d: %w; the lines before it were sent", n, err)
		}
		cl.Produce(ctx, r, func(r *kgo.Record, err error) {
			s.Lock()
			defer s.Unlock()
			if err != nil {
				s.failed++
				if s.first == nil {
					s.first = err
				}
				return
			}
			s.ok++
			if o == outputJSON {
				_ = json.NewEncoder(out).Encode(map[string]any{"topic": r.Topic, "partition": r.Partition, "offset": r.Offset})
			}
		})
	}
	if err := cl.Flush(ctx); err != nil {
		return fmt.Errorf("interrupted with %d records acknowledged: %w", s.ok, err)
	}
	if err := out.Flush(); err != nil {
		return err
	}
	if s.failed > 0 {
		return brokerError(fmt.Sprintf("%d of %d records were refused", s.failed, s.ok+s.failed), s.first, "")
	}
	fmt.Fprintf(w.stderr, "%d records sent\n", s.ok)
	return nil
}

// readLine returns the next line without its end. The slice is valid until the next call.
func readLine(r *bufio.Reader) ([]byte, error) {
	line, err := r.ReadSlice('\n')
	if err == bufio.ErrBufferFull {
		whole := bytes.Clone(line)
		for err == bufio.ErrBufferFull {
			if len(whole) > lineBytesMax {
				return nil, fmt.Errorf("it is longer than %d bytes", lineBytesMax)
			}
			line, err = r.ReadSlice('\n')
			whole = append(whole, line...)
		}
		line = whole
	}
	if err != nil && (err != io.EOF || len(line) == 0) {
		return nil, err
	}
	return []byte(strings.TrimSuffix(strings.TrimSuffix(string(line), "\n"), "\r")), nil
}
