package quorum

import (
	"context"
	"fmt"
	"log/slog"
)

// raftLogger gives the Raft library's words to slog. Its "info" is what happens inside an election, which is debugging to
// everybody else.
type raftLogger struct{ to *slog.Logger }

func (l raftLogger) Debug(v ...any) { l.quietly(func() string { return fmt.Sprint(v...) }) }
func (l raftLogger) Debugf(f string, v ...any) {
	l.quietly(func() string { return fmt.Sprintf(f, v...) })
}
func (l raftLogger) Info(v ...any) { l.quietly(func() string { return fmt.Sprint(v...) }) }
func (l raftLogger) Infof(f string, v ...any) {
	l.quietly(func() string { return fmt.Sprintf(f, v...) })
}
func (l raftLogger) Warning(v ...any)            { l.to.Warn("raft", "said", fmt.Sprint(v...)) }
func (l raftLogger) Warningf(f string, v ...any) { l.to.Warn("raft", "said", fmt.Sprintf(f, v...)) }
func (l raftLogger) Error(v ...any)              { l.to.Error("raft", "said", fmt.Sprint(v...)) }
func (l raftLogger) Errorf(f string, v ...any)   { l.to.Error("raft", "said", fmt.Sprintf(f, v...)) }

// quietly makes the words only for who listens.
func (l raftLogger) quietly(words func() string) {
	if l.to.Enabled(context.Background(), slog.LevelDebug) {
		l.to.Debug("raft", "said", words())
	}
}

// The library calls these where its own state has become impossible, and counts on not coming back.

func (l raftLogger) Fatal(v ...any)            { panic("raft: " + fmt.Sprint(v...)) }
func (l raftLogger) Fatalf(f string, v ...any) { panic("raft: " + fmt.Sprintf(f, v...)) }
func (l raftLogger) Panic(v ...any)            { panic("raft: " + fmt.Sprint(v...)) }
func (l raftLogger) Panicf(f string, v ...any) { panic("raft: " + fmt.Sprintf(f, v...)) }
