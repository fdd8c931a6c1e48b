package meta

import (
	"slices"
	"strings"

	"moldau.io/moldau/protocol"
)

// topicNameMax is the longest topic name, in characters: a folder is named after the topic with up to six more for the
// partition, and file systems allow 255.
const topicNameMax = 249

// metadataTopic is the name under which Apache Kafka keeps its own metadata log. There is no such topic here, and there must
// never be one that looks like it.
const metadataTopic = "__cluster_metadata"

// Topics that hold the coordinators' state.
const (
	OffsetsTopic      = "__consumer_offsets"
	TransactionsTopic = "__transaction_state"
	ShareStateTopic   = "__share_group_state"
)

// IsInternal says that a topic of this name holds a coordinator's state.
func IsInternal(name string) bool {
	return name == OffsetsTopic || name == TransactionsTopic || name == ShareStateTopic
}

// CheckTopicName says whether a topic may be called name (Kafka's Topic.validate). The error wraps INVALID_TOPIC_EXCEPTION.
func CheckTopicName(name string) error {
	bad := func(format string, a ...any) error {
		return protocol.Errorf(protocol.InvalidTopicException, format, a...)
	}
	switch {
	case name == "":
		return bad("a topic name must not be empty")
	case name == "." || name == "..":
		return bad("a topic cannot be called %q", name)
	case len(name) > topicNameMax:
		return bad("a topic name has at most %d characters, this one has %d", topicNameMax, len(name))
	}
	for i := range len(name) {
		if !topicNameByte(name[i]) {
			return bad("topic name %q has a character other than ASCII letters, digits, '.', '_' and '-'", name)
		}
	}
	return nil
}

func topicNameByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '.' || b == '_' || b == '-'
}

func collisionKey(name string) (string, bool) {
	return strings.ReplaceAll(name, ".", "_"), strings.ContainsAny(name, "._")
}

func (c *Controller) addCollision(name string) {
	if k, ok := collisionKey(name); ok {
		c.collisions[k] = append(c.collisions[k], name)
	}
}

func (c *Controller) removeCollision(name string) {
	k, _ := collisionKey(name)
	left := slices.DeleteFunc(c.collisions[k], func(n string) bool { return n == name })
	if len(left) == 0 {
		delete(c.collisions, k)
		return
	}
	c.collisions[k] = left
}
