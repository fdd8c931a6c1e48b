package inspect

import (
	"encoding/base64"
	"fmt"

	"moldau.io/moldau/protocol"
	"moldau.io/moldau/protocol/fields"
)

// coordinatorKeys are the keys of __consumer_offsets (schemas of kafka-group-coordinator, 4.4): after the key's number
// come these strings, in the classic form.
var coordinatorKeys = map[int16]struct {
	kind  string
	names []string
}{
	2:  {"group", []string{"group"}},
	3:  {"consumer-group", []string{"group"}},
	4:  {"consumer-group-partitions", []string{"group"}},
	5:  {"consumer-group-member", []string{"group", "member"}},
	6:  {"consumer-group-target", []string{"group"}},
	7:  {"consumer-group-target-member", []string{"group", "member"}},
	8:  {"consumer-group-assignment", []string{"group", "member"}},
	10: {"share-group-member", []string{"group", "member"}},
	11: {"share-group", []string{"group"}},
	12: {"share-group-target", []string{"group"}},
	13: {"share-group-target-member", []string{"group", "member"}},
	14: {"share-group-assignment", []string{"group", "member"}},
	15: {"share-group-partitions", []string{"group"}},
	16: {"consumer-group-regex", []string{"group", "regex"}},
	17: {"streams-group", []string{"group"}},
	19: {"streams-group-member", []string{"group", "member"}},
	20: {"streams-group-target", []string{"group"}},
	21: {"streams-group-target-member", []string{"group", "member"}},
	22: {"streams-group-assignment", []string{"group", "member"}},
	23: {"streams-group-topology", []string{"group"}},
}

// Coordinated is a record of __consumer_offsets in readable form.
type Coordinated struct {
	Kind    string            `json:"kind"`
	Names   map[string]string `json:"of,omitempty"`
	Topic   string            `json:"topic,omitempty"`
	Number  *int32            `json:"partition,omitempty"`
	Deleted bool              `json:"deleted,omitempty"` // a tombstone
	Commit  *Commit           `json:"commit,omitempty"`
	Group   *Group            `json:"state,omitempty"`
	Raw     string            `json:"value_base64,omitempty"` // of a kind that is not taken apart
	Damage  string            `json:"damage,omitempty"`
}

// Commit is a committed offset.
type Commit struct {
	Offset    int64  `json:"offset"`
	Epoch     int32  `json:"leader_epoch"`
	Metadata  string `json:"metadata"`
	Timestamp int64  `json:"timestamp"`
	Expires   *int64 `json:"expires,omitempty"`
	TopicID   string `json:"topic_id,omitempty"`
}

// Group is a classic group.
type Group struct {
	Type       string   `json:"protocol_type"`
	Generation int32    `json:"generation"`
	Protocol   string   `json:"protocol"`
	Leader     string   `json:"leader"`
	Since      int64    `json:"state_timestamp"`
	Members    []Member `json:"members"`
}

// Member is a member of a classic group.
type Member struct {
	ID         string `json:"member"`
	Instance   string `json:"instance,omitempty"`
	Client     string `json:"client"`
	Host       string `json:"host"`
	Rebalance  int32  `json:"rebalance_timeout_ms"`
	Session    int32  `json:"session_timeout_ms"`
	Assignment string `json:"assignment_base64"`
}

// DecodeCoordinator takes a record of __consumer_offsets apart.
func DecodeCoordinator(key, value []byte) *Coordinated {
	k := fields.NewReader(key, false)
	kind := k.Int16()
	c := &Coordinated{Deleted: value == nil}
	switch shape, ok := coordinatorKeys[kind]; {
	case k.Bad():
		c.Kind = "unknown"
	case kind == 0 || kind == 1:
		c.Kind = "commit"
		c.Names = map[string]string{"group": k.String()}
		c.Topic = k.String()
		n := k.Int32()
		c.Number = &n
		if value != nil {
			c.Commit = decodeCommit(value)
		}
	case !ok:
		c.Kind = fmt.Sprintf("key-%d", kind)
		c.Raw = base64.StdEncoding.EncodeToString(value)
	default:
		c.Kind, c.Names = shape.kind, map[string]string{}
		for _, name := range shape.names {
			c.Names[name] = k.String()
		}
		if kind == 2 && value != nil {
			c.Group = decodeGroup(value)
		} else if value != nil {
			c.Raw = base64.StdEncoding.EncodeToString(value)
		}
	}
	if k.Bad() {
		c.Damage = "the key is cut short"
	}
	if value != nil && c.Commit == nil && c.Group == nil && c.Raw == "" {
		c.Damage = "the value is not what its key says"
		c.Raw = base64.StdEncoding.EncodeToString(value)
	}
	return c
}

// decodeCommit is nil for damaged values.
func decodeCommit(value []byte) *Commit {
	in := fields.NewReader(value, false)
	v := in.Int16()
	in.Flexible = v >= 4
	c := &Commit{Offset: in.Int64(), Epoch: -1}
	if v >= 3 {
		c.Epoch = in.Int32()
	}
	c.Metadata, c.Timestamp = in.String(), in.Int64()
	if v == 1 {
		expires := in.Int64()
		c.Expires = &expires
	}
	in.EndStruct(func(tag uint64, value []byte) {
		if id := (protocol.TopicID{}); tag == 0 && len(value) == len(id) {
			copy(id[:], value)
			c.TopicID = id.String()
		}
	})
	if in.Bad() || v < 0 || v > 4 {
		return nil
	}
	return c
}

// decodeGroup is nil for damaged values.
func decodeGroup(value []byte) *Group {
	in := fields.NewReader(value, false)
	v := in.Int16()
	in.Flexible = v >= 4
	g := &Group{Type: in.String(), Generation: in.Int32(), Protocol: in.String(), Leader: in.String(), Since: -1}
	if v >= 2 {
		g.Since = in.Int64()
	}
	n := in.Count()
	for i := 0; i < n && !in.Bad(); i++ {
		m := Member{ID: in.String(), Rebalance: -1}
		if v >= 3 {
			m.Instance = in.String()
		}
		m.Client, m.Host = in.String(), in.String()
		if v >= 1 {
			m.Rebalance = in.Int32()
		}
		m.Session = in.Int32()
		in.Bytes() // the subscription, in the protocol's own format
		m.Assignment = base64.StdEncoding.EncodeToString(in.Bytes())
		in.EndStruct(nil)
		g.Members = append(g.Members, m)
	}
	in.EndStruct(nil)
	if in.Bad() || v < 0 || v > 4 {
		return nil
	}
	return g
}
