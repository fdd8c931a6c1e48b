package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"moldau.io/moldau/broker"
)

// devReport is the cluster as its controller sees it, or, without one, a broker that runs.
type devReport struct {
	Controller      int               `json:"controller"` // 0: none
	Brokers         []devBrokerReport `json:"brokers"`
	Topics          int               `json:"topics"`
	Partitions      int               `json:"partitions"`
	UnderReplicated int               `json:"under_replicated"`
	Leaderless      int               `json:"leaderless"`
	Cuts            []string          `json:"cuts"`

	lagging  int  // replicas on brokers that run, which are not in sync
	changing bool // the voters are being changed
}

type devBrokerReport struct {
	ID       int    `json:"id"`
	State    string `json:"state"`
	Fenced   bool   `json:"fenced"`
	Voter    bool   `json:"voter"`
	Kafka    string `json:"kafka"`
	Cluster  string `json:"cluster"`
	Leads    int    `json:"leads"`
	Replicas int    `json:"replicas"`
	Behind   int    `json:"behind"` // replicas that are not in sync
}

// reportTime bounds how long a report waits for the controller.
const reportTime = 2 * time.Second

func (c *devCluster) report(ctx context.Context) devReport {
	r := devReport{Cuts: c.sw.Cuts()}
	if r.Cuts == nil {
		r.Cuts = []string{}
	}
	voters := map[int]bool{}
	from := c.view(ctx, &r, voters)
	for _, b := range c.brokers {
		r.Brokers = append(r.Brokers, devBrokerReport{
			ID: b.id, State: string(b.is()), Fenced: true, Voter: voters[b.id], Kafka: b.kafka, Cluster: b.cluster,
		})
	}
	if from == nil {
		return r
	}
	for _, b := range from.NodeStatus().Brokers {
		if i := int(b.ID) - 1; i >= 0 && i < len(r.Brokers) {
			r.Brokers[i].Fenced = b.Fenced
		}
	}
	for _, t := range from.TopicStatus() {
		r.Topics++
		for _, p := range t.Partitions {
			r.partition(p)
		}
	}
	return r
}

// view finds the controller, and the broker to ask.
func (c *devCluster) view(ctx context.Context, r *devReport, voters map[int]bool) (from *broker.Broker) {
	ctx, cancel := context.WithTimeout(ctx, reportTime)
	defer cancel()
	for _, b := range c.brokers {
		up := b.up()
		if up == nil {
			continue
		}
		if from == nil {
			from = up
		}
		st, err := up.Quorum(ctx)
		if err != nil || st.Leader < 1 || int(st.Leader) > len(c.brokers) {
			continue
		}
		leader := c.brokers[st.Leader-1].up()
		if leader == nil {
			continue
		}
		for _, m := range st.Members {
			if m.Voter {
				voters[int(m.Broker)] = true
			}
		}
		r.Controller, r.changing = int(st.Leader), st.Changing
		return leader
	}
	return from
}

func (r *devReport) partition(p broker.PartitionStatus) {
	r.Partitions++
	if len(p.ISR) < len(p.Replicas) {
		r.UnderReplicated++
	}
	if p.Leader < 0 {
		r.Leaderless++
	}
	for _, id := range p.Replicas {
		i := int(id) - 1
		if i < 0 || i >= len(r.Brokers) {
			continue
		}
		b := &r.Brokers[i]
		b.Replicas++
		if id == p.Leader {
			b.Leads++
		}
		if !slices.Contains(p.ISR, id) {
			b.Behind++
			if b.State == string(devUp) {
				r.lagging++
			}
		}
	}
}

// missing says what keeps the brokers that run from being in step, where so many vote when all run; empty: nothing.
func (r devReport) missing(voters int) string {
	var out []string
	if r.Controller == 0 {
		out = append(out, "there is no controller")
	}
	all, vote := true, 0
	for _, b := range r.Brokers {
		up := b.State == string(devUp)
		all = all && up
		if up && b.Fenced {
			out = append(out, fmt.Sprintf("broker %d is fenced", b.ID))
		}
		if b.Voter {
			vote++
		}
	}
	if r.changing {
		out = append(out, "the voters are being changed")
	}
	if all && vote < voters {
		out = append(out, fmt.Sprintf("%d of %d voters are there", vote, voters))
	}
	if r.lagging > 0 {
		out = append(out, fmt.Sprintf("%d replicas on brokers that run are not in sync", r.lagging))
	}
	if r.Leaderless > 0 {
		out = append(out, fmt.Sprintf("%d partitions have no leader", r.Leaderless))
	}
	return strings.Join(out, ", ")
}

// status prints a report.
func (c *devCluster) status(ctx context.Context) error {
	r := c.report(ctx)
	if c.out.json {
		c.out.say(devEvent{Event: "status", Status: &r}, "")
		return nil
	}
	t := newTable(c.w.stdout, "BROKER", "STATE", "KAFKA", "CLUSTER", "LEADS", "REPLICAS", "BEHIND", "ROLE")
	for _, b := range r.Brokers {
		state := b.State
		if b.Fenced && state == string(devUp) {
			state += ", fenced"
		}
		role := "-"
		switch {
		case b.ID == r.Controller:
			role = "controller"
		case b.Voter:
			role = "voter"
		}
		t.row(b.ID, state, b.Kafka, b.Cluster, b.Leads, b.Replicas, b.Behind, role)
	}
	if err := t.flush(); err != nil {
		return err
	}
	links := "whole"
	if len(r.Cuts) > 0 {
		links = strings.Join(r.Cuts, ", ")
	}
	fmt.Fprintf(c.w.stdout, "%d topics, %d partitions, %d under-replicated, %d without a leader; links: %s\n", r.Topics,
		r.Partitions, r.UnderReplicated, r.Leaderless, links)
	return nil
}
