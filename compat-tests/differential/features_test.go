//go:build compat

package differential

import (
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/compat-tests/harness"
)

// TestFeaturesAreKafkas changes features of whole clusters, so it has brokers of its own.
func TestFeaturesAreKafkas(t *testing.T) {
	kafka := harness.Start(t, harness.Config{Kind: harness.Kafka, Properties: properties})
	other := harness.Start(t, harness.Config{Properties: properties})
	compare(t, script{"features", scriptFeatures}, kafka, other, announced(t, kafka))
}

const updateFeaturesKey = 57

// updating is a request for one feature.
func updating(v int16, name string, level int16, kind int8, validateOnly bool) *kmsg.UpdateFeaturesRequest {
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.Version, req.TimeoutMillis, req.ValidateOnly = v, 10_000, validateOnly
	u := kmsg.NewUpdateFeaturesRequestFeatureUpdate()
	u.Feature, u.MaxVersionLevel, u.UpgradeType, u.AllowDowngrade = name, level, kind, kind > 1
	req.FeatureUpdates = append(req.FeatureUpdates, u)
	return req
}

// finalized writes down the level of group.version as clients learn it.
func (s *session) finalized(label string, want int16) {
	req := kmsg.NewPtrApiVersionsRequest()
	req.Version, req.ClientSoftwareName, req.ClientSoftwareVersion = 4, "compat", "1"
	s.until(label, req, func(r kmsg.Response) bool {
		features := r.(*kmsg.ApiVersionsResponse).FinalizedFeatures
		i := slices.IndexFunc(features, func(f kmsg.ApiVersionsResponseFinalizedFeature) bool { return f.Name == "group.version" })
		return want == 0 && i < 0 || i >= 0 && features[i].MaxVersionLevel == want
	})
	s.note(label, "seen")
}

func scriptFeatures(s *session) {
	topic, _ := s.topic("t", 1)
	group := s.name("g")
	s.coordinate(group)
	s.finalized("at first", 1)
	s.each(updateFeaturesKey, func(v int16) {
		ask := func(label, name string, level int16, kind int8) {
			s.ask(label, updating(v, name, level, kind, v >= 1))
		}
		ask("an unknown feature", "no.such", 1, 1)
		ask("a level too high", "group.version", 7, 1)
		ask("a level below 0", "group.version", -1, 1)
		ask("the level that it has", "group.version", 1, 1)
		ask("down by an upgrade", "group.version", 0, 1)
		if v >= 1 {
			ask("down, safely", "group.version", 0, 2)
			ask("down, unsafely", "group.version", 0, 3)
			ask("up by a downgrade", "group.version", 1, 2)
			ask("no kind", "group.version", 1, 0)
			ask("a strange kind", "group.version", 1, 9)
		}
		ask("metadata far down", "metadata.version", 7, 2)
		ask("metadata below all", "metadata.version", 3, 2)
		ask("metadata too high", "metadata.version", 99, 1)
		ask("an empty name", "", 1, 1)
		twice := updating(v, "group.version", 1, 1, v >= 1)
		twice.FeatureUpdates = append(twice.FeatureUpdates, twice.FeatureUpdates[0])
		s.ask("twice the same", twice)
		both := updating(v, "group.version", 1, 1, v >= 1)
		both.FeatureUpdates = append(both.FeatureUpdates, updating(v, "no.such", 1, 1, false).FeatureUpdates...)
		s.ask("a good and a bad one", both)
		none := updating(v, "", 1, 1, v >= 1)
		none.FeatureUpdates = nil
		s.ask("none", none)
	})
	s.beats("a member joins", entering(1, group, "one", topic))
	s.ask("the level is taken back", updating(2, "group.version", 0, 2, false))
	s.finalized("taken back", 0)
	s.each(consumerKey, func(v int16) { s.ask("a heartbeat", beat(v, group, "one", 2)) })
	describe := kmsg.NewPtrConsumerGroupDescribeRequest()
	describe.Version, describe.Groups = 1, []string{group}
	s.ask("a look", describe)
	s.ask("the level is raised again", updating(2, "group.version", 1, 1, false))
	s.finalized("raised", 1)
	s.until("heartbeats again", beat(1, group, "one", 2), func(r kmsg.Response) bool {
		return r.(*kmsg.ConsumerGroupHeartbeatResponse).ErrorCode != 35
	})
	s.ask("a heartbeat of before", beat(1, group, "one", 2))
}
