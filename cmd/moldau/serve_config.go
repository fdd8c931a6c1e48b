package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"moldau.io/moldau/cluster/config"
)

// serveFlags are the flags of serve as they were given.
type serveFlags struct {
	data          string
	listen        string
	advertise     string
	join          string
	clusterListen string
	nodeID        int32
	rack          string
	adminListen   string
	configFile    string
	set           []string
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
	fs.StringVar(&f.join, "join", "", "cluster address of running members, host:port,...; default: a cluster of one")
	fs.StringVar(&f.clusterListen, "cluster-listen", defaultClusterListen, "address for gossip and the metadata quorum")
	fs.Int32Var(&f.nodeID, "node-id", 1, "id of this broker (node.id); kept in the data folder")
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
	nodeGiven bool // whether anyone said which id this node has
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
	if f.join != "" {
		return settings{}, usageErrorf("--join %s: clusters of more than one broker are not there yet; "+
			"leave it out to run a cluster of one", f.join)
	}
	s.dirs = dataDirs(static)
	s.admin, _ = static.Get("moldau.admin.listen")
	_, node := static.Given("node.id")
	_, older := static.Given("broker.id")
	s.nodeGiven = node || older
	return s, nil
}

func mentions(layers []config.Layer, key string) bool {
	return slices.ContainsFunc(layers, func(l config.Layer) bool { _, ok := l.Values[key]; return ok })
}

// layer is the flags that were given, as properties.
func (f *serveFlags) layer(cmd *cobra.Command) config.Layer {
	l := config.Layer{Origin: "a flag", Values: map[string]string{}}
	for flag, p := range map[string]struct{ key, value string }{
		"data":           {"log.dirs", f.data},
		"listen":         {"listeners", named(f.listen)},
		"advertise":      {"advertised.listeners", f.advertise},
		"cluster-listen": {"moldau.cluster.listen", f.clusterListen},
		"node-id":        {"node.id", fmt.Sprint(f.nodeID)},
		"rack":           {"broker.rack", f.rack},
		"admin-listen":   {"moldau.admin.listen", f.adminListen},
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
