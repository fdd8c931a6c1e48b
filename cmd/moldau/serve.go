package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"moldau.io/moldau/broker"
	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/link"
	"moldau.io/moldau/console"
	"moldau.io/moldau/storage"
	"moldau.io/moldau/storage/vfs"
)

func newServe(w world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Start a broker",
		Long: "Start a broker. It needs no configuration: without any it listens on " + config.DefaultListener +
			" and keeps its data in " + defaultData + ".\n\n" +
			"Settings come from flags, then --set, then the environment of the apache/kafka image (KAFKA_NUM_PARTITIONS=6), " +
			"then --config, then Kafka's defaults; the first that says something wins.",
		Args: cobra.NoArgs,
	}
	var f serveFlags
	f.register(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		start := time.Now()
		s, err := f.settings(cmd, w.environ)
		if err != nil {
			return err
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		context.AfterFunc(ctx, stop) // a second signal ends the process at once
		return serve(ctx, w, s, start)
	}
	return cmd
}

// server is a broker with its sockets and its console.
type server struct {
	w     world
	s     settings
	log   *slog.Logger
	start time.Time

	network link.Network // how it listens and reaches other brokers
	fs      vfs.FS
	ready   func(readyState) // told once

	broker    *broker.Broker
	listeners []broker.Listener
	admin     net.Listener // nil: none
}

// readyState is what there is to say of a broker that is ready.
type readyState struct {
	node    int32
	cluster string // its id
	kafka   string // addresses
	admin   string
	took    time.Duration
}

// open opens the broker and its sockets. The folder comes before the sockets: a second broker on the same folder should
// be told so, not that its port is taken.
func (sv *server) open(ctx context.Context, level *slog.LevelVar) error {
	s := sv.s
	b, err := broker.New(ctx, broker.Config{
		Static: s.static, NodeGiven: s.nodeGiven, FS: sv.fs, Dirs: s.dirs, ClusterID: s.clusterID,
		Join: s.join, Begin: s.begin, ClusterListen: s.clusterListen, ClusterListenElse: s.clusterListenElse,
		ClusterAdvertise: s.clusterAdvertise, ClusterKey: s.clusterKey, Network: sv.network,
		Log: sv.log, Level: level, Version: thisBuild().Version,
	})
	if err != nil {
		return openError(s.dirs, err)
	}
	sv.broker = b
	if err := sv.listen(ctx); err != nil {
		sv.closeSockets()
		return errors.Join(err, b.Close())
	}
	return nil
}

// serve runs a broker until ctx ends.
func serve(ctx context.Context, w world, s settings, start time.Time) error {
	level := new(slog.LevelVar)
	log := slog.New(slog.NewTextHandler(w.stderr, &slog.HandlerOptions{Level: level}))
	tuneMemory(w.environ)
	sv := &server{w: w, s: s, log: log, start: start, network: link.OS(), fs: vfs.OS()}
	sv.ready = func(r readyState) {
		fmt.Fprintf(w.stderr, "ready node=%d cluster=%s kafka=%s admin=%s start=%s\n", r.node, r.cluster, r.kafka, r.admin,
			r.took.Round(time.Millisecond))
	}
	sv.sayNotes()
	if err := sv.open(ctx, level); ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		log.Info("stopped before it had joined")
		return nil
	} else if err != nil {
		return err
	}
	return sv.run(ctx)
}

// openError says what is wrong with the data folders and what can be done.
func openError(dirs []string, err error) error {
	what := "cannot use the data folder " + strings.Join(dirs, ", ")
	var (
		locked   *vfs.LockedError
		unusable *storage.UnusableError
	)
	switch {
	case errors.Is(err, broker.ErrJoin), errors.Is(err, broker.ErrNodeIDInUse):
		return err
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w; choose another cluster address with --cluster-listen", err)
	case errors.As(err, &locked):
		return dataErrorf("%s: %w; stop that one, or give this broker a folder of its own with --data", what, err)
	case errors.Is(err, broker.ErrOtherCluster):
		return dataErrorf("%s: %w; give this broker the folder of its own cluster with --data, or unset CLUSTER_ID", what, err)
	case errors.Is(err, syscall.EROFS):
		return dataErrorf("%s: %w; mount it for writing, or choose another with --data", what, err)
	case errors.Is(err, fs.ErrPermission):
		return dataErrorf("%s: %w; make it writable for this user, or choose another with --data", what, err)
	case errors.As(err, &unusable) && unusable.Do != "":
		return dataErrorf("%s: %w. %s Another data folder is named with --data.", what, err, unusable.Do)
	}
	return dataErrorf("%s: %w; put it in order, restore it from a copy, or choose another with --data",
		what, err)
}

// sayNotes names once what of the configuration does nothing.
func (sv *server) sayNotes() {
	if keys := sv.s.notes.NoEffect; len(keys) > 0 {
		sv.log.Info("accepted, but has no effect here", "keys", strings.Join(keys, ","))
	}
	if keys := sv.s.notes.Unknown; len(keys) > 0 {
		sv.log.Warn("unknown to Kafka and to moldau", "keys", strings.Join(keys, ","))
	}
	if len(sv.s.clusterKey) == 0 && !loopback(sv.s.clusterListen) {
		sv.log.Warn("whoever reaches the cluster address can join the cluster, and read what brokers say to each other; give all "+
			"brokers the same moldau.gossip.key, or keep others away from this address", "address", sv.s.clusterListen)
	}
}

