package meta

import (
	"strconv"

	"moldau.io/moldau/cluster/config"
	"moldau.io/moldau/protocol"
)

// Where the cluster keeps eligible leader replicas, the controller must know when leaders commit. So min.insync.replicas is then
// the same on all brokers: it is set for the cluster and for topics, never for one broker (Kafka's ConfigurationControlManager).

// oneMinISR makes min.insync.replicas the cluster's.
func (c *Controller) oneMinISR() []Record {
	var recs []Record
	if _, ok := c.image.Configs(config.BrokerResource, "")[minISRKey]; !ok {
		value := strconv.FormatInt(c.cfg.Static.Int(minISRKey), 10)
		recs = append(recs, ConfigRecord{Resource: Resource{Type: config.BrokerResource}, Key: minISRKey, Value: &value})
	}
	for _, name := range c.image.ConfiguredResources(config.BrokerResource) {
		if _, ok := c.image.Configs(config.BrokerResource, name)[minISRKey]; ok && name != "" {
			recs = append(recs, ConfigRecord{Resource: Resource{Type: config.BrokerResource, Name: name}, Key: minISRKey})
		}
	}
	return recs
}

// checkMinISR keeps it so.
func (c *Controller) checkMinISR(r Resource, now, next map[string]string) error {
	if r.Type != config.BrokerResource || c.image.Feature(eligibleLeaderReplicas) == 0 {
		return nil
	}
	old, was := now[minISRKey]
	value, is := next[minISRKey]
	switch {
	case r.Name != "" && (was != is || old != value):
		return protocol.Errorf(protocol.InvalidConfig, "Broker-level min.insync.replicas cannot be altered while ELR is enabled.")
	case r.Name == "" && was && !is:
		return protocol.Errorf(protocol.InvalidConfig, "Cluster-level min.insync.replicas cannot be removed while ELR is enabled.")
	}
	return nil
}

// afterConfigs is what must change together with configurations: where fewer replicas suffice for a commit than before, and as many
// are in sync, those that are only eligible will miss the next record.
func (c *Controller) afterConfigs(recs []Record) ([]Record, error) {
	concerned := false
	for _, r := range recs {
		r, ok := r.(ConfigRecord)
		concerned = concerned || ok && r.Key == minISRKey
	}
	if !concerned || c.image.Feature(eligibleLeaderReplicas) == 0 {
		return nil, nil
	}
	im, err := c.image.With(c.image.Offset()+1, recs...)
	if err != nil {
		return nil, err
	}
	then := Controller{cfg: c.cfg, image: im}
	return then.change(then.voters(nil, -1),
		func(p *Partition) bool { return len(p.ELR) > 0 }, func(*partitionChange) {}), nil
}
