package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const devHelp = `  kill N        end broker N as kill -9 would: sockets reset, nothing handed over, nothing flushed
  stop N        stop broker N in order: leaderships move away first
  start N       start broker N again, at the same addresses
  cut A B       cut the link between brokers A and B; connections break after some time, as on a wire
  heal [A B]    heal that link; without names all links and isolations
  isolate N     cut broker N off from all other brokers
  freeze N      hold everything between broker N and the others, as if its process stood still
  thaw N        let it go on
  status        brokers, leaders, what is under-replicated, links
  wait [S]      wait until all running brokers are in step, at most S seconds (30)
  sleep S       wait S seconds
  quit          end the cluster
`

// errQuit ends the prompt.
var errQuit = errors.New("quit")

// prompt executes the commands on stdin until one says quit, or ctx ends.
func (c *devCluster) prompt(ctx context.Context) error {
	tty := isTerminal(c.w.stdin)
	lines, eof := make(chan string), make(chan struct{})
	go func() { // it ends with stdin, or with the process
		s := bufio.NewScanner(c.w.stdin)
		for s.Scan() {
			select {
			case lines <- s.Text():
			case <-ctx.Done():
				return
			}
		}
		close(eof)
	}()
	for {
		if tty && !c.out.json {
			fmt.Fprint(c.w.stdout, "moldau> ")
		}
		select {
		case <-ctx.Done():
			return nil
		case <-eof:
			if tty {
				return nil
			}
			eof = nil // a script that is over leaves its cluster running
		case line := <-lines:
			err := c.execute(ctx, line)
			if errors.Is(err, errQuit) {
				return c.verdict(tty)
			}
			if err != nil && ctx.Err() == nil {
				c.out.fail("error", 0, err)
			}
		}
	}
}

// verdict is the failure of a script of which a command failed.
func (c *devCluster) verdict(tty bool) error {
	if !tty && c.out.anyFailed() {
		return errors.New("not everything worked that was wanted")
	}
	return nil
}

// isTerminal says whether somebody types.
func isTerminal(r io.Reader) bool {
	f, ok := r.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// execute does what one line says.
func (c *devCluster) execute(ctx context.Context, line string) error {
	line, _, _ = strings.Cut(line, "#")
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	verb, args := words[0], words[1:]
	switch verb {
	case "quit", "exit":
		return errQuit
	case "help", "?":
		fmt.Fprint(c.w.stderr, devHelp)
		return nil
	case "status":
		return c.status(ctx)
	case "wait", "sleep":
		return c.pause(ctx, verb, args)
	case "heal":
		if len(args) == 0 {
			c.sw.HealAll()
			c.out.say(devEvent{Event: "healed"}, "healed all")
			return nil
		}
	}
	want := map[string]int{
		"kill": 1, "stop": 1, "start": 1, "isolate": 1, "freeze": 1, "thaw": 1, "cut": 2, "heal": 2,
	}[verb]
	if want == 0 {
		return fmt.Errorf("%q is not known; help lists what is", verb)
	}
	if len(args) != want {
		return fmt.Errorf("%s wants %d of the brokers 1 to %d; help says how", verb, want, len(c.brokers))
	}
	brokers := make([]*devBroker, len(args))
	for i, a := range args {
		n, err := strconv.Atoi(a)
		if err != nil || n < 1 || n > len(c.brokers) {
			return fmt.Errorf("%s %s: there are the brokers 1 to %d", verb, a, len(c.brokers))
		}
		brokers[i] = c.brokers[n-1]
	}
	if want == 2 {
		return c.link(verb, brokers[0], brokers[1])
	}
	return c.broker(ctx, verb, brokers[0])
}

// link cuts or heals one link.
func (c *devCluster) link(verb string, a, b *devBroker) error {
	if a == b {
		return fmt.Errorf("%s %d %d: a link has two ends", verb, a.id, b.id)
	}
	if verb == "cut" {
		c.sw.Cut(a.name, b.name)
		c.out.say(devEvent{Event: "cut", From: a.name, To: b.name}, fmt.Sprintf("cut %d from %d", a.id, b.id))
		return nil
	}
	c.sw.Heal(a.name, b.name)
	c.out.say(devEvent{Event: "healed", From: a.name, To: b.name}, fmt.Sprintf("healed %d and %d", a.id, b.id))
	return nil
}

// broker does something to one broker.
func (c *devCluster) broker(ctx context.Context, verb string, b *devBroker) error {
	var (
		err  error
		past string
	)
	start := time.Now()
	switch verb {
	case "start":
		return b.start(ctx) // its ready line says it
	case "kill":
		past, err = "killed", b.kill()
	case "stop":
		if b.up() == nil {
			return fmt.Errorf("broker %d does not run", b.id)
		}
		past, err = "stopped", b.end(false)
	case "isolate":
		past = "isolated"
		c.sw.Isolate(b.name)
	case "freeze":
		past = "frozen"
		c.sw.Freeze(b.name)
	case "thaw":
		past = "thawed"
		c.sw.Thaw(b.name)
	}
	if err != nil {
		return err
	}
	c.out.say(devEvent{Event: past, Broker: b.id, Milliseconds: time.Since(start).Milliseconds()},
		fmt.Sprintf("%s %d", past, b.id))
	return nil
}

// pause is sleep and wait.
func (c *devCluster) pause(ctx context.Context, verb string, args []string) error {
	seconds := 30.0
	if len(args) == 1 {
		var err error
		if seconds, err = strconv.ParseFloat(args[0], 64); err != nil || seconds < 0 || seconds > 1e6 {
			return fmt.Errorf("%s %s: seconds are wanted", verb, args[0])
		}
	} else if verb == "sleep" || len(args) > 1 {
		return fmt.Errorf("%s: seconds are wanted", verb)
	}
	took := time.Duration(seconds * float64(time.Second))
	if verb == "wait" {
		start := time.Now()
		if err := c.await(ctx, took); err != nil {
			return err
		}
		c.out.say(devEvent{Event: "in-step", Milliseconds: time.Since(start).Milliseconds()}, "in step")
		return nil
	}
	select {
	case <-ctx.Done():
	case <-time.After(took):
	}
	return ctx.Err()
}

// await waits until the brokers that run are in step.
func (c *devCluster) await(ctx context.Context, most time.Duration) error {
	limit := time.NewTimer(most)
	defer limit.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		missing := c.report(ctx).missing(c.voters)
		if missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-limit.C:
			return fmt.Errorf("not in step after %v: %s", most, missing)
		case <-tick.C:
		}
	}
}
