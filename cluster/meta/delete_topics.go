package meta

import "moldau.io/moldau/protocol"

func (c *Controller) deleteTopics(cmd DeleteTopics) ([]Record, Reply, error) {
	var recs []Record
	reply := DeleteTopicsReply{Topics: make([]DeletedTopic, 0, len(cmd.Topics))}
	seen := make(map[protocol.TopicID]bool, len(cmd.Topics))
	for _, ref := range cmd.Topics {
		d, err := DeletedTopic{Name: ref.Name, ID: ref.ID}, error(nil)
		t := c.image.Topic(ref.Name)
		switch {
		case ref.Name != "" && !ref.ID.IsZero():
			err = protocol.Errorf(protocol.InvalidRequest, "a topic is named by name or by id, not by both")
		case !ref.ID.IsZero():
			if t = c.image.TopicByID(ref.ID); t == nil {
				err = protocol.Errorf(protocol.UnknownTopicID, "no topic has the id %s", ref.ID)
			}
		case t == nil:
			err = protocol.Errorf(protocol.UnknownTopicOrPartition, "there is no topic %q", ref.Name)
		}
		if err == nil && seen[t.ID] {
			err = protocol.Errorf(protocol.InvalidRequest, "topic %q is in the request twice", t.Name)
		}
		if err == nil {
			seen[t.ID] = true
			d.Name, d.ID = t.Name, t.ID
			recs = append(recs, RemoveTopicRecord{Topic: t.ID})
		}
		d.Outcome = OutcomeOf(err)
		reply.Topics = append(reply.Topics, d)
	}
	return recs, reply, nil
}
