package config

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

var (
	rangeForm    = regexp.MustCompile(`^\[(-?[0-9.]+),\.\.\.(?:,(-?[0-9.]+))?\]( or -1)?$`)
	setForm      = regexp.MustCompile(`^(\(case insensitive\) )?\[([A-Za-z_0-9]+(?:, [A-Za-z_0-9]+)*)\]$`)
	replicaForm  = regexp.MustCompile(`^([0-9]+:[0-9]+)?$`)
	durationForm = regexp.MustCompile(`^by_duration:[Pp](?:[0-9]+[Dd])?(?:[Tt](?:[0-9]+[Hh])?(?:[0-9]+[Mm])?` +
		`(?:[0-9]+(?:\.[0-9]{0,9})?[Ss])?)?$`)
)

// throttledForm is the form of the lists of throttled replicas.
const throttledForm = "[partitionId]:[brokerId],[partitionId]:[brokerId],..."

// parseAllowed makes the check of a column "allowed". The forms are those in which Kafka prints its validators.
func parseAllowed(t Type, allowed string) (validator, error) {
	switch allowed {
	case "", "non-null string":
		return nil, nil
	case "non-empty string":
		return func(v value) (string, bool) { return "a text that is not empty", v.text != "" }, nil
	case "non-empty list":
		// Kafka's check lets the empty default stand and bites only where the list matters, so it is no check on the value.
		return nil, nil
	case throttledForm:
		return throttledReplicas, nil
	case "[latest, earliest, by_duration:PnDTnHnMn.nS]":
		return offsetReset, nil
	}
	if m := rangeForm.FindStringSubmatch(allowed); m != nil {
		return inRange(m)
	}
	if m := setForm.FindStringSubmatch(allowed); m != nil {
		return inSet(t, strings.Split(m[2], ", "), m[1] != ""), nil
	}
	return nil, fmt.Errorf("unknown form of allowed values: %q", allowed)
}

func inRange(m []string) (validator, error) {
	lowest, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return nil, err
	}
	text := "at least " + m[1]
	highest, bounded := 0.0, m[2] != ""
	if bounded {
		if highest, err = strconv.ParseFloat(m[2], 64); err != nil {
			return nil, err
		}
		text = fmt.Sprintf("from %s to %s", m[1], m[2])
	}
	minusOne := m[3] != ""
	if minusOne {
		text += ", or -1"
	}
	return func(v value) (string, bool) {
		ok := v.number >= lowest && (!bounded || v.number <= highest)
		return text, ok || minusOne && v.number == -1
	}, nil
}

func inSet(t Type, set []string, anyCase bool) validator {
	text := "one of " + strings.Join(set, ", ")
	if t == List {
		text = "a list of " + strings.Join(set, ", ")
	}
	in := func(s string) bool {
		return slices.ContainsFunc(set, func(e string) bool { return e == s || anyCase && strings.EqualFold(e, s) })
	}
	if t == List {
		return func(v value) (string, bool) {
			return text, !slices.ContainsFunc(v.list, func(e string) bool { return !in(e) })
		}
	}
	return func(v value) (string, bool) { return text, in(v.text) }
}

// throttledReplicas is Kafka's ThrottledReplicaListValidator, which lets empty elements through and looks for the star in
// the first place only.
func throttledReplicas(v value) (string, bool) {
	const text = "a list of partition:broker, or * for all replicas"
	if len(v.list) > 0 && v.list[0] == "*" {
		return text, true
	}
	return text, !slices.ContainsFunc(v.list, func(e string) bool { return !replicaForm.MatchString(e) })
}

// offsetReset is where a share group starts that has no committed position.
func offsetReset(v value) (string, bool) {
	ok := v.text == "latest" || v.text == "earliest"
	if durationForm.MatchString(v.text) {
		last := v.text[len(v.text)-1]
		ok = last != 'P' && last != 'p' && last != 'T' && last != 't' // at least one part, and one after the T
	}
	return "latest, earliest or by_duration: and an ISO 8601 duration such as by_duration:PT1H", ok
}
