package meta

import (
	"testing"

	"moldau.io/moldau/protocol"
)

func TestUpdateFeatures(t *testing.T) {
	p := newPlant(t, 1)
	update := func(validate bool, updates ...FeatureUpdate) string {
		t.Helper()
		reply := p.do(UpdateFeatures{Updates: updates, ValidateOnly: validate, Node: 1, Supported: []FeatureRange{
			{Name: "group.version", Max: 1}, {Name: "metadata.version", Min: 7, Max: 33},
		}})
		err := reply.(UpdateFeaturesReply).Outcome.Err()
		if err == nil {
			return ""
		}
		if code := protocol.CodeOf(err); code != protocol.InvalidUpdateVersion {
			t.Errorf("%v", code)
		}
		return err.Error()
	}
	level := func(want int16) {
		t.Helper()
		if got := p.c.image.Feature("group.version"); got != want {
			t.Errorf("group.version is %d, want %d", got, want)
		}
	}
	says := func(got, want string) {
		t.Helper()
		if got != want {
			t.Errorf("got  %q\nwant %q", got, want)
		}
	}
	level(0)
	says(update(true, FeatureUpdate{"group.version", 1, Upgrade}), "")
	level(0)
	says(update(false, FeatureUpdate{"group.version", 1, Upgrade}, FeatureUpdate{"share.version", 1, Upgrade}),
		"Invalid update version 1 for feature share.version. Local controller 1 does not support this feature.")
	level(0)
	says(update(false, FeatureUpdate{"group.version", 1, SafeDowngrade}),
		"Invalid update version 1 for feature group.version. Can't downgrade to a newer version.")
	says(update(false, FeatureUpdate{"group.version", 1, Upgrade}), "")
	level(1)
	says(update(false, FeatureUpdate{"group.version", 1, SafeDowngrade}), "")
	says(update(false, FeatureUpdate{"group.version", 2, Upgrade}),
		"Invalid update version 2 for feature group.version. Local controller 1 only supports versions 0-1")
	says(update(false, FeatureUpdate{"group.version", -1, Upgrade}),
		"Invalid update version -1 for feature group.version. A feature version cannot be less than 0.")
	says(update(false, FeatureUpdate{"group.version", 0, 4}),
		"Invalid update version 0 for feature group.version. The controller does not support the given upgrade type.")
	says(update(false, FeatureUpdate{"group.version", 0, Upgrade}), "Invalid update version 0 for feature group.version. "+
		"Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe downgrade.")
	level(1)
	says(update(false, FeatureUpdate{"group.version", 0, SafeDowngrade}), "")
	level(0)
	says(update(false, FeatureUpdate{"metadata.version", 32, SafeDowngrade}), "Unsupported metadata.version downgrade from 33 "+
		"to 32. Refusing to perform the requested downgrade because it might delete metadata information.")
	says(update(false, FeatureUpdate{"metadata.version", 7, UnsafeDowngrade}), "Unsupported metadata.version downgrade from 33 "+
		"to 7. Unsafe metadata downgrade is not supported in this version.")
	says(update(false, FeatureUpdate{"metadata.version", 33, Upgrade}), "")
}

func TestAFeatureIsFinalizedWhenEveryBrokerHasIt(t *testing.T) {
	p := newPlant(t, 1)
	update := func(level int16, kind FeatureUpdateKind) string {
		t.Helper()
		if err := p.do(UpdateFeatures{Updates: []FeatureUpdate{{"group.version", level, kind}}, Node: 1,
			Supported: []FeatureRange{{Name: "group.version", Max: 2}}}).(UpdateFeaturesReply).Outcome.Err(); err != nil {
			return err.Error()
		}
		return ""
	}
	register := func(features ...FeatureRange) { t.Helper(); p.do(RegisterBroker{ID: 2, Features: features}) }
	for _, c := range []struct {
		features []FeatureRange
		level    int16
		kind     FeatureUpdateKind
		want     string
	}{
		{nil, 1, Upgrade, "Invalid update version 1 for feature group.version. Broker 2 does not support this feature."},
		{[]FeatureRange{{Name: "group.version", Max: 1}}, 2, Upgrade,
			"Invalid update version 2 for feature group.version. Broker 2 only supports versions 0-1"},
		{[]FeatureRange{{Name: "group.version", Max: 1}}, 1, Upgrade, ""},
		{[]FeatureRange{{Name: "group.version", Max: 2}}, 2, Upgrade, ""},
		{[]FeatureRange{{Name: "group.version", Max: 2}}, 0, SafeDowngrade, ""},
	} {
		if c.features != nil {
			c.features = append(c.features, FeatureRange{Name: metadataVersion, Min: 7, Max: 33})
		}
		register(c.features...)
		if got := update(c.level, c.kind); got != c.want {
			t.Errorf("%v to %d: %q, want %q", c.features, c.level, got, c.want)
		}
	}
}
