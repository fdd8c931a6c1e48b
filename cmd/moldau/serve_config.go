package main

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"moldau.io/moldau/cluster/config"
)

// serveFlags are the flags of serve as they were given.
type serveFlags struct {
	data             string
	listen           string
	advertise        string
	join             string
	clusterListen    string
	clusterAdvertise string
	nodeID           int32
	rack             string
	adminListen      string
	configFile       string
	set              []string
}

const (
	defaultData          = "./moldau-data"
	defaultClusterListen = "127.0.0.1:9190"
	defaultAdminListen   = "127.0.0.1:9644"
)

func (f *serveFlags) register(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.data, "data", defaultData, "data folder (log.dirs); several disks separated by commas")
	fs.StringVar(&f.listen, "listen", "127.0.0.1:9092", "Kafka listener: host:port, or NAME://host:port,... (listeners)")
	fs.StringVar(&f.advertise, "advertise", "",
		"what clients are told to connect to (advertised.listeners); default: the listener, or on a wildcard listener "+
			"the address that the client reached")
	fs.StringVar(&f.join, "join", "", "cluster address of any running members, host:port,...; default: a cluster of its own")
	fs.StringVar(&f.clusterListen, "cluster-listen", defaultClusterListen, "address for gossip and the metadata quorum")
	fs.StringVar(&f.clusterAdvertise, "cluster-advertise", "",
		"what other brokers dial, where that is not --cluster-listen")
	fs.Int32Var(&f.nodeID, "node-id", 1,
		"id of this broker (node.id); kept in the data folder; default: 1, or with --join one that the cluster gives out")
	fs.StringVar(&f.rack, "rack", "", "where this broker stands (broker.rack)")
	fs.StringVar(&f.adminListen, "admin-listen", defaultAdminListen,
		"HTTP address of metrics, health, profiles and the console")
	fs.StringVar(&f.configFile, "config", "", "a Kafka server.properties, as it is")
	fs.StringArrayVar(&f.set, "set", nil, "one property, KEY=VALUE; repeatable; wins over --config and the environment")
}

// settings is everything that serve was told, from all places.
type settings struct {
	static    *config.Static
	notes     config.Notes
	listeners config.Listeners
	dirs      []string
	clusterID string // to give a new data folder; empty: a fresh one
	admin     string
	adminElse string // where admin is taken; empty: nowhere
	nodeGiven bool   // whether anyone said which id this node has

	join              []string
	begin             int // how many brokers form a cluster that this one begins; 0: it does not
	clusterListen     string
	clusterListenElse string // where clusterListen is taken; empty: nowhere
	clusterAdvertise  string
	clusterKey        []byte
}

// settings puts the places together: flags win over --set, that over the environment, that over the file, and that over
// the defaults.
func (f *serveFlags) settings(cmd *cobra.Command, environ []string) (settings, error) {
	layers := []config.Layer{{Origin: "moldau's default", Values: map[string]string{"listeners": config.DefaultListener}}}
	if f.configFile != "" {
		text, err := os.ReadFile(f.configFile)
		if err != nil {
			return settings{}, usageErrorf("--config: %w", err)
		}
		values, err := config.ParseProperties(text)
		if err != nil {
			return settings{}, usageErrorf("--config %s: %w", f.configFile, err)
		}
		layers = append(layers, config.Layer{Origin: f.configFile, Values: values})
	}
	env := config.ParseEnvironment(environ)
	layers = append(layers, config.Layer{Origin: "the environment", Values: env.Properties})
	set := map[string]string{}
	for _, s := range f.set {
		key, value, ok := strings.Cut(s, "=")
		if key = strings.TrimSpace(key); !ok || key == "" {
			return settings{}, usageErrorf("--set %q is not KEY=VALUE", s)
		}
		set[key] = value
	}
	layers = append(layers, config.Layer{Origin: "--set", Values: set}, f.layer(cmd))

	if !mentions(layers, "log.dirs") && !mentions(layers, "log.dir") {
		layers[0].Values["log.dirs"] = defaultData
	}

	static, notes, err := config.NewStatic(layers...)
	listeners, listenersErr := static.Listeners()
	if err := errors.Join(err, listenersErr, static.Supported()); err != nil {
		return settings{}, usageErrorf("bad configuration:\n%w", err)
	}
	s := settings{static: static, notes: notes, listeners: listeners, clusterID: env.ClusterID}
	if err := s.cluster(f.join); err != nil {
		return settings{}, err
	}
	s.dirs = dataDirs(static)
	s.admin, _ = static.Get("moldau.admin.listen")
	if static.Origin("moldau.admin.listen") == "" {
		s.adminElse = anyPort
	}
	_, node := static.Given("node.id")
	_, older := static.Given("broker.id")
	s.nodeGiven = node || older
	return s, nil
}

