//go:build bench

package quick

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kbin"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// rawConn sends requests that were encoded beforehand, one at a time, so that what is measured is the broker.
type rawConn struct {
	net.Conn
	r *bufio.Reader
}

func dialRaw(addr string) (*rawConn, error) {
	c, err := net.DialTimeout("tcp", addr, 5*time.Second)
	if err != nil {
		return nil, err
	}
	return &rawConn{Conn: c, r: bufio.NewReaderSize(c, 64<<10)}, nil
}

func encodeRequest(req kmsg.Request) []byte {
	return kmsg.NewRequestFormatter(kmsg.FormatterClientID("bench")).AppendRequest(nil, req, 1)
}

// exchange sends one encoded request and returns the answer's bytes after the size.
func (c *rawConn) exchange(request []byte) ([]byte, error) {
	if _, err := c.Write(request); err != nil {
		return nil, err
	}
	var size [4]byte
	if _, err := io.ReadFull(c.r, size[:]); err != nil {
		return nil, err
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	_, err := io.ReadFull(c.r, body)
	return body, err
}

// do sends req and decodes the answer into resp's own fields.
func (c *rawConn) do(req kmsg.Request) (kmsg.Response, error) {
	body, err := c.exchange(encodeRequest(req))
	if err != nil {
		return nil, err
	}
	resp := req.ResponseKind()
	b := kbin.Reader{Src: body}
	b.Int32()
	if resp.IsFlexible() && resp.Key() != int16(kmsg.ApiVersions) {
		for n := b.Uvarint(); n > 0 && b.Ok(); n-- {
			b.Uvarint()
			b.Span(int(b.Uvarint()))
		}
	}
	return resp, resp.ReadFrom(b.Src)
}

// recordBatch is one uncompressed batch of n records with values of valueBytes bytes.
func recordBatch(n, valueBytes int) []byte {
	now := time.Now().UnixMilli()
	var records []byte
	value := make([]byte, valueBytes)
	for i := range value {
		value[i] = byte('a' + i%26)
	}
	for i := range n {
		rec := kmsg.Record{OffsetDelta: int32(i), Value: value}
		rec.Length = int32(len(rec.AppendTo(nil)) - 1) // a length of 0 takes one byte
		records = rec.AppendTo(records)
	}
	b := kmsg.RecordBatch{
		PartitionLeaderEpoch: -1, Magic: 2, LastOffsetDelta: int32(n - 1), FirstTimestamp: now, MaxTimestamp: now,
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1, NumRecords: int32(n), Records: records,
	}
	raw := b.AppendTo(nil)
	binary.BigEndian.PutUint32(raw[8:], uint32(len(raw)-12))
	binary.BigEndian.PutUint32(raw[17:], crc32.Checksum(raw[21:], crc32.MakeTable(crc32.Castagnoli)))
	return raw
}

// produceRequest is an encoded Produce v9 (by name, which every broker takes) with one batch for one partition.
func produceRequest(topic string, partition int32, batch []byte) []byte {
	req := kmsg.NewPtrProduceRequest()
	req.SetVersion(9)
	req.Acks = 1
	req.TimeoutMillis = 30_000
	req.Topics = []kmsg.ProduceRequestTopic{{
		Topic:      topic,
		Partitions: []kmsg.ProduceRequestTopicPartition{{Partition: partition, Records: batch}},
	}}
	return encodeRequest(req)
}

func produceError(answer []byte) error {
	resp := kmsg.NewPtrProduceResponse()
	resp.SetVersion(9)
	if err := resp.ReadFrom(answer[5:]); err != nil { // correlation id, empty tag section
		return fmt.Errorf("produce answer: %w", err)
	}
	if len(resp.Topics) != 1 || len(resp.Topics[0].Partitions) != 1 || resp.Topics[0].Partitions[0].ErrorCode != 0 {
		return fmt.Errorf("produce refused: %+v", resp.Topics)
	}
	return nil
}
