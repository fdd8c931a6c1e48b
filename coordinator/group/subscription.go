package group

// subscribed is the set of topics that the members' subscriptions name, or nil if they cannot be read. Nothing else of a
// subscription is looked at: clients of all ages put different things behind the topics.
func (g *group) subscribed() map[string]struct{} {
	if g.kind != consumerType {
		return nil
	}
	if len(g.members) == 0 {
		return map[string]struct{}{}
	}
	if g.protocol == nil {
		return nil
	}
	all := map[string]struct{}{}
	for _, mem := range g.members {
		topics, ok := readTopics(mem.metadata(g.protocol))
		if !ok {
			return nil
		}
		for _, t := range topics {
			all[t] = struct{}{}
		}
	}
	return all
}

// subscribedTo says that the offsets of the topic are in use: as of the last generation. If its subscriptions could not be
// read, or there was none yet, all are.
func (g *group) subscribedTo(topic string) bool {
	if g.topics == nil {
		return g.kind == consumerType
	}
	_, ok := g.topics[topic]
	return ok
}
