package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// resetOrder is what is to be reset and whereto.
type resetOrder struct {
	groups []string
	topics chosenPlaces // none: what the group has committed
	target resetTarget
	all    bool // the groups were not named
}

type resetRow struct {
	Group     string `json:"group"`
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Old       int64  `json:"committed"` // -1: nothing committed
	New       int64  `json:"new"`
}

// plan says for every partition where it goes. notes are what to know about it; failed has an error for each group that
// cannot be reset.
func (o *resetOrder) plan(ctx context.Context, adm groupAdmin) (plan []resetRow, notes []string, failed []error, err error) {
	plan = []resetRow{}
	named, err := o.topics.expand(ctx, adm)
	if err != nil {
		return nil, nil, nil, err
	}
	idle, failed, err := o.idleGroups(ctx, adm)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, id := range idle {
		rows, said, err := o.planGroup(ctx, adm, id, named)
		if err != nil {
			failed = append(failed, err)
			continue
		}
		plan, notes = append(plan, rows...), append(notes, said...)
	}
	return plan, notes, failed, nil
}

// idleGroups are those that may be reset: what members commit would win over the new offsets. A group that does not exist is
// among them, since offsets may be prepared for one that is to come.
func (o *resetOrder) idleGroups(ctx context.Context, adm groupAdmin) (idle []string, failed []error, err error) {
	var views map[string]*groupView
	var missing map[string]error
	err = patiently(ctx, func() error {
		views, missing = describeGroups(ctx, adm, o.groups)
		return passing(firstOf(missing))
	})
	if err != nil {
		return nil, nil, err
	}
	for _, id := range o.groups {
		v, err := views[id], missing[id]
		switch {
		case err != nil && !errors.Is(err, kerr.GroupIDNotFound):
			failed = append(failed, groupError(id, err))
		case v != nil && (len(v.Members) > 0 || v.State != "Empty" && v.State != "Dead"):
			who := "it is not empty"
			if len(v.Members) > 0 {
				who = holders(v)
			}
			failed = append(failed, fmt.Errorf("group %s is %s, and what its members commit would win: %s; stop them first", id,
				v.State, who))
		default:
			idle = append(idle, id)
		}
	}
	return idle, failed, nil
}

// planGroup plans one group.
func (o *resetOrder) planGroup(ctx context.Context, adm groupAdmin, id string, named []place) ([]resetRow, []string, error) {
	committed, err := adm.FetchOffsets(ctx, id)
	if err != nil {
		return nil, nil, groupError(id, err)
	}
	committed.DeleteFunc(func(r kadm.OffsetResponse) bool { return r.Err != nil || r.At < 0 })
	wanted := map[place]int64{} // what a file says
	places := named
	switch {
	case o.target.kind == targetRows:
		for _, r := range o.target.rows {
			if r.group == "" || r.group == id {
				wanted[r.place] = r.offset
			}
		}
		if places = slices.SortedFunc(maps.Keys(wanted), comparePlaces); len(places) == 0 {
			return nil, nil, fmt.Errorf("group %s: the file says nothing about it", id)
		}
	case len(o.topics) == 0 && len(committed) == 0:
		if o.all {
			return nil, nil, nil
		}
		return nil, nil, fmt.Errorf("group %s has committed nothing; name the topics with --topic", id)
	case len(o.topics) == 0 && (o.target.kind == targetShift || o.target.kind == targetCurrent):
		committed.Each(func(r kadm.OffsetResponse) { places = append(places, place{r.Topic, r.Partition}) })
	case len(o.topics) == 0:
		whole := chosenPlaces{}
		for topic := range committed {
			whole[topic] = nil
		}
		if places, err = whole.expand(ctx, adm); err != nil {
			return nil, nil, fmt.Errorf("group %s: %w", id, err)
		}
	}
	slices.SortFunc(places, comparePlaces)
	rows := make([]resetRow, len(places))
	for i, p := range places {
		rows[i] = resetRow{Group: id, Topic: p.topic, Partition: p.partition, Old: -1, New: -1}
		if c, ok := committed.Lookup(p.topic, p.partition); ok {
			rows[i].Old = c.At
		}
		if n, ok := wanted[p]; ok {
			rows[i].New = n
		}
	}
	notes, err := o.target.aim(ctx, adm, rows)
	return rows, notes, err
}

