package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"moldau.io/moldau/broker"
)

func newCluster(w world) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Show the cluster, empty, balance and remove brokers",
		Args:  cobra.NoArgs,
		RunE:  helpOrUsage,
	}
	cmd.AddCommand(newClusterRecover(w)) // it is about a folder, and knows no brokers
	c := addClusterFlags(w, cmd)
	cmd.AddCommand(newClusterStatus(w, c), newClusterDrain(w, c), newClusterRebalance(w, c), newClusterRemove(w, c))
	return cmd
}

// brokerView is a broker as status prints it. What could not be learned is -1, or empty.
type brokerView struct {
	ID         int32  `json:"id"`
	State      string `json:"state"`
	Controller bool   `json:"controller"`
	Voter      bool   `json:"voter"`
	Rack       string `json:"rack"`
	Version    string `json:"version"`
	Address    string `json:"address"`
	Leaders    int    `json:"leaders"`
	Replicas   int    `json:"replicas"`
	Behind     int    `json:"not_in_sync"` // replicas
	Lag        int64  `json:"lag"`         // records that followers here have not fetched
	Bytes      int64  `json:"bytes"`
	FreeBytes  int64  `json:"free_bytes"` // of the disks that the data folders are on

	live bool
}

// clusterView is the whole cluster at one moment.
type clusterView struct {
	Cluster    string       `json:"cluster"`
	Controller int32        `json:"controller"` // -1: none
	Brokers    []brokerView `json:"brokers"`    // by id
	Topics     int          `json:"topics"`
	Partitions int          `json:"partitions"`
	Replicas   int          `json:"replicas"`
	Moving     int          `json:"moving"` // partitions on their way to other brokers
	Under      []string     `json:"under_replicated"`
	Offline    []string     `json:"offline"`

	parts []kadm.PartitionDetail
	bytes map[string]map[int32]int64 // of a partition, the largest of its replicas
}

// view looks at the cluster. Disks are asked for only where disks is set.
func (c *cluster) view(ctx context.Context, adm groupAdmin, disks bool) (*clusterView, error) {
	md, err := adm.Metadata(ctx)
	if err != nil {
		return nil, err
	}
	v := &clusterView{Cluster: md.Cluster, Controller: -1, Under: []string{}, Offline: []string{}, bytes: map[string]map[int32]int64{}}
	if err := v.members(ctx, adm, md.Brokers); err != nil {
		return nil, err
	}
	if err := v.quorum(ctx, adm); err != nil {
		return nil, err
	}
	moves, err := adm.ListPartitionReassignments(ctx, nil)
	if err != nil {
		return nil, err
	}
	moves.Each(func(kadm.ListPartitionReassignmentsResponse) { v.Moving++ })
	v.topics(md.Topics)
	if disks {
		v.disks(ctx, adm)
	}
	return v, nil
}

// members fills in who belongs to the cluster, those that are down too.
func (v *clusterView) members(ctx context.Context, adm groupAdmin, live kadm.BrokerDetails) error {
	req := kmsg.NewPtrDescribeClusterRequest()
	req.EndpointType, req.IncludeFencedBrokers = 1, true
	resp, err := req.RequestWith(ctx, adm.cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return fmt.Errorf("ask who is in the cluster: %w", err)
	}
	for _, b := range resp.Brokers {
		bv := brokerView{
			ID: b.NodeID, State: broker.MemberDown, Address: fmt.Sprintf("%s:%d", b.Host, b.Port), Lag: -1, Bytes: -1, FreeBytes: -1,
		}
		if b.Rack != nil {
			bv.Rack = *b.Rack
		}
		if bv.live = slices.ContainsFunc(live, func(d kadm.BrokerDetail) bool { return d.NodeID == b.NodeID }); bv.live {
			bv.State = broker.MemberAlive
		}
		v.Brokers = append(v.Brokers, bv)
	}
	slices.SortFunc(v.Brokers, func(a, b brokerView) int { return cmp.Compare(a.ID, b.ID) })
	return nil
}

