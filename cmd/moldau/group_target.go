package main

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// resetTarget says where committed offsets are moved to.
type resetTarget struct {
	kind   targetKind
	n      int64 // of targetOffset, targetBeforeEnd and targetShift
	millis int64 // of targetTime
	rows   []offsetRow
}

type targetKind int

const (
	targetEarliest  targetKind = iota
	targetLatest               // what comes next
	targetOffset               // n
	targetBeforeEnd            // n records before the end
	targetShift                // n records from where the group is
	targetCurrent              // where the group is
	targetTime                 // the first record not older than millis; the end where there is none
	targetRows                 // as a file says
)

// targetFlags are the ways to say it; exactly one is given.
type targetFlags struct {
	to, since              string
	earliest, latest, here bool
	datetime, duration     string
	offset, shift          int64
	file                   string
}

var targetNames = []string{"to", "since", "to-earliest", "to-latest", "to-current", "to-offset", "to-datetime",
	"by-duration", "shift-by", "from-file"}

func (f *targetFlags) add(cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&f.to, "to", "", "beginning, end, an offset, or -N for N records before the end")
	fs.StringVar(&f.since, "since", "", "the first record not older than this: 5m, or 2026-11-21T10:00:00Z")
	fs.BoolVar(&f.earliest, "to-earliest", false, "the first record that is there")
	fs.BoolVar(&f.latest, "to-latest", false, "the end: only what comes from now on")
	fs.BoolVar(&f.here, "to-current", false, "where the group is; the end where it has committed nothing")
	fs.Int64Var(&f.offset, "to-offset", 0, "an offset")
	fs.StringVar(&f.datetime, "to-datetime", "", "the first record not older than this, in UTC unless it says otherwise: "+
		"2026-11-21T10:00:00.000")
	fs.StringVar(&f.duration, "by-duration", "", "the first record not older than this: PT5M, P1DT2H")
	fs.Int64Var(&f.shift, "shift-by", 0, "so many records on, or back where negative")
	fs.StringVar(&f.file, "from-file", "", "as a CSV file says: topic,partition,offset or group,topic,partition,offset; "+
		"- is stdin")
}

// target reads what was given.
func (f *targetFlags) target(w world, cmd *cobra.Command, now time.Time) (resetTarget, error) {
	if err := atMostOne(cmd, targetNames...); err != nil {
		return resetTarget{}, err
	}
	given := ""
	for _, name := range targetNames {
		if cmd.Flags().Changed(name) {
			given = name
		}
	}
	switch given {
	case "to":
		return parseTo(f.to)
	case "since":
		p, err := parseSince(f.since, now)
		return resetTarget{kind: targetTime, millis: p.millis}, err
	case "to-earliest":
		return resetTarget{kind: targetEarliest}, onlyTrue(given, f.earliest)
	case "to-latest":
		return resetTarget{kind: targetLatest}, onlyTrue(given, f.latest)
	case "to-current":
		return resetTarget{kind: targetCurrent}, onlyTrue(given, f.here)
	case "to-offset":
		if f.offset < 0 {
			return resetTarget{}, usageErrorf("--to-offset %d: offsets begin at 0; --to -N is N records before the end", f.offset)
		}
		return resetTarget{kind: targetOffset, n: f.offset}, nil
	case "shift-by":
		return resetTarget{kind: targetShift, n: f.shift}, nil
	case "to-datetime":
		at, err := parseDatetime(f.datetime)
		return resetTarget{kind: targetTime, millis: at.UnixMilli()}, err
	case "by-duration":
		d, err := parseISODuration(f.duration)
		return resetTarget{kind: targetTime, millis: now.Add(-d).UnixMilli()}, err
	case "from-file":
		rows, err := readOffsetsFile(w, f.file)
		return resetTarget{kind: targetRows, rows: rows}, err
	}
	return resetTarget{}, usageErrorf("say where to: one of --%s", strings.Join(targetNames, ", --"))
}

func onlyTrue(flag string, on bool) error {
	if !on {
		return usageErrorf("--%s=false says nothing", flag)
	}
	return nil
}

func parseTo(s string) (resetTarget, error) {
	p, err := parseFrom("to", s)
	switch {
	case err != nil:
		return resetTarget{}, err
	case p.start:
		return resetTarget{kind: targetEarliest}, nil
	case p.end:
		return resetTarget{kind: targetLatest}, nil
	case p.relative > 0:
		return resetTarget{kind: targetBeforeEnd, n: p.relative}, nil
	default:
		return resetTarget{kind: targetOffset, n: p.exact}, nil
	}
}

// parseDatetime reads YYYY-MM-DDThh:mm:ss.sss, with or without a zone; without one it is UTC, as in Kafka's tool.
func parseDatetime(s string) (time.Time, error) {
	for _, layout := range []string{"2006-01-02T15:04:05Z07:00", "2006-01-02T15:04:05Z0700", "2006-01-02T15:04:05Z07",
		"2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, s); err == nil { // fractions of a second are taken where the layout has none
			return t, nil
		}
	}
	return time.Time{}, usageErrorf("--to-datetime %q: it must be like 2026-11-21T10:00:00.000, with Z or +01:00 for a zone", s)
}

var isoDuration = regexp.MustCompile(`^(?i)P(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:[.,]\d{1,9})?)S)?)?$`)

// parseISODuration reads PnDTnHnMnS, and 5m or 24h as everywhere else in this program.
func parseISODuration(s string) (time.Duration, error) {
	if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return d, nil
	}
	bad := usageErrorf("--by-duration %q: it must be like PT5M, P1DT2H30M or 5m", s)
	m := isoDuration.FindStringSubmatch(s)
	if m == nil || strings.HasSuffix(strings.ToUpper(s), "T") || strings.EqualFold(s, "P") {
		return 0, bad
	}
	total := 0.0
	for i, unit := range []time.Duration{24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] == "" {
			continue
		}
		n, err := strconv.ParseFloat(strings.ReplaceAll(m[i+1], ",", "."), 64)
		if err != nil {
			return 0, bad
		}
		total += n * float64(unit)
	}
	if total > float64(1<<62) {
		return 0, bad
	}
	return time.Duration(total), nil
}
