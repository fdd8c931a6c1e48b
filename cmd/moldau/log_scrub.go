package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"moldau.io/moldau/broker"
)

// scrubPoll is how often a running scrub is asked how far it is.
const scrubPoll = 200 * time.Millisecond

func newLogScrub(w world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "scrub",
		Short: "Have a running broker read and check everything that it keeps",
		Long: "Have a running broker read and check everything that it keeps, as fast as its disks give it. A partition whose " +
			"log is damaged goes offline; an index that is damaged is made anew from its log.\n\n" +
			"The exit code is 1 when there is damage, also when it was known before.",
		Args: cobra.NoArgs,
	}
	admin := cmd.Flags().String("admin", defaultAdminListen, "the broker's admin address, its --admin-listen")
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		st, err := scrub(cmd.Context(), w.stderr, "http://"+strings.TrimPrefix(*admin, "http://")+"/scrub")
		if err != nil {
			return err
		}
		if err := printScrub(w.stdout, *out, st); err != nil {
			return err
		}
		if n := len(st.Damaged); n > 0 {
			return fmt.Errorf("%d damaged partition(s)", n)
		}
		return nil
	}
	return cmd
}

// scrub asks for one and waits for its end, with a line about how far it is every few seconds.
func scrub(ctx context.Context, progress io.Writer, url string) (st broker.ScrubStatus, err error) {
	if st, err = askScrub(ctx, http.MethodPost, url); err != nil {
		return st, err
	}
	asked, told := st.Began, time.Now()
	tick := time.NewTicker(scrubPoll)
	defer tick.Stop()
	for st.Running || !st.Began.Equal(asked) {
		select {
		case <-ctx.Done():
			return st, ctx.Err()
		case <-tick.C:
		}
		if st, err = askScrub(ctx, http.MethodGet, url); err != nil {
			return st, err
		}
		if !st.Began.Equal(asked) {
			return st, errors.New("the broker was started anew, or another scrub was asked for; ask again")
		}
		if st.Running && time.Since(told) >= 2*time.Second {
			told = time.Now()
			fmt.Fprintln(progress, scrubProgress(st, told))
		}
	}
	return st, nil
}

// scrubProgress is one line for people.
func scrubProgress(st broker.ScrubStatus, now time.Time) string {
	took := now.Sub(st.Began)
	line := fmt.Sprintf("%d of %d MiB", st.Bytes>>20, st.Of>>20)
	if st.Bytes > 0 && st.Of > st.Bytes {
		left := time.Duration(float64(took) * float64(st.Of-st.Bytes) / float64(st.Bytes))
		line += fmt.Sprintf(", about %s left", left.Round(time.Second))
	}
	return line
}

func askScrub(ctx context.Context, method, url string) (st broker.ScrubStatus, err error) {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return st, usageErrorf("--admin: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return st, fmt.Errorf("%w; is a broker running there? --admin names its --admin-listen", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return st, err
	}
	if resp.StatusCode >= 300 {
		return st, fmt.Errorf("%s: %s: %s", url, resp.Status, strings.TrimSpace(string(body)))
	}
	if err := json.Unmarshal(body, &st); err != nil {
		return st, fmt.Errorf("%s does not answer as a broker does: %w", url, err)
	}
	return st, nil
}

func printScrub(w io.Writer, out output, st broker.ScrubStatus) error {
	if out == outputJSON {
		return printJSON(w, st)
	}
	t := newTable(w, "SEGMENTS", "BYTES", "TIME", "INDEXES MENDED", "UNREAD", "DAMAGED PARTITIONS")
	t.row(st.Segments, st.Bytes, st.Ended.Sub(st.Began).Round(time.Millisecond), st.Mended, st.Unread, len(st.Damaged))
	if err := t.flush(); err != nil || len(st.Damaged) == 0 {
		return err
	}
	fmt.Fprintln(w)
	t = newTable(w, "TOPIC", "PARTITION", "REASON")
	for _, d := range st.Damaged {
		t.row(d.Topic, d.Partition, d.Reason)
	}
	return t.flush()
}
