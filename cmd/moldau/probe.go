package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	probeTime     = 2 * time.Second  // for one question and its answer
	readyTime     = 30 * time.Second // until a broker that has opened its data must answer
	probePause    = 5 * time.Millisecond
	probeBytesMax = 1 << 20 // a Metadata answer without topics is far smaller
)

// awaitAnswer returns when a client that comes in by the socket at addr gets an answer to Metadata.
func awaitAnswer(ctx context.Context, addr net.Addr) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	host, port, err := net.SplitHostPort(addr.String())
	if err != nil {
		return err
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
		if ip.To4() == nil {
			host = "localhost" // whichever of the two loopback addresses the socket takes
		}
	}
	for {
		_, err := askCluster(ctx, net.JoinHostPort(host, port))
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(probePause):
		}
	}
}

// askCluster sends a Metadata request without topics to addr and gives the id of the cluster that answers.
func askCluster(ctx context.Context, addr string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	var d net.Dialer
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer nc.Close()
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	defer stop()

	req := kmsg.NewPtrMetadataRequest()
	req.Version = 4 // the oldest that every Kafka from 4.0 on takes and that can leave topics uncreated
	req.Topics = []kmsg.MetadataRequestTopic{}
	const correlation = 1
	if _, err := nc.Write(kmsg.NewRequestFormatter(kmsg.FormatterClientID("moldau-ready")).AppendRequest(nil, req,
		correlation)); err != nil {
		return "", err
	}
	var head [8]byte
	if _, err := io.ReadFull(nc, head[:]); err != nil {
		return "", err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size < 4 || size > probeBytesMax || binary.BigEndian.Uint32(head[4:]) != correlation {
		return "", errors.New("what answers there is no Kafka broker")
	}
	body := make([]byte, size-4)
	if _, err := io.ReadFull(nc, body); err != nil {
		return "", err
	}
	resp := kmsg.NewPtrMetadataResponse()
	resp.Version = req.Version
	if err := resp.ReadFrom(body); err != nil {
		return "", fmt.Errorf("an answer that cannot be read: %w", err)
	}
	if resp.ClusterID == nil {
		return "", errors.New("the answer names no cluster")
	}
	return *resp.ClusterID, nil
}
