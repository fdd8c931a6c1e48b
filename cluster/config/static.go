package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Layer is values from one place. Where two layers name a key, the later one wins.
type Layer struct {
	Origin string // as a person would say it: "--set", "the environment", "server.properties"
	Values map[string]string
}

// Static is the configuration that a broker was started with. It is never changed.
type Static struct {
	given  map[string]string
	origin map[string]string // by key
	node   int32
}

// Notes is what an operator should hear about a configuration that is otherwise accepted; both lists are sorted.
type Notes struct {
	NoEffect []string // keys that Kafka knows and that change nothing here
	Unknown  []string // keys that neither Kafka nor moldau knows
}

// NewStatic lays the layers over each other and checks every value. The error joins everything that is wrong.
func NewStatic(layers ...Layer) (*Static, Notes, error) {
	s := &Static{given: map[string]string{}, origin: map[string]string{}, node: 1}
	for _, l := range layers {
		for name, value := range l.Values {
			s.given[name], s.origin[name] = value, l.Origin
		}
	}
	var notes Notes
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(s.given)) {
		k, known := Broker(baseKey(name))
		own, isOwn := Own(name)
		switch {
		case isOwn:
			k = own
		case !known:
			if !extensionKey(name) {
				notes.Unknown = append(notes.Unknown, name)
			} else {
				notes.NoEffect = append(notes.NoEffect, name)
			}
			continue
		case !HasEffect(name):
			notes.NoEffect = append(notes.NoEffect, name)
		}
		value, err := k.Canonical(s.given[name])
		if err == nil {
			err = checkBeyondTable(name, value, s.given)
		}
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", s.origin[name], err))
		}
	}
	faults = append(faults, s.checkTogether()...)
	if id, ok := s.number("node.id"); ok {
		s.node = int32(id)
	} else if id, ok := s.number("broker.id"); ok && id >= 0 {
		s.node = int32(id)
	}
	return s, notes, errors.Join(faults...)
}

// Empty is the configuration of a broker that was given none.
func Empty() *Static {
	return &Static{given: map[string]string{}, origin: map[string]string{}, node: 1}
}

// WithNodeID is the same configuration for a broker whose id was found elsewhere (in its data folder).
func (s *Static) WithNodeID(id int32) *Static {
	c := *s
	c.node = id
	return &c
}

// NodeID is the broker's id: node.id, else the older broker.id, else 1.
func (s *Static) NodeID() int32 { return s.node }

// Given is the value that was set, as it was written; false where the key was not set.
func (s *Static) Given(name string) (string, bool) {
	v, ok := s.given[name]
	return v, ok
}

// Origin says where a key was set; empty where it was not.
func (s *Static) Origin(name string) string { return s.origin[name] }

// GivenKeys are the keys that were set, sorted.
func (s *Static) GivenKeys() []string { return slices.Sorted(maps.Keys(s.given)) }

// Get is the value of a key, set or default, in canonical form; false where it is null or the key unknown.
func (s *Static) Get(name string) (string, bool) {
	k, known := Broker(name)
	if own, ok := Own(name); ok {
		k, known = own, true
	}
	if v, ok := s.given[name]; ok {
		return canonical(k, v), true
	}
	if v, ok := s.implied(name); ok {
		return v, true
	}
	if !known || k.Default == nil {
		return "", false
	}
	return *k.Default, true
}

// stated is a value that was set or that moldau found in place of it.
func (s *Static) stated(name string) (string, bool) {
	if v, ok := s.given[name]; ok {
		return v, true
	}
	return s.implied(name)
}

// Int is a key's value as a number; zero where it is null.
func (s *Static) Int(name string) int64 {
	v, _ := s.Get(name)
	n, _ := strconv.ParseInt(v, 10, 64)
	return n
}

// Float is a key's value as a number; zero where it is null.
func (s *Static) Float(name string) float64 {
	v, _ := s.Get(name)
	n, _ := strconv.ParseFloat(v, 64)
	return n
}

// Bool is a key's value as a boolean; false where it is null.
func (s *Static) Bool(name string) bool {
	v, _ := s.Get(name)
	return v == "true"
}

// Millis is the value of a key that counts milliseconds. More than a Duration holds (292 years) is its maximum.
func (s *Static) Millis(name string) time.Duration {
	n := s.Int(name)
	const most = int64(1<<63-1) / int64(time.Millisecond)
	return time.Duration(max(-most, min(most, n))) * time.Millisecond
}

// List is a key's value as a list; nil where it is null or empty.
func (s *Static) List(name string) []string {
	v, _ := s.Get(name)
	if v == "" {
		return nil
	}
	return strings.Split(v, ",")
}

// implied is the value of the keys that Kafka requires and that moldau finds itself.
func (s *Static) implied(name string) (string, bool) {
	switch name {
	case "node.id", "broker.id":
		return strconv.Itoa(int(s.node)), true
	case "process.roles":
		return "broker,controller", true
	}
	return "", false
}

func (s *Static) number(name string) (int64, bool) {
	v, ok := s.given[name]
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 32)
	return n, err == nil
}

// checkTogether holds the rules between keys that Kafka checks at start.
func (s *Static) checkTogether() []error {
	var faults []error
	for _, r := range orderedPairs {
		low, high := s.Int(r[0]), s.Int(r[1])
		if low > high {
			faults = append(faults, fmt.Errorf("%s (%d) must not be above %s (%d)", r[0], low, r[1], high))
		}
	}
	node, hasNode := s.number("node.id")
	if older, ok := s.number("broker.id"); ok && hasNode && older >= 0 && node != older {
		faults = append(faults, fmt.Errorf("node.id (%d) and broker.id (%d) differ: set only node.id", node, older))
	}
	return faults
}

// orderedPairs are keys of which the first must not be above the second.
var orderedPairs = [][2]string{
	{"log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"},
	{"group.min.session.timeout.ms", "group.max.session.timeout.ms"},
	{"group.consumer.min.session.timeout.ms", "group.consumer.max.session.timeout.ms"},
	{"group.consumer.min.heartbeat.interval.ms", "group.consumer.max.heartbeat.interval.ms"},
	{"group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms"},
}
