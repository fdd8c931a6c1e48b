package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"moldau.io/moldau/cluster/link"
)

// devFlags are the flags of dev.
type devFlags struct {
	brokers       int
	data          string
	keep          bool
	listen        string
	clusterListen string
	adminListen   string
	racks         []string
	configFile    string
	set           []string
	verbose       bool
	output        *output
}

const (
	devBrokersMax = 99
	devReadyTime  = time.Minute // until a broker that starts must be ready
	devStopTime   = time.Minute // until one that was told to stop must have done so
)

func newDev(w world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole cluster in one process, and break it",
		Long: "Run a whole cluster in one process on loopback, for development and tests. Brokers and the links between\n" +
			"them are stopped, killed, cut and healed by commands on standard input:\n\n" + devHelp + "\n" +
			"When standard input ends and is no terminal, the cluster goes on until it is interrupted.",
		Args: cobra.NoArgs,
	}
	var f devFlags
	fs := cmd.Flags()
	fs.IntVar(&f.brokers, "brokers", 3, "how many brokers")
	fs.StringVar(&f.data, "data", "",
		"folder for the brokers' data folders, broker-1 and so on; default: a temporary one, removed at the end")
	fs.BoolVar(&f.keep, "keep", false, "keep the temporary folder")
	fs.StringVar(&f.listen, "listen", "127.0.0.1:9092",
		"Kafka address of broker 1; the others take the following ports, or with port 0 any")
	fs.StringVar(&f.clusterListen, "cluster-listen", defaultClusterListen, "cluster address of broker 1, likewise")
	fs.StringVar(&f.adminListen, "admin-listen", defaultAdminListen, "HTTP address of broker 1, likewise; empty: none")
	fs.StringSliceVar(&f.racks, "racks", nil, "racks, to which brokers are given in turn")
	fs.StringVar(&f.configFile, "config", "", "a Kafka server.properties, for all brokers")
	fs.StringArrayVar(&f.set, "set", nil, "one property for all brokers, KEY=VALUE; repeatable")
	fs.BoolVar(&f.verbose, "verbose", false, "show all of the brokers' logs, and not only what is wrong")
	f.output = addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if f.brokers < 1 || f.brokers > devBrokersMax {
			return usageErrorf("--brokers %d: 1 to %d are possible", f.brokers, devBrokersMax)
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		context.AfterFunc(ctx, stop) // a second signal ends the process at once
		tuneMemory(w.environ)
		return dev(ctx, cmd, w, f)
	}
	return cmd
}

// devCluster is a cluster in this process.
type devCluster struct {
	w       world
	f       devFlags
	out     *devOutput
	sw      *link.Switch
	brokers []*devBroker // at the index of their id minus one
	dir     string
	voters  int // that there are when all brokers run
}

// dev runs a cluster until ctx ends or a command ends it.
func dev(ctx context.Context, cmd *cobra.Command, w world, f devFlags) (err error) {
	start := time.Now()
	c := &devCluster{w: w, f: f, out: &devOutput{w: w, json: *f.output == outputJSON}, sw: link.NewSwitch(), dir: f.data}
	if c.dir == "" {
		if c.dir, err = os.MkdirTemp("", "moldau-dev-"); err != nil {
			return fmt.Errorf("a temporary folder for the data: %w; name one with --data", err)
		}
		if !f.keep {
			defer func() { err = errors.Join(err, os.RemoveAll(c.dir)) }()
		}
	}
	if err := c.plan(cmd); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.stopAll()) }()
	if err := c.startAll(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // it was interrupted
		}
		return err
	}
	c.out.say(devEvent{Event: "cluster", ClusterID: c.brokers[0].last.cluster, Bootstrap: c.bootstrap(), Data: c.dir,
		Milliseconds: time.Since(start).Milliseconds()}, "bootstrap="+c.bootstrap())
	return c.prompt(ctx)
}

// plan gives each broker its folder and addresses.
func (c *devCluster) plan(cmd *cobra.Command) error {
	given := func(flag string) bool { return cmd.Flags().Changed(flag) }
	var p ports
	defer func() { p.release() }()
	for i := range c.f.brokers {
		b := &devBroker{c: c, id: i + 1, name: strconv.Itoa(i + 1), dir: filepath.Join(c.dir, fmt.Sprint("broker-", i+1))}
		var errs [3]error
		b.kafka, errs[0] = p.choose(c.f.listen, i, given("listen"))
		b.cluster, errs[1] = p.choose(c.f.clusterListen, i, given("cluster-listen"))
		b.admin, errs[2] = p.choose(c.f.adminListen, i, given("admin-listen"))
		if err := errors.Join(errs[:]...); err != nil {
			return err
		}
		if n := len(c.f.racks); n > 0 {
			b.rack = c.f.racks[i%n]
		}
		c.brokers = append(c.brokers, b)
	}
	return nil
}

// ports holds the ports that have been chosen, until all are.
type ports []net.Listener

func (p ports) release() {
	for _, l := range p {
		_ = l.Close()
	}
}

// choose is the address of a broker by that of the first. Where the operator has not chosen and somebody else has it already,
// it is any that is free.
func (p *ports) choose(first string, i int, given bool) (string, error) {
	if first == "" {
		return "", nil
	}
	host, port, err := net.SplitHostPort(first)
	n, numErr := strconv.ParseUint(port, 10, 16)
	if err := errors.Join(err, numErr); err != nil {
		return "", usageErrorf("%q is not host:port: %w", first, err)
	}
	if n > 0 {
		n += uint64(i)
	}
	addr := net.JoinHostPort(host, strconv.FormatUint(n, 10))
	if n > 0 && given {
		return addr, nil
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		if ln, err = net.Listen("tcp", net.JoinHostPort(host, "0")); err != nil {
			return "", fmt.Errorf("a free port on %s: %w", host, err)
		}
	}
	*p = append(*p, ln)
	return ln.Addr().String(), nil
}

// startAll starts the brokers, and waits until they form a cluster. In a new one the first begins it and the others join; in
// one that was there before, each goes on, and one that has lost its folder joins the others.
func (c *devCluster) startAll(ctx context.Context) error {
	rest := c.brokers
	if !c.exists() {
		if err := c.brokers[0].start(ctx); err != nil {
			return err
		}
		rest = rest[1:]
	}
	for _, b := range rest {
		b.join = c.others(b)
	}
	errs := make([]error, len(rest))
	var wg sync.WaitGroup
	for i, b := range rest {
		wg.Go(func() { errs[i] = b.start(ctx) })
	}
	wg.Wait()
	c.brokers[0].join = c.others(c.brokers[0])
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return c.await(ctx, devReadyTime)
}

// exists says whether a broker has been in one of the folders.
func (c *devCluster) exists() bool {
	for _, b := range c.brokers {
		if entries, err := os.ReadDir(b.dir); err == nil && len(entries) > 0 {
			return true
		}
	}
	return false
}

// others are the cluster addresses of all other brokers.
func (c *devCluster) others(not *devBroker) []string {
	var out []string
	for _, b := range c.brokers {
		if b != not {
			out = append(out, b.cluster)
		}
	}
	return out
}

func (c *devCluster) bootstrap() string {
	var out []string
	for _, b := range c.brokers {
		out = append(out, b.kafka)
	}
	return strings.Join(out, ",")
}

// stopAll ends all brokers at once. None hands anything over, since nobody stays.
func (c *devCluster) stopAll() error {
	c.sw.HealAll()
	errs := make([]error, len(c.brokers))
	var wg sync.WaitGroup
	for i, b := range c.brokers {
		wg.Go(func() { errs[i] = b.end(true) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
