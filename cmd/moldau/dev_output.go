package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"
)

// devOutput is what dev says: text, or with -o json one object a line on stdout.
type devOutput struct {
	w    world
	json bool

	mu     sync.Mutex
	failed bool // a command failed
}

// devEvent is one line of JSON. Fields that do not belong to the event are left out.
type devEvent struct {
	Event        string     `json:"event"`
	Broker       int        `json:"broker,omitempty"`
	Kafka        string     `json:"kafka,omitempty"`
	Admin        string     `json:"admin,omitempty"`
	Cluster      string     `json:"cluster,omitempty"` // cluster address
	ClusterID    string     `json:"cluster_id,omitempty"`
	Bootstrap    string     `json:"bootstrap,omitempty"`
	Data         string     `json:"data,omitempty"`
	Milliseconds int64      `json:"ms,omitempty"`
	From         string     `json:"from,omitempty"`
	To           string     `json:"to,omitempty"`
	Error        string     `json:"error,omitempty"`
	Status       *devReport `json:"status,omitempty"`
}

func (o *devOutput) say(e devEvent, text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.write(e, text)
}

// write is say with o.mu held.
func (o *devOutput) write(e devEvent, text string) {
	if o.json {
		_ = json.NewEncoder(o.w.stdout).Encode(e) // nobody listens any more
		return
	}
	fmt.Fprintln(o.w.stdout, text)
}

// ready says the line that serve says.
func (o *devOutput) ready(b *devBroker, r readyState) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.json {
		o.write(devEvent{
			Event: "ready", Broker: b.id, Kafka: r.kafka, Admin: b.admin, Cluster: b.cluster, ClusterID: r.cluster, Data: b.dir,
			Milliseconds: r.took.Milliseconds(),
		}, "")
		return
	}
	fmt.Fprintf(o.w.stderr, "ready node=%d cluster=%s kafka=%s admin=%s start=%s\n", r.node, r.cluster, r.kafka, r.admin,
		r.took.Round(time.Millisecond))
}

// fail says what did not work.
func (o *devOutput) fail(event string, broker int, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = true
	if o.json {
		o.write(devEvent{Event: event, Broker: broker, Error: err.Error()}, "")
		return
	}
	fmt.Fprintf(o.w.stderr, "moldau: %v\n", err)
}

func (o *devOutput) anyFailed() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}
