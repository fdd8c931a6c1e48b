package main

import (
	"encoding/json"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// kafkaCompat is the release of Apache Kafka whose behaviour moldau follows.
const kafkaCompat = "4.4.0"

// build is what there is to know about the running binary.
type build struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	Kafka   string `json:"kafka"`
}

// thisBuild reads what the Go tool wrote into the binary. A build outside of a module version or of a repository says
// "devel" and "unknown".
func thisBuild() build {
	b := build{Version: "devel", Commit: "unknown", Go: runtime.Version(), Kafka: kafkaCompat}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	modified := ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			b.Commit = s.Value
		case s.Key == "vcs.modified" && s.Value == "true":
			modified = " (modified)"
		}
	}
	b.Commit += modified
	return b
}

func newVersion(w world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version, the commit, and the Kafka release that is followed",
		Args:  cobra.NoArgs,
	}
	out := addOutputFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		b := thisBuild()
		if *out == outputJSON {
			return json.NewEncoder(w.stdout).Encode(b)
		}
		_, err := fmt.Fprintf(w.stdout, "version  %s\ncommit   %s\ngo       %s\nkafka    %s\n",
			b.Version, b.Commit, b.Go, b.Kafka)
		return err
	}
	return cmd
}