// broker is the broker of that id; nil for none.
func (v *clusterView) broker(id int32) *brokerView {
	for i := range v.Brokers {
		if v.Brokers[i].ID == id {
			return &v.Brokers[i]
		}
	}
	return nil
}

// quorum fills in who keeps the metadata.
func (v *clusterView) quorum(ctx context.Context, adm groupAdmin) error {
	req := kmsg.NewPtrDescribeQuorumRequest()
	t := kmsg.NewDescribeQuorumRequestTopic()
	t.Topic, t.Partitions = "__cluster_metadata", []kmsg.DescribeQuorumRequestTopicPartition{{}}
	req.Topics = append(req.Topics, t)
	resp, err := req.RequestWith(ctx, adm.cl)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if errors.Is(err, kerr.RequestTimedOut) {
		return errors.New("nobody leads the metadata quorum: a majority of its voters is not there. Start them again; if they " +
			"are gone for ever, 'moldau cluster recover --help' says what can be done")
	}
	if err != nil {
		return fmt.Errorf("ask who keeps the metadata: %w", err)
	}
	for _, t := range resp.Topics {
		for _, p := range t.Partitions {
			v.Controller = p.LeaderID
			for _, m := range p.CurrentVoters {
				if b := v.broker(m.ReplicaID); b != nil {
					b.Voter, b.Controller = true, m.ReplicaID == p.LeaderID
				}
			}
		}
	}
	return nil
}

// topics counts what is where.
func (v *clusterView) topics(topics kadm.TopicDetails) {
	for _, t := range topics.Sorted() {
		v.Topics++
		for _, p := range t.Partitions.Sorted() {
			v.parts = append(v.parts, p)
			v.Partitions++
			v.Replicas += len(p.Replicas)
			name := fmt.Sprintf("%s-%d", p.Topic, p.Partition)
			if p.Leader < 0 {
				v.Offline = append(v.Offline, name)
			}
			if len(p.ISR) < len(p.Replicas) {
				v.Under = append(v.Under, name)
			}
			for _, id := range p.Replicas {
				b := v.broker(id)
				if b == nil {
					continue
				}
				b.Replicas++
				if p.Leader == id {
					b.Leaders++
				}
				if !slices.Contains(p.ISR, id) {
					b.Behind++
				}
			}
		}
	}
}

// disks fills in sizes and lags, as far as the brokers answer.
func (v *clusterView) disks(ctx context.Context, adm groupAdmin) {
	all, _ := adm.DescribeAllLogDirs(ctx, nil) // of those that failed there is nothing
	for id, dirs := range all {
		b := v.broker(id)
		if b == nil {
			continue
		}
		b.Bytes, b.Lag, b.FreeBytes = 0, 0, 0
		for _, d := range dirs {
			b.FreeBytes += max(0, d.UsableBytes)
			for topic, ps := range d.Topics {
				if v.bytes[topic] == nil {
					v.bytes[topic] = map[int32]int64{}
				}
				for n, p := range ps {
					b.Bytes += p.Size
					b.Lag += max(0, p.OffsetLag)
					v.bytes[topic][n] = max(v.bytes[topic][n], p.Size)
				}
			}
		}
	}
}

// tell adds what a broker says at its admin address: versions, and who is drained. Without it these stay open, unless the user has
// named the address.
func (v *clusterView) tell(ctx context.Context, admin *adminFlag) error {
	ctx, cancel := context.WithTimeout(ctx, adminTime)
	defer cancel()
	var st broker.ClusterStatus
	if _, err := admin.get(ctx, "/cluster", nil, &st); err != nil {
		if admin.given {
			return err
		}
		return nil
	}
	if st.Cluster != v.Cluster {
		if admin.given {
			return fmt.Errorf("the broker at --admin %s is one of another cluster, %s", admin.address, st.Cluster)
		}
		return nil
	}
	for _, m := range st.Brokers {
		if b := v.broker(m.ID); b != nil {
			b.State, b.Version = m.State, m.Version
		}
	}
	return nil
}
