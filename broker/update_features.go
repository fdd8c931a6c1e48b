package broker

import (
	"log/slog"

	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/cluster/meta"
	"moldau.io/moldau/protocol"
)

// UpdateFeatures, versions 0 to 2 (KIP-584). All updates are made or none.
//
//	v1  validate only; what kind of change the client agrees to, in place of whether it may be a downgrade
//	v2  one error for all; before, one for each feature too

func handleUpdateFeatures(b *Broker, r *request) {
	req := r.msg.(*kmsg.UpdateFeaturesRequest)
	resp := req.ResponseKind().(*kmsg.UpdateFeaturesResponse)
	cmd := meta.UpdateFeatures{ValidateOnly: req.ValidateOnly, Node: b.nodeID()}
	for _, f := range supportedFeatures {
		cmd.Supported = append(cmd.Supported, meta.FeatureRange{Name: f.Name, Min: f.MinVersion, Max: f.MaxVersion})
	}
	for _, u := range req.FeatureUpdates {
		kind := meta.FeatureUpdateKind(u.UpgradeType)
		if r.version() == 0 {
			kind = meta.Upgrade // Kafka's controller does not look at what version 0 has in its place
		}
		cmd.Updates = append(cmd.Updates, meta.FeatureUpdate{Name: u.Feature, Level: u.MaxVersionLevel, Kind: kind})
	}
	ctx, cancel := adminContext(r, req.TimeoutMillis)
	defer cancel()
	reply, err := b.propose(ctx, cmd)
	if err == nil {
		err = reply.(meta.UpdateFeaturesReply).Outcome.Err()
	}
	if err != nil {
		text := "The update failed for all features since the following feature had an error: " + err.Error()
		resp.ErrorCode, resp.ErrorMessage = int16(protocol.CodeOf(adminError(err))), &text
		r.Reply(resp)
		return
	}
	for _, u := range req.FeatureUpdates {
		none := "NONE"
		resp.Results = append(resp.Results, kmsg.UpdateFeaturesResponseResult{Feature: u.Feature, ErrorMessage: &none})
		if !req.ValidateOnly {
			b.log.Info("feature is finalized", "feature", u.Feature, "level", u.MaxVersionLevel, "client", r.client())
		}
	}
	r.Reply(resp)
}

// sayFeatures tells what the cluster could do and has not agreed to: Kafka does not change a feature by itself either.
func sayFeatures(log *slog.Logger, im *meta.Image) {
	if im.Feature(groupVersion) == 0 {
		log.Warn("consumer groups of the new protocol (KIP-848) are refused since the cluster has not finalized group.version; " +
			"kafka-features.sh upgrade --feature group.version=1 does that")
	}
}