// aim fills in the new offsets of rows.
func (t resetTarget) aim(ctx context.Context, adm groupAdmin, rows []resetRow) (notes []string, err error) {
	topics := map[string]bool{}
	for _, r := range rows {
		topics[r.Topic] = true
	}
	names := slices.Sorted(maps.Keys(topics))
	starts, ends, err := bounds(ctx, adm, names)
	if err != nil {
		return nil, err
	}
	var times kadm.ListedOffsets
	if t.kind == targetTime && len(names) > 0 {
		if times, err = adm.ListOffsetsAfterMilli(ctx, t.millis, names...); err != nil {
			return nil, err
		}
	}
	var failed []error
	for i := range rows {
		r := &rows[i]
		at := place{r.Topic, r.Partition}
		start, known := starts.Lookup(r.Topic, r.Partition)
		end, _ := ends.Lookup(r.Topic, r.Partition)
		if !known {
			failed = append(failed, brokerError(at.String(), kerr.UnknownTopicOrPartition, ""))
			continue
		}
		if err := errors.Join(end.Err, start.Err); err != nil {
			failed = append(failed, brokerError(at.String(), err, ""))
			continue
		}
		if t.kind == targetShift && r.Old < 0 {
			failed = append(failed, fmt.Errorf("group %s, %s: nothing is committed, so that there is nothing to shift; "+
				"--to-offset sets an offset", r.Group, at))
			continue
		}
		want := t.offset(*r, start.Offset, end.Offset)
		if at, ok := times.Lookup(r.Topic, r.Partition); ok {
			want = at.Offset
		}
		if r.New = min(max(start.Offset, want), end.Offset); t.kind == targetCurrent && r.Old >= 0 {
			r.New = want // nothing moves, not even what lies outside
		}
		if r.New != want {
			notes = append(notes, fmt.Sprintf("group %s, %s: offset %d is not in it, which has %d to %d; %d is taken", r.Group,
				at, want, start.Offset, end.Offset, r.New))
		}
	}
	return notes, errors.Join(failed...)
}

// offset is where a row goes in a partition of start to end; times are asked of the broker.
func (t resetTarget) offset(r resetRow, start, end int64) int64 {
	switch t.kind {
	case targetEarliest:
		return start
	case targetOffset:
		return t.n
	case targetBeforeEnd:
		return max(start, end-t.n)
	case targetShift:
		return r.Old + t.n
	case targetCurrent:
		if r.Old >= 0 {
			return r.Old
		}
	case targetRows:
		return r.New
	}
	return end
}

// commitPlan writes the new offsets, and returns the rows that were written.
func commitPlan(ctx context.Context, adm groupAdmin, plan []resetRow) (done []resetRow, failed []error) {
	done = []resetRow{}
	byGroup := map[string][]resetRow{}
	for _, r := range plan {
		byGroup[r.Group] = append(byGroup[r.Group], r)
	}
	for _, id := range slices.Sorted(maps.Keys(byGroup)) {
		var offsets kadm.Offsets
		for _, r := range byGroup[id] {
			offsets.Add(kadm.Offset{Topic: r.Topic, Partition: r.Partition, At: r.New, LeaderEpoch: -1})
		}
		answers, err := adm.CommitOffsets(ctx, id, offsets)
		if err != nil {
			failed = append(failed, groupError(id, err))
			continue
		}
		for _, r := range byGroup[id] {
			at := place{r.Topic, r.Partition}
			if a, ok := answers.Lookup(r.Topic, r.Partition); !ok || a.Err != nil {
				failed = append(failed, brokerError(fmt.Sprintf("group %s, %s", id, at), a.Err, ""))
				continue
			}
			done = append(done, r)
		}
	}
	return done, failed
}
