package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const defaultBootstrap = "127.0.0.1:9092"

// cluster is the way of a command to the brokers that it talks to.
type cluster struct {
	bootstrap []string
	timeout   time.Duration
}

// addClusterFlags gives cmd, and what is below it, --bootstrap and --timeout.
func addClusterFlags(w world, cmd *cobra.Command) *cluster {
	c := &cluster{bootstrap: []string{defaultBootstrap}}
	for _, kv := range w.environ {
		if v, ok := strings.CutPrefix(kv, "MOLDAU_BOOTSTRAP="); ok && v != "" {
			c.bootstrap = strings.Split(v, ",")
		}
	}
	f := cmd.PersistentFlags()
	f.StringSliceVarP(&c.bootstrap, "bootstrap", "b", c.bootstrap,
		"brokers to ask first, host:port; MOLDAU_BOOTSTRAP sets another default")
	f.DurationVar(&c.timeout, "timeout", 10*time.Second, "how long to wait for an answer")
	return c
}

// connect returns a client that has reached a broker, so that a wrong address is told at once and not by a time-out.
func (c *cluster) connect(ctx context.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	opts = append([]kgo.Opt{kgo.SeedBrokers(c.bootstrap...), kgo.ClientID("moldau")}, opts...)
	cl, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, usageErrorf("%w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	if err := cl.Ping(ctx); err != nil {
		cl.Close()
		return nil, c.explain(err)
	}
	return cl, nil
}

func (c *cluster) explain(err error) error {
	var op *net.OpError
	reason := err.Error()
	if errors.As(err, &op) {
		reason = op.Error()
	}
	return fmt.Errorf("no broker answers at %s (%s); start one with 'moldau serve', or name another with --bootstrap",
		strings.Join(c.bootstrap, ","), reason)
}

// admin runs f with an administration client, within the timeout.
func (c *cluster) admin(ctx context.Context, f func(context.Context, *kadm.Client) error) error {
	return c.groups(ctx, func(ctx context.Context, adm groupAdmin) error { return f(ctx, adm.Client) })
}

// wayOut is what to do about an error, by Kafka's code.
var wayOut = map[int16]string{
	kerr.UnknownTopicOrPartition.Code: "'moldau topic list' shows the topics that are there, 'moldau topic create' makes one",
	kerr.TopicAlreadyExists.Code:      "with --if-not-exists that is no failure",
	kerr.InvalidPartitions.Code:       "'moldau topic describe' shows how many there are; partitions are only ever added",
	kerr.MessageTooLarge.Code: "a batch may have as many bytes as --max-bytes says and the topic's max.message.bytes, " +
		"which 'moldau topic alter TOPIC --config max.message.bytes=N' sets",
	kerr.NonEmptyGroup.Code:          "stop its members first; 'moldau group describe' names them",
	kerr.GroupIDNotFound.Code:        "'moldau group list' shows the groups that are there",
	kerr.UnknownMemberID.Code:        "the group has members; stop them first, 'moldau group describe' names them",
	kerr.GroupSubscribedToTopic.Code: "a member reads the topic; 'moldau group describe --members --verbose' shows which",
}

// brokerError is what a broker answered about a thing: Kafka's name of the error, the broker's own words, and what to do.
func brokerError(what string, err error, message string) error {
	text := message
	var ke *kerr.Error
	if errors.As(err, &ke) {
		if text == "" {
			text = ke.Description
		}
		text = ke.Message + ": " + strings.TrimSuffix(text, ".")
		if hint := wayOut[ke.Code]; hint != "" {
			text += "; " + hint
		}
	} else if text == "" {
		return fmt.Errorf("%s: %w", what, err)
	}
	return fmt.Errorf("%s: %s", what, text)
}

// existing fails unless every topic is there.
func existing(ctx context.Context, adm *kadm.Client, topics []string) error {
	details, err := adm.ListTopicsWithInternal(ctx, topics...)
	if err != nil {
		return err
	}
	var failed []error
	for _, d := range details.Sorted() {
		if d.Err != nil {
			failed = append(failed, brokerError("topic "+d.Topic, d.Err, ""))
		}
	}
	return errors.Join(failed...)
}

// keyValues splits k=v arguments.
func keyValues(flag string, args []string) (map[string]*string, error) {
	m := make(map[string]*string, len(args))
	for _, a := range args {
		k, v, ok := strings.Cut(a, "=")
		if !ok || k == "" {
			return nil, usageErrorf("--%s %q is not of the form key=value", flag, a)
		}
		m[k] = &v
	}
	return m, nil
}

// patiently repeats f while it fails with what passes by itself, as a group's coordinator does that is being made.
func patiently(ctx context.Context, f func() error) error {
	pause := time.NewTicker(100 * time.Millisecond)
	defer pause.Stop()
	for {
		err := f()
		if err == nil || !kerr.IsRetriable(err) {
			return err
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return err
		}
	}
}

// passing is err where it passes by itself, else nil.
func passing(err error) error {
	if err != nil && kerr.IsRetriable(err) {
		return err
	}
	return nil
}