// loopback says that nobody but this machine reaches an address. An empty one is none.
func loopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// listen opens the sockets.
func (sv *server) listen(ctx context.Context) error {
	for i, l := range sv.s.listeners.Kafka {
		ln, err := sv.network.Listen(ctx, l.Address())
		if err != nil {
			return fmt.Errorf("cannot listen for Kafka clients on %s: %w; choose another address with --listen", l.Address(),
				cause(err))
		}
		told := sv.s.listeners.Advertised[i]
		if told.Port == 0 {
			told.Port = int32(ln.Addr().(*net.TCPAddr).Port)
		}
		sv.listeners = append(sv.listeners, broker.Listener{Listener: ln, Advertised: told})
	}
	return sv.listenAdmin()
}

// listenAdmin opens the HTTP listener. Where the operator has not chosen its address, and somebody has it already, any other
// will do: a second broker on the machine should not need to be told where.
func (sv *server) listenAdmin() error {
	if sv.s.admin == "" {
		return nil
	}
	ln, err := net.Listen("tcp", sv.s.admin)
	if errors.Is(err, syscall.EADDRINUSE) && sv.s.adminElse != "" {
		if ln, err = net.Listen("tcp", sv.s.adminElse); err == nil {
			sv.log.Info("the default address for HTTP is taken, so another is used; choose one with --admin-listen",
				"taken", sv.s.admin, "address", ln.Addr().String())
		}
	}
	if err != nil {
		return fmt.Errorf("cannot listen for HTTP on %s: %w; choose another address with --admin-listen, or none with "+
			"--admin-listen=", sv.s.admin, cause(err))
	}
	sv.admin = ln
	return nil
}

// cause leaves the address out of a net error, since the sentence around it has it already.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func (sv *server) closeSockets() {
	for _, l := range sv.listeners {
		_ = l.Close()
	}
	if sv.admin != nil {
		_ = sv.admin.Close()
	}
}

// run serves until ctx ends, or until the broker cannot go on.
func (sv *server) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	defer wg.Wait()

	if sv.admin != nil {
		web := console.Server(sv.broker, sv.broker.Metrics(), sv.log)
		wg.Go(func() {
			if err := web.Serve(sv.admin); !errors.Is(err, http.ErrServerClosed) {
				sv.log.Error("the admin listener has stopped", "err", err)
			}
		})
		defer web.Close()
	}
	wg.Go(func() { sv.announce(ctx) })
	err := sv.broker.Serve(ctx, sv.listeners...)
	cancel()
	if err != nil {
		return fmt.Errorf("the broker has stopped: %w", err)
	}
	sv.log.Info("stopped")
	return nil
}

// announce waits until a client would be answered, says so, and then looks whether clients can follow what they are told.
func (sv *server) announce(ctx context.Context) {
	if sv.broker.AwaitReady(ctx) != nil {
		return // it ends before that
	}
	var addresses []string
	for i, l := range sv.listeners {
		if err := awaitAnswer(ctx, l.Addr()); err != nil {
			if ctx.Err() == nil {
				sv.log.Error("this broker does not answer itself", "listener", l.Addr().String(), "err", err)
			}
			return
		}
		addresses = append(addresses, sv.address(i))
	}
	admin := "none"
	if sv.admin != nil {
		admin = sv.admin.Addr().String()
	}
	status := sv.broker.NodeStatus()
	sv.ready(readyState{
		node: status.ID, cluster: status.ClusterID, kafka: strings.Join(addresses, ","), admin: admin, took: time.Since(sv.start),
	})
	for _, l := range sv.listeners {
		sv.checkAdvertised(ctx, l, status)
	}
}

// address is where listener i can be found: the host that was asked for, with the port that it got.
func (sv *server) address(i int) string {
	asked := sv.s.listeners.Kafka[i]
	if asked.Host == "" {
		asked.Host = "0.0.0.0"
	}
	asked.Port = int32(sv.listeners[i].Addr().(*net.TCPAddr).Port)
	return asked.Address()
}

// checkAdvertised dials what clients are told, where that is not simply the listener, and says so if it leads nowhere or
// to another broker.
func (sv *server) checkAdvertised(ctx context.Context, l broker.Listener, status broker.NodeStatus) {
	told := l.Advertised.Address()
	if l.Advertised.Host == "" || told == l.Addr().String() {
		return
	}
	cluster, err := askCluster(ctx, told)
	switch {
	case ctx.Err() != nil:
	case err != nil:
		sv.log.Warn("clients are told to connect to an address that this machine cannot reach; if they cannot either, set "+
			"--advertise", "listener", l.Advertised.Name, "advertised", told, "err", err)
	case cluster != status.ClusterID:
		sv.log.Warn("clients are told to connect to an address at which another cluster answers; set --advertise",
			"listener", l.Advertised.Name, "advertised", told, "cluster", cluster)
	}
}
