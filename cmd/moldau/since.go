package main

import (
	"fmt"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// startPoint says where reading begins: at the start, at the end, at an offset, so many records before the end, or at the
// first record that is not older than a time.
type startPoint struct {
	text   string
	offset kgo.Offset

	end      bool
	start    bool
	exact    int64 // -1 when not an offset
	relative int64 // records before the end
	millis   int64 // -1 when not a time
}

// parseFrom reads the value of --from and --to.
func parseFrom(flag, s string) (startPoint, error) {
	p := startPoint{text: s, exact: -1, millis: -1}
	switch s {
	case "beginning", "start", "earliest":
		p.start, p.offset = true, kgo.NewOffset().AtStart()
		return p, nil
	case "end", "latest":
		p.end, p.offset = true, kgo.NewOffset().AtEnd()
		return p, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil:
		return p, usageErrorf("--%s %q: it must be beginning, end, an offset, or -N for the last N records", flag, s)
	case n < 0:
		p.relative, p.offset = -n, kgo.NewOffset().AtEnd().Relative(n)
	default:
		p.exact, p.offset = n, kgo.NewOffset().At(n)
	}
	return p, nil
}

// parseSince reads the value of --since: how long ago, as 5m or 24h, or a moment, as 2026-11-21T10:00:00Z.
func parseSince(s string, now time.Time) (startPoint, error) {
	p := startPoint{text: s, exact: -1}
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		p.millis = now.Add(-d).UnixMilli()
	} else if t, err := time.Parse(time.RFC3339, s); err == nil {
		p.millis = t.UnixMilli()
	} else if t, err := time.ParseInLocation(time.DateTime, s, time.Local); err == nil {
		p.millis = t.UnixMilli()
	} else {
		return p, usageErrorf("--since %q: it must be how long ago, as 5m, or a moment, as 2026-11-21T10:00:00Z", s)
	}
	p.offset = kgo.NewOffset().AfterMilli(p.millis)
	return p, nil
}

func (p startPoint) String() string {
	if p.millis >= 0 && p.exact < 0 && !p.start && !p.end && p.relative == 0 {
		return fmt.Sprintf("since %s", time.UnixMilli(p.millis).Format(time.RFC3339))
	}
	return p.text
}

// in is the point's offset in a partition that holds start to end; what lies outside is moved to the nearer bound.
func (p startPoint) in(start, end int64) int64 {
	switch {
	case p.start:
		return start
	case p.end:
		return end
	case p.relative > 0:
		return max(start, end-p.relative)
	default:
		return min(max(start, p.exact), end)
	}
}
