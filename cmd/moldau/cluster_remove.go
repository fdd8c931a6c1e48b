package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// brokerID is the broker that an argument names.
func brokerID(arg string) (int32, error) {
	id, err := strconv.ParseInt(arg, 10, 32)
	if err != nil || id < 0 {
		return 0, usageErrorf("%q is no broker's id: 'moldau cluster status' shows them", arg)
	}
	return int32(id), nil
}

// known is the broker of that id, or says which there are.
func (v *clusterView) known(id int32) (*brokerView, error) {
	b := v.broker(id)
	if b == nil {
		var ids []int32
		for _, o := range v.Brokers {
			ids = append(ids, o.ID)
		}
		return nil, fmt.Errorf("there is no broker %d; the cluster has %s", id, joined(ids))
	}
	return b, nil
}

// removedView is what remove prints.
type removedView struct {
	Removed int32 `json:"removed"`
}

func newClusterRemove(w world, c *cluster) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "remove BROKER",
		Short: "Have the cluster forget a broker that is empty and stopped",
		Long: "Have the cluster forget a broker that will not come back. It must be stopped, and no partition may have a replica on\n" +
			"it: 'moldau cluster drain' moves them away. Its id may be used again by another one.",
		Example: "  moldau cluster drain 3 && ssh node3 systemctl stop moldau && moldau cluster remove 3",
		Args:    cobra.ExactArgs(1),
	}
	out := addOutputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		id, err := brokerID(args[0])
		if err != nil {
			return err
		}
		return c.groups(cmd.Context(), func(ctx context.Context, adm groupAdmin) error {
			v, err := c.view(ctx, adm, false)
			if err != nil {
				return err
			}
			b, err := v.known(id)
			if err != nil {
				return err
			}
			if err := b.mayGo(); err != nil {
				return err
			}
			req := kmsg.NewPtrUnregisterBrokerRequest()
			req.BrokerID = id
			resp, err := req.RequestWith(ctx, adm.cl)
			if err != nil {
				return err
			}
			if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
				text := ""
				if resp.ErrorMessage != nil {
					text = *resp.ErrorMessage
				}
				return brokerError(fmt.Sprintf("remove broker %d", id), err, text)
			}
			if *out == outputJSON {
				return printJSON(w.stdout, removedView{id})
			}
			fmt.Fprintf(w.stdout, "broker %d is removed\n", id)
			return nil
		})
	}
	return cmd
}

// mayGo says why a broker cannot be removed.
func (b *brokerView) mayGo() error {
	switch {
	case b.Replicas > 0 && b.live:
		return fmt.Errorf("broker %d has %d replicas: 'moldau cluster drain %d' moves them away; then stop it, and remove it", b.ID,
			b.Replicas, b.ID)
	case b.Replicas > 0:
		return fmt.Errorf("broker %d is down and still has %d replicas: 'moldau cluster drain %d' gives them to others, copied from "+
			"the replicas that are left", b.ID, b.Replicas, b.ID)
	case b.live:
		return errors.New(fmt.Sprint("broker ", b.ID, " runs: stop it first, or it would join again at once"))
	}
	return nil
}
