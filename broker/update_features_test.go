package broker_test

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker/brokertest"
)

// A cluster that was made before there were consumer groups, or that has taken them back, refuses them until somebody
// finalizes group.version. That outlives a restart.
func TestC93_ConsumerGroupsAreThereWithTheirFeature(t *testing.T) {
	w := newGroupWire(t, nil)
	update := func(level int16, kind int8) {
		t.Helper()
		req := kmsg.NewPtrUpdateFeaturesRequest()
		req.Version, req.TimeoutMillis = 2, 10_000
		req.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: "group.version", MaxVersionLevel: level, UpgradeType: kind}}
		if resp := w.Do(req).(*kmsg.UpdateFeaturesResponse); resp.ErrorCode != 0 {
			t.Fatalf("level %d: %d %s", level, resp.ErrorCode, *resp.ErrorMessage)
		}
	}
	leaving := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	leaving.Group, leaving.MemberID, leaving.MemberEpoch = "nobody", "m", -1
	describe := kmsg.NewPtrConsumerGroupDescribeRequest()
	describe.Groups, describe.IncludeAuthorizedOperations = []string{"nobody", ""}, true
	answered := func() {
		t.Helper()
		w.wants("describe", describe, 0, 1, "{Groups:["+
			"{ErrorCode:69,ErrorMessage:Group nobody not found.,Group:nobody,Epoch:0,AssignmentEpoch:0,AuthorizedOperations:-2147483648},"+
			"{ErrorCode:24,Epoch:0,AssignmentEpoch:0,AuthorizedOperations:-2147483648}]}")
	}
	refused := func() {
		t.Helper()
		w.wants("heartbeat", leaving, 0, 1, "{ErrorCode:35,MemberEpoch:0,HeartbeatIntervalMillis:0}")
		w.wants("describe", describe, 0, 1, "{Groups:[{ErrorCode:35,Group:nobody,Epoch:0,AssignmentEpoch:0,AuthorizedOperations:-2147483648},"+
			"{ErrorCode:35,Epoch:0,AssignmentEpoch:0,AuthorizedOperations:-2147483648}]}")
	}
	answered()
	update(0, 2)
	refused()
	w.broker.Restart()
	w.Client = w.broker.Dial()
	w.coordinator()
	refused()
	update(1, 1)
	answered()
}

func TestUpdateFeaturesAnswers(t *testing.T) {
	w := newGroupWire(t, nil)
	req := kmsg.NewPtrUpdateFeaturesRequest()
	req.TimeoutMillis = 10_000
	req.FeatureUpdates = []kmsg.UpdateFeaturesRequestFeatureUpdate{{Feature: "group.version", MaxVersionLevel: 1, UpgradeType: 1}}
	w.wants("as it is", req, 0, 1, "{ErrorCode:0,Results:[{Feature:group.version,ErrorCode:0,ErrorMessage:NONE}]}")
	w.wants("as it is", req, 2, 2, "{ErrorCode:0}")
	req.FeatureUpdates[0].MaxVersionLevel = 2
	w.wants("too high", req, 0, 2, "{ErrorCode:95,ErrorMessage:The update failed for all features since the following feature "+
		"had an error: Invalid update version 2 for feature group.version. Local controller 1 only supports versions 0-1}")
	req.TimeoutMillis = 0
	if resp := w.Do(brokertest.Latest(req)).(*kmsg.UpdateFeaturesResponse); resp.ErrorCode != 7 {
		t.Errorf("without any time: %d", resp.ErrorCode)
	}
}
