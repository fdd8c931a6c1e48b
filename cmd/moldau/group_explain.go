package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"moldau.io/moldau/broker"
)

// explainTime is how long an admin address that nobody named may take to answer.
const explainTime = time.Second

// explain adds to the views what a broker says of them at its admin address: why they rebalanced, and the ages of unread
// records. Where the user did not name the address, and nobody answers there or a broker of another cluster does, the
// views stay as they are. So do those of groups that another broker coordinates.
func (a *adminFlag) explain(ctx context.Context, adm groupAdmin, views []groupView) error {
	if len(views) == 0 {
		return nil
	}
	told, err := adm.BrokerMetadata(ctx)
	if err != nil {
		return err
	}
	if !a.given {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, explainTime)
		defer cancel()
	}
	for i := range views {
		d := &broker.GroupDetail{}
		status, err := a.get(ctx, "/groups", url.Values{"group": {views[i].Group}}, d)
		switch {
		case status == http.StatusNotFound || status == http.StatusServiceUnavailable:
			continue
		case err == nil && d.Cluster != told.Cluster:
			err = fmt.Errorf("a broker of another cluster answers at %s; --admin names the address of this one's", a.address)
		}
		switch {
		case err == nil:
			views[i].explain(d)
		case a.given:
			return err
		default:
			return nil
		}
	}
	return nil
}

func (v *groupView) explain(d *broker.GroupDetail) {
	v.LagSeconds, v.LastRebalance = d.LagSeconds, d.Last
	ages := make(map[place]*float64, len(d.Partitions))
	for _, p := range d.Partitions {
		ages[place{p.Topic, p.Partition}] = p.LagSeconds
	}
	for i := range v.Partitions {
		p := &v.Partitions[i]
		p.LagSeconds = ages[place{p.Topic, p.Partition}]
	}
}
