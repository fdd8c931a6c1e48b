package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"golang.org/x/sys/unix"

	"moldau.io/moldau/broker"
)

// watchIntervalMin keeps a watch from being a load of its own.
const watchIntervalMin = 100 * time.Millisecond

func newGroupWatch(w world, c *cluster) *cobra.Command {
	var interval time.Duration
	var count int
	cmd := &cobra.Command{
		Use:   "watch GROUP",
		Short: "Show members, assignment, lag and rates of a group as they change",
		Long: "Show members, assignment, lag and rates of a group as they change, until interrupted. On a terminal the picture is\n" +
			"drawn in place; elsewhere there is a line every time, and one for everything that has happened. With -o json each\n" +
			"line is an object. READS/S is how fast committed offsets move, ARRIVES/S how fast the ends do, over 15 seconds.\n" +
			"The time and reason of the last rebalance, and how old what is unread is, come from the admin address of the broker\n" +
			"that coordinates the group; where that is out of reach, from what was seen.",
		Example: "  moldau group watch database\n  moldau group watch database --interval 10s -o json >> database.jsonl",
		Args:    cobra.ExactArgs(1),
	}
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "how often to look")
	cmd.Flags().IntVarP(&count, "count", "n", 0, "end after so many looks; 0: never")
	admin := addAdminFlag(w, cmd)
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		admin.named(cmd)
		if interval < watchIntervalMin || count < 0 {
			return usageErrorf("--interval must be at least %v, and --count not negative", watchIntervalMin)
		}
		ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		cl, err := c.connect(ctx)
		if err != nil {
			return err
		}
		defer cl.Close()
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		adm := groupAdmin{kadm.NewClient(cl), cl}
		watch := groupWatch{
			look: func(ctx context.Context) (groupView, *broker.GroupDetail, error) {
				ctx, cancel := context.WithTimeout(ctx, c.timeout)
				defer cancel()
				view, err := lookAt(ctx, adm, args[0])
				if err != nil {
					return view, nil, err
				}
				detail, err := detailOf(ctx, adm, admin, args[0])
				return view, detail, err
			},
			ticks: ticker.C, now: time.Now, count: count,
		}
		switch size := terminal(w.stdout); {
		case *out == outputJSON:
			watch.screen = jsonLines{json.NewEncoder(w.stdout)}
		case size != nil:
			watch.screen = &picture{w.stdout, size}
		default:
			watch.screen = plainLines{w.stdout}
		}
		return watch.run(ctx)
	}
	return cmd
}

// lookAt describes one group.
func lookAt(ctx context.Context, adm groupAdmin, id string) (groupView, error) {
	views, failed, err := viewGroups(ctx, adm, []string{id})
	switch {
	case err != nil:
		return groupView{}, err
	case len(failed) > 0:
		return groupView{}, failed[0]
	}
	return views[0], nil
}

// adminTime is how long the admin address may take: what it says is only an addition.
const adminTime = time.Second

// detailOf is what the coordinator of a group says at its admin address; nil where it is out of reach. The address may be that
// of a broker which has nothing to do with this cluster, if the user has not named it.
func detailOf(ctx context.Context, adm groupAdmin, admin *adminFlag, id string) (*broker.GroupDetail, error) {
	ctx, cancel := context.WithTimeout(ctx, adminTime)
	defer cancel()
	detail, err := admin.group(ctx, id)
	if err == nil {
		var meta kadm.Metadata
		if meta, err = adm.BrokerMetadata(ctx); err == nil && meta.Cluster != detail.Cluster {
			err = fmt.Errorf("the broker at --admin %s is one of another cluster, %s", admin.address, detail.Cluster)
		}
	}
	switch {
	case err == nil:
		return detail, nil
	case admin.given:
		return nil, err
	}
	return nil, nil
}

// groupWatch looks at a group again and again and shows what it sees.
type groupWatch struct {
	look   func(context.Context) (groupView, *broker.GroupDetail, error)
	ticks  <-chan time.Time
	now    func() time.Time
	count  int // 0: without end
	screen screen
}

// screen is where frames are shown.
type screen interface {
	show(*watchFrame) error
	end()
}

// run looks at once and then at every tick. What fails at first is an error; what fails later is shown, and tried again: one
// watches when things go wrong.
func (g *groupWatch) run(ctx context.Context) error {
	defer g.screen.end()
	var h watchHistory
	for n := 1; ; n++ {
		view, detail, err := g.look(ctx)
		if ctx.Err() != nil {
			return nil // interrupted
		}
		if err != nil && n == 1 {
			return err
		}
		frame := h.observe(g.now(), view, detail, err)
		if err := g.screen.show(frame); err != nil {
			return err
		}
		if n == g.count {
			return nil
		}
		select {
		case <-g.ticks:
		case <-ctx.Done():
			return nil
		}
	}
}

// jsonLines shows a frame as an object on a line.
type jsonLines struct{ e *json.Encoder }

func (j jsonLines) show(f *watchFrame) error { return j.e.Encode(f) }
func (jsonLines) end()                       {}

// plainLines shows a frame as a line, and one for each event.
type plainLines struct{ w io.Writer }

func (p plainLines) show(f *watchFrame) error {
	for _, line := range f.lines() {
		if _, err := fmt.Fprintln(p.w, line); err != nil {
			return err
		}
	}
	return nil
}
func (plainLines) end() {}

// picture shows frames in place on a terminal.
type picture struct {
	w    io.Writer
	size func() (columns, rows int)
}

// The control sequences of terminals that are needed.
const (
	cursorHome = "\x1b[H"
	eraseRight = "\x1b[K"
	eraseBelow = "\x1b[J"
	cursorHide = "\x1b[?25l"
	cursorShow = "\x1b[?25h"
)

func (p *picture) show(f *watchFrame) error {
	text := cursorHide + cursorHome
	// The last row stays free: a line feed there would move all the others.
	columns, rows := p.size()
	for _, line := range f.draw(columns, rows-1) {
		text += line + eraseRight + "\r\n"
	}
	_, err := io.WriteString(p.w, text+eraseBelow)
	return err
}

func (p *picture) end() { _, _ = io.WriteString(p.w, cursorShow) }

// terminal says how large the terminal is that w writes to; nil where it is none.
func terminal(w io.Writer) func() (columns, rows int) {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	size := func() (columns, rows int) {
		ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil || ws.Col == 0 || ws.Row == 0 {
			return 80, 24 // as terminals are that do not tell
		}
		return int(ws.Col), int(ws.Row)
	}
	if _, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err != nil {
		return nil
	}
	return size
}
