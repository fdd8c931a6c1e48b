package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// lines is the frame where nothing can be drawn in place: what has happened, and one line of figures.
func (f *watchFrame) lines() []string {
	at := f.At.Format(time.TimeOnly)
	var out []string
	for _, e := range f.Events {
		out = append(out, harmless(fmt.Sprintf("%s %s: %s", at, f.Group, e)))
	}
	if f.Trouble != "" {
		return out
	}
	return append(out, harmless(fmt.Sprintf("%s %s state=%s members=%d partitions=%d lag=%d reads=%s/s arrives=%s/s", at,
		f.Group, f.State, len(f.Members), len(f.Partitions), f.Lag, rateCell(f.Reads), rateCell(f.Arrives))))
}

// draw is the frame as lines for a terminal of that size; 0 is without bounds. It depends on nothing but f and the size.
func (f *watchFrame) draw(columns, rows int) []string {
	head := []string{
		fmt.Sprintf("group %s   %s   %s/%s   members %d   partitions %d", f.Group, f.State, f.Type, dash(f.Protocol),
			len(f.Members), len(f.Partitions)),
		fmt.Sprintf("%s   lag %d%s   reads %s/s   arrives %s/s%s", f.At.Format(time.TimeOnly), f.Lag, f.oldest(),
			rateCell(f.Reads), rateCell(f.Arrives), f.outlook()),
	}
	if f.Epoch != nil {
		head[0] += fmt.Sprintf("   epoch %d", *f.Epoch)
	}
	if r := f.Rebalance; r != nil {
		head = append(head, r.line(f.At))
	}
	if f.Trouble != "" {
		head = append(head, "OUT OF SIGHT, what follows is from before: "+f.Trouble)
	}
	// Two tables, each with an empty line and a heading; the members get at most half of what is left.
	room := len(f.Members) + len(f.Partitions)
	if rows > 0 {
		room = max(2, rows-len(head)-4)
	}
	forMembers := min(len(f.Members), max(room/2, room-len(f.Partitions)))
	out := append(head, f.drawMembers(forMembers)...)
	out = append(out, f.drawPartitions(room-forMembers)...)
	for i := range out {
		out[i] = cut(harmless(strings.TrimRight(out[i], " ")), columns)
	}
	if rows > 0 && len(out) > rows {
		out = out[:rows]
	}
	return out
}

// oldest says how old the oldest unread record is.
func (f *watchFrame) oldest() string {
	if f.Age == nil || f.Lag == 0 {
		return ""
	}
	return fmt.Sprintf(", up to %s old", secondsCell(f.Age))
}

func (r *lastRebalance) line(now time.Time) string {
	ago := spanCell(now.Sub(r.At))
	switch {
	case r.GoesOn:
		return fmt.Sprintf("REBALANCES for %s: %s", ago, r.Reason)
	case r.Seen:
		return fmt.Sprintf("seen to rebalance %s ago: %s", ago, r.Reason)
	}
	return fmt.Sprintf("last rebalance %s ago, took %s: %s", ago, ageCell(&r.Seconds), r.Reason)
}

// outlook says when a group that is behind will have caught up, at the rates of now.
func (f *watchFrame) outlook() string {
	if f.Lag == 0 || f.Reads == nil || f.Arrives == nil {
		return ""
	}
	gains := *f.Reads - *f.Arrives
	if gains <= 0 {
		return ""
	}
	return "   caught up in " + spanCell(time.Duration(float64(f.Lag)/gains*float64(time.Second)))
}

// drawMembers is the table of the members, of which those with the most lag are shown where there is no room for all.
func (f *watchFrame) drawMembers(room int) []string {
	if len(f.Members) == 0 {
		return nil
	}
	shown, left := mostLag(f.Members, room, func(m watchMember) int64 { return m.Lag })
	table := [][]string{{"MEMBER", "HOST", "PARTITIONS", "LAG", "READS/S", "ASSIGNMENT"}}
	for _, m := range shown {
		assigned := fmt.Sprint(m.Assigned)
		if m.Moving > 0 {
			assigned += fmt.Sprintf(" (%d moving)", m.Moving)
		}
		table = append(table, []string{shorten(m.name(), memberColumns), m.Host, assigned, fmt.Sprint(m.Lag), rateCell(m.Reads),
			partsCell(m.Assignment)})
	}
	return append(append([]string{""}, columnsOf(table)...), restOf(left, "members", func(m watchMember) int64 { return m.Lag })...)
}

