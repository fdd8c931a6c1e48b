package main

import "github.com/spf13/cobra"

// newLog is the parent of the commands about logs and data folders: dump and verify read folders, dirs and move ask a broker.
func newLog(w world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "Look into data folders: print, check and repair what is in them, and move logs between them",
		Args:  cobra.NoArgs,
		RunE:  helpOrUsage,
	}
	cmd.AddCommand(logCommands(w)...)
	return cmd
}

// logCommands are the commands below `moldau log`, each in a file of its own.
func logCommands(w world) []*cobra.Command {
	return []*cobra.Command{
		newLogDump(w), newLogVerify(w), newLogRepair(w), newLogScrub(w), newLogDirs(w), newLogMove(w),
	}
}
