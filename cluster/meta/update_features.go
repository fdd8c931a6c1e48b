package meta

import (
	"fmt"
	"slices"

	"moldau.io/moldau/protocol"
)

// metadataVersion is the feature that says which metadata records there may be. Nothing takes it back to a level that
// could not express what is written, and the levels in between all lost something.
const metadataVersion = "metadata.version"

// updateFeatures takes all updates or none, as Kafka's FeatureControlManager.
func (c *Controller) updateFeatures(cmd UpdateFeatures) ([]Record, Reply, error) {
	var recs []Record
	for _, u := range cmd.Updates {
		if err := c.updateFeature(cmd, u); err != nil {
			return nil, UpdateFeaturesReply{Outcome: OutcomeOf(err)}, nil
		}
		if u.Level != c.image.Feature(u.Name) {
			if u.Name == eligibleLeaderReplicas && u.Level > 0 {
				recs = append(recs, c.oneMinISR()...)
			}
			recs = append(recs, FeatureRecord{Name: u.Name, Level: u.Level})
		}
	}
	if cmd.ValidateOnly {
		recs = nil
	}
	return recs, UpdateFeaturesReply{}, nil
}

func (c *Controller) updateFeature(cmd UpdateFeatures, u FeatureUpdate) error {
	refuse := func(format string, a ...any) error {
		return protocol.Errorf(protocol.InvalidUpdateVersion, "Invalid update version %d for feature %s. %s", u.Level, u.Name,
			fmt.Sprintf(format, a...))
	}
	now := c.image.Feature(u.Name)
	switch {
	case u.Kind != Upgrade && u.Kind != SafeDowngrade && u.Kind != UnsafeDowngrade:
		return refuse("The controller does not support the given upgrade type.")
	case u.Level < 0:
		return refuse("A feature version cannot be less than 0.")
	}
	supported := FeatureRange{Name: u.Name}
	i := slices.IndexFunc(cmd.Supported, func(f FeatureRange) bool { return f.Name == u.Name })
	if i >= 0 {
		supported = cmd.Supported[i]
	}
	switch {
	case u.Level >= supported.Min && u.Level <= supported.Max:
	case supported.Max == 0:
		return refuse("Local controller %d does not support this feature.", cmd.Node)
	default:
		return refuse("Local controller %d only supports versions %s", cmd.Node, supported)
	}
	if why := c.unsupported(cmd.Node, u); why != "" {
		return refuse("%s", why)
	}
	switch {
	case u.Level < now && u.Kind == Upgrade:
		return refuse("Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe " +
			"downgrade.")
	case u.Level > now && u.Kind != Upgrade:
		return refuse("Can't downgrade to a newer version.")
	case u.Name == metadataVersion && u.Level < now:
		why := "Refusing to perform the requested downgrade because it might delete metadata information."
		if u.Kind == UnsafeDowngrade {
			why = "Unsafe metadata downgrade is not supported in this version."
		}
		return protocol.Errorf(protocol.InvalidUpdateVersion, "Unsupported metadata.version downgrade from %d to %d. %s", now,
			u.Level, why)
	}
	return nil
}

// unsupported says which broker could not do what a feature at that level asks for. One that is down counts too: it comes back, and
// would be refused. asked has said so itself.
func (c *Controller) unsupported(asked protocol.BrokerID, u FeatureUpdate) string {
	if u.Level == 0 {
		return ""
	}
	for _, b := range c.image.Brokers() {
		if b.ID == asked {
			continue
		}
		i := slices.IndexFunc(b.Features, func(f FeatureRange) bool { return f.Name == u.Name })
		switch {
		case i < 0:
			return fmt.Sprintf("Broker %d does not support this feature.", b.ID)
		case u.Level < b.Features[i].Min || u.Level > b.Features[i].Max:
			return fmt.Sprintf("Broker %d only supports versions %s", b.ID, b.Features[i])
		}
	}
	return ""
}

// String is the range as Kafka writes it.
func (f FeatureRange) String() string {
	if f.Min == f.Max {
		return fmt.Sprint(f.Min)
	}
	return fmt.Sprintf("%d-%d", f.Min, f.Max)
}