func (f *watchFrame) drawPartitions(room int) []string {
	if len(f.Partitions) == 0 {
		return nil
	}
	lag := func(p watchPartition) int64 { return p.Lag }
	shown, left := mostLag(f.Partitions, room, lag)
	table := [][]string{{"TOPIC", "PARTITION", "COMMITTED", "END", "LAG", "AGE", "READS/S", "ARRIVES/S", "MEMBER"}}
	names := map[string]string{}
	for _, m := range f.Members {
		names[m.Member] = m.name()
	}
	for _, p := range shown {
		table = append(table, []string{p.Topic, fmt.Sprint(p.Partition), offsetCell(p.Committed), offsetCell(p.End),
			offsetCell(p.Lag), secondsCell(p.Age), rateCell(p.Reads), rateCell(p.Arrives), dash(shorten(names[p.Member], memberColumns))})
	}
	return append(append([]string{""}, columnsOf(table)...), restOf(left, "partitions", lag)...)
}

// memberColumns is the room of a member's name; ids of clients that make their own have 36 characters behind the client's.
const memberColumns = 44

// mostLag picks what is shown, in its order, where there is room for so many lines; one of them is for the rest.
func mostLag[T any](list []T, room int, lag func(T) int64) (shown, left []T) {
	if len(list) <= room {
		return list, nil
	}
	order := make([]int, len(list))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(lag(list[b]), lag(list[a])) })
	chosen := slices.Sorted(slices.Values(order[:max(0, room-1)]))
	for i, x := range list {
		if _, ok := slices.BinarySearch(chosen, i); ok {
			shown = append(shown, x)
		} else {
			left = append(left, x)
		}
	}
	return shown, left
}

func restOf[T any](left []T, what string, lag func(T) int64) []string {
	if len(left) == 0 {
		return nil
	}
	sum := int64(0)
	for _, x := range left {
		sum += max(0, lag(x))
	}
	return []string{fmt.Sprintf("… %d more %s with lag %d", len(left), what, sum)}
}

// columnsOf aligns a table; the first row is its heading.
func columnsOf(table [][]string) []string {
	widths := make([]int, len(table[0]))
	for _, row := range table {
		for i, cell := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	lines := make([]string, len(table))
	for r, row := range table {
		for i, cell := range row {
			lines[r] += cell + strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2)
		}
	}
	return lines
}

// cut shortens a line to so many characters; 0 is without bounds.
func cut(line string, columns int) string {
	if runes := []rune(line); columns > 0 && len(runes) > columns {
		return string(runes[:columns-1]) + "…"
	}
	return line
}

// shorten leaves out the middle of a name, whose ends tell more.
func shorten(name string, most int) string {
	runes := []rune(name)
	if len(runes) <= most {
		return name
	}
	head := (most - 1) / 2
	return string(runes[:head]) + "…" + string(runes[len(runes)-(most-1-head):])
}

// rateCell is a rate as a cell shows it.
func rateCell(r *float64) string {
	switch {
	case r == nil:
		return "-"
	case *r >= 100:
		return fmt.Sprintf("%.0f", *r)
	}
	return fmt.Sprintf("%.1f", *r)
}

// secondsCell is spanCell of seconds, which may not be known.
func secondsCell(seconds *float64) string {
	if seconds == nil {
		return "-"
	}
	return spanCell(time.Duration(*seconds * float64(time.Second)))
}

// spanCell is a time as people say it: 45s, 3m12s, 5h03m, 4d02h.
func spanCell(d time.Duration) string {
	s := int64(max(0, d).Round(time.Second) / time.Second)
	switch {
	case s < 60:
		return fmt.Sprintf("%ds", s)
	case s < 3600:
		return fmt.Sprintf("%dm%02ds", s/60, s%60)
	case s < 86400:
		return fmt.Sprintf("%dh%02dm", s/3600, s/60%60)
	}
	return fmt.Sprintf("%dd%02dh", s/86400, s/3600%24)
}
