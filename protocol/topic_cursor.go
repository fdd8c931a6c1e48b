package protocol

// topicCursor walks the common shape of Produce and Fetch requests: an array of topics, each with an array of partitions
// and tagged fields behind it.
type topicCursor struct {
	r          reader
	flexible   bool
	byID       bool
	topics     int  // still to come
	partitions int  // of the current topic, still to come
	open       bool // the end of the current topic has not been read
}

// newTopicCursor starts at the array of topics, where r stands.
func newTopicCursor(r reader, flexible, byID bool) topicCursor {
	c := topicCursor{r: r, flexible: flexible, byID: byID}
	c.topics = c.r.count(flexible, 1)
	return c
}

// next moves to the next partition and, where that is another topic's, sets name or id. The caller reads the partition.
func (c *topicCursor) next(name *[]byte, id *TopicID) bool {
	for c.partitions == 0 {
		if c.open {
			c.r.endOfStruct(c.flexible)
			c.open = false
		}
		if c.topics == 0 || c.r.err != nil {
			return false
		}
		if c.byID {
			*id = c.r.uuid()
		} else {
			*name = c.r.str(c.flexible)
		}
		c.partitions = c.r.count(c.flexible, partitionBytesMin)
		c.topics--
		c.open = true
	}
	c.partitions--
	return c.r.err == nil
}

// partitionBytesMin is what a partition takes at least: its index.
const partitionBytesMin = 4

// partitionsMax is how many partitions a Produce or a Fetch may name. What is kept for each is many times the few bytes
// that it can be sent in, so that without a limit a frame could take memory far beyond its size.
const partitionsMax = 100_000
