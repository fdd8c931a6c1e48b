package broker

import (
	"log/slog"
	"slices"
	"strings"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// rootLogger is the one logger that moldau has, under the name that Kafka gives to the one above all others.
const rootLogger = "root"

// logLevels are Kafka's names with what they mean to slog.
var logLevels = map[string]slog.Level{
	"TRACE": slog.LevelDebug - 4, "DEBUG": slog.LevelDebug, "INFO": slog.LevelInfo, "WARN": slog.LevelWarn,
	"ERROR": slog.LevelError, "FATAL": slog.LevelError + 4,
}

// loggers is the broker's log level as a configuration that is not kept: a restart begins with the level of the command
// line again, as in Kafka (KIP-412).
type loggers struct{ level *slog.LevelVar }

func (l *loggers) entries() []config.Entry {
	name := l.level.Level().String()
	for n, level := range logLevels {
		if level == l.level.Level() {
			name = n
		}
	}
	return []config.Entry{{Name: rootLogger, Value: &name, Origin: config.FromLogger}}
}

// alter changes the level, or with validateOnly sees whether it could.
func (l *loggers) alter(ops []meta.ConfigOp, validateOnly bool) error {
	for _, op := range ops {
		if op.Op != meta.Set && op.Op != meta.Delete {
			return protocol.Errorf(protocol.InvalidRequest, "a log level is set or deleted, nothing else")
		}
		if op.Key != rootLogger {
			return protocol.Errorf(protocol.InvalidConfig, "there is no logger %q; the only one is %q", op.Key, rootLogger)
		}
		if op.Op == meta.Delete {
			return protocol.Errorf(protocol.InvalidRequest, "the level of %q can be changed, not removed", rootLogger)
		}
		level, ok := logLevels[*op.Value]
		if !ok {
			names := make([]string, 0, len(logLevels))
			for n := range logLevels {
				names = append(names, n)
			}
			slices.Sort(names)
			return protocol.Errorf(protocol.InvalidConfig, "there is no log level %q; there are %s", *op.Value,
				strings.Join(names, ", "))
		}
		if !validateOnly {
			l.level.Set(level)
		}
	}
	return nil
}