// anyPort is where a listener goes whose default address is taken.
const anyPort = "127.0.0.1:0"

// cluster is what this broker needs to reach others.
func (s *settings) cluster(join string) error {
	for addr := range strings.SplitSeq(join, ",") {
		if addr = strings.TrimSpace(addr); addr == "" {
			continue
		}
		if host, port, err := net.SplitHostPort(addr); err != nil || host == "" || port == "" {
			return usageErrorf("--join %q: host:port is wanted, the --cluster-listen address of a running broker", addr)
		}
		s.join = append(s.join, addr)
	}
	s.clusterListen, _ = s.static.Get("moldau.cluster.listen")
	s.clusterAdvertise, _ = s.static.Get("moldau.cluster.advertise")
	if s.static.Origin("moldau.cluster.listen") == "" {
		s.clusterListenElse = anyPort
	}
	if err := s.together(); err != nil {
		return usageErrorf("bad configuration:\n%w", err)
	}
	host, _, err := net.SplitHostPort(s.clusterListen)
	if ip := net.ParseIP(host); err == nil && s.clusterAdvertise == "" && (host == "" || ip != nil && ip.IsUnspecified()) {
		return usageErrorf("--cluster-listen %s is no address that other brokers could dial: add --cluster-advertise HOST:PORT, "+
			"or listen on one address of this machine", s.clusterListen)
	}
	text, _ := s.static.Get("moldau.gossip.key")
	s.clusterKey, err = base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	return err // none: the configuration has been checked
}

// together is for brokers that are all started with the same controller.quorum.voters, as a compose file of the apache/kafka
// image does: the one with the lowest id begins the cluster, the others join it. They use the addresses of the controllers.
func (s *settings) together() error {
	voters, err := s.static.QuorumVoters()
	if err != nil || len(voters) == 0 || len(s.join) > 0 {
		return err
	}
	if l, ok := s.static.ControllerListener(); ok && s.clusterListenElse != "" {
		if l.Host == "" {
			l.Host = "0.0.0.0"
		}
		s.clusterListen = l.Address()
	}
	s.clusterListenElse = ""
	s.begin = len(voters)
	for _, v := range voters {
		switch id := s.static.NodeID(); {
		case v.ID == id && s.clusterAdvertise == "":
			s.clusterAdvertise = v.Addr
		case v.ID < id:
			s.begin = 0
		}
		if v.ID != s.static.NodeID() {
			s.join = append(s.join, v.Addr)
		}
	}
	return nil
}

func mentions(layers []config.Layer, key string) bool {
	return slices.ContainsFunc(layers, func(l config.Layer) bool { _, ok := l.Values[key]; return ok })
}

// layer is the flags that were given, as properties.
func (f *serveFlags) layer(cmd *cobra.Command) config.Layer {
	l := config.Layer{Origin: "a flag", Values: map[string]string{}}
	for flag, p := range map[string]struct{ key, value string }{
		"data":              {"log.dirs", f.data},
		"listen":            {"listeners", named(f.listen)},
		"advertise":         {"advertised.listeners", f.advertise},
		"cluster-listen":    {"moldau.cluster.listen", f.clusterListen},
		"cluster-advertise": {"moldau.cluster.advertise", f.clusterAdvertise},
		"node-id":           {"node.id", fmt.Sprint(f.nodeID)},
		"rack":              {"broker.rack", f.rack},
		"admin-listen":      {"moldau.admin.listen", f.adminListen},
	} {
		if cmd.Flags().Changed(flag) {
			l.Values[p.key] = p.value
		}
	}
	return l
}

// named is a listener in Kafka's form, NAME://host:port.
func named(listener string) string {
	if strings.Contains(listener, "://") {
		return listener
	}
	return "PLAINTEXT://" + listener
}

// dataDirs are the data folders: log.dirs, else log.dir.
func dataDirs(st *config.Static) []string {
	dirs := st.List("log.dirs")
	if len(dirs) == 0 {
		dirs = st.List("log.dir")
	}
	for i, d := range dirs {
		dirs[i] = filepath.Clean(d)
	}
	return dirs
}
