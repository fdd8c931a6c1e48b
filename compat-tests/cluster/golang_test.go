//go:build compat

package cluster

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// emit adds an event of now.
func (s *stage) emit(who string, kind Kind, partition string, offset int64, value string) {
	s.add(Event{At: now(), Who: who, Kind: kind, Partition: partition, Offset: offset, Value: value})
}

func (s *stage) emitWhy(who string, kind Kind, partition, value string, err error) {
	s.add(Event{At: now(), Who: who, Kind: kind, Partition: partition, Offset: -1, Value: value, Why: err.Error()})
}

// running is a client of this process.
type running struct {
	*stage
	name, topic string
	partitions  atomic.Int32
	ctx         context.Context
	style       Style
}

// run plays a client until it is closed.
func (s *stage) run(name, topic string, style Style, partitions int, play func(*running) error) actor {
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{stage: s, name: name, topic: topic, ctx: ctx, style: style}
	r.partitions.Store(int32(partitions))
	s.emit(name, Opened, "", -1, string(style))
	s.t.Cleanup(cancel)
	go func() {
		if err := play(r); err != nil {
			s.emitWhy(name, Error, "", "", fmt.Errorf("it has ended: %w", err))
		}
		s.emit(name, Closed, "", -1, "")
	}()
	return actor{name: name, topic: topic, style: style, grow: func(n int) { r.partitions.Store(int32(n)) }, close: cancel}
}

// stock are the options of all franz-go clients: those that give a silent broker up soon.
func (s *stage) stock(name string, more ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{kgo.SeedBrokers(s.cluster.Addrs()...), kgo.ClientID(name),
		kgo.RequestTimeoutOverhead(2 * time.Second), kgo.ProduceRequestTimeout(3 * time.Second),
		kgo.MetadataMinAge(100 * time.Millisecond), kgo.MetadataMaxAge(time.Second)}, more...)
}

// pace calls send for one partition after the other, rate times a second, until ctx ends.
func (r *running) pace(rate int, known func(partition int32) bool, send func(partition int32, n int64)) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	next := map[int32]int64{}
	began, i := time.Now(), 0
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-tick.C:
		}
		for due := int(time.Since(began).Seconds() * float64(rate)); i < due && r.ctx.Err() == nil; i++ {
			p := int32(i) % r.partitions.Load()
			if !known(p) {
				continue // the client has not heard of it yet
			}
			send(p, next[p])
			next[p]++
		}
	}
}

// franzWriter is a franz-go producer.
func (s *stage) franzWriter(name, topic string, style Style, partitions, rate int) actor {
	return s.run(name, topic, style, partitions, func(r *running) error {
		opts := r.stock(name, kgo.DefaultProduceTopic(topic), kgo.RecordPartitioner(kgo.ManualPartitioner()),
			kgo.RecordDeliveryTimeout(2*time.Minute), kgo.UnknownTopicRetries(-1))
		if style != Idempotent {
			opts = append(opts, kgo.DisableIdempotentWrite())
		}
		if style == Careless {
			opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()))
		}
		cl, err := kgo.NewClient(opts...)
		if err != nil {
			return err
		}
		defer cl.Close()
		known := func(p int32) bool {
			leader, _, err := cl.PartitionLeader(topic, p)
			return err == nil && leader >= 0 || p < int32(partitions)
		}
		r.pace(rate, known, func(p int32, n int64) {
			partition := fmt.Sprintf("%s-%d", topic, p)
			value := Value(name, partition, n)
			s.emit(name, Sent, partition, -1, value)
			cl.Produce(context.Background(), &kgo.Record{Partition: p, Value: []byte(value)}, func(rec *kgo.Record, err error) {
				if err != nil {
					s.emitWhy(name, Unknown, partition, value, err)
					return
				}
				s.emit(name, Acked, partition, rec.Offset, value)
			})
		})
		return cl.Flush(context.Background())
	})
}

// saramaWriter is a sarama producer.
func (s *stage) saramaWriter(name, topic string, style Style, partitions, rate int) actor {
	return s.run(name, topic, style, partitions, func(r *running) error {
		cfg := sarama.NewConfig()
		cfg.ClientID = name
		cfg.Version = sarama.V2_8_0_0
		cfg.Producer.RequiredAcks = sarama.WaitForAll
		cfg.Producer.Partitioner = sarama.NewManualPartitioner
		cfg.Producer.Return.Successes = true
		cfg.Producer.Retry.Max, cfg.Producer.Retry.Backoff = 600, 100*time.Millisecond
		cfg.Producer.Timeout = 3 * time.Second
		cfg.Net.ReadTimeout, cfg.Net.DialTimeout = 4*time.Second, 2*time.Second
		cfg.Metadata.Retry.Max = 20
		if style == Idempotent {
			cfg.Producer.Idempotent, cfg.Net.MaxOpenRequests = true, 1
		}
		cfg.Metadata.RefreshFrequency = time.Second
		client, err := sarama.NewClient(s.cluster.Addrs(), cfg)
		if err != nil {
			return err
		}
		defer client.Close()
		producer, err := sarama.NewAsyncProducerFromClient(client)
		if err != nil {
			return err
		}
		var answers sync.WaitGroup
		answers.Go(func() {
			for m := range producer.Successes() {
				value, _ := m.Value.Encode()
				s.emit(name, Acked, fmt.Sprintf("%s-%d", topic, m.Partition), m.Offset, string(value))
			}
		})
		answers.Go(func() {
			for e := range producer.Errors() {
				value, _ := e.Msg.Value.Encode()
				s.emitWhy(name, Unknown, fmt.Sprintf("%s-%d", topic, e.Msg.Partition), string(value), e.Err)
			}
		})
		known := func(p int32) bool {
			all, err := client.Partitions(topic)
			return err == nil && int(p) < len(all) || p < int32(partitions)
		}
		r.pace(rate, known, func(p int32, n int64) {
			partition := fmt.Sprintf("%s-%d", topic, p)
			value := Value(name, partition, n)
			s.emit(name, Sent, partition, -1, value)
			producer.Input() <- &sarama.ProducerMessage{Topic: topic, Partition: p, Value: sarama.StringEncoder(value)}
		})
		producer.AsyncClose()
		answers.Wait()
		return nil
	})
}

// franzReader reads all partitions from the start.
func (s *stage) franzReader(name, topic string, partitions int) actor {
	return s.run(name, topic, Reader, partitions, func(r *running) error {
		cl, err := kgo.NewClient(r.stock(name, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {}}),
			kgo.FetchMaxWait(500*time.Millisecond))...)
		if err != nil {
			return err
		}
		defer cl.Close()
		for have := int32(0); r.ctx.Err() == nil; {
			for ; have < r.partitions.Load(); have++ {
				cl.AddConsumePartitions(map[string]map[int32]kgo.Offset{topic: {have: kgo.NewOffset().AtStart()}})
				s.emit(name, Assigned, fmt.Sprintf("%s-%d", topic, have), -1, "")
			}
			r.take(cl.PollFetches(r.shortly()))
		}
		return nil
	})
}

// shortly is a context that ends soon, so that what was asked for meanwhile is seen.
func (r *running) shortly() context.Context {
	ctx, cancel := context.WithTimeout(r.ctx, 200*time.Millisecond)
	context.AfterFunc(ctx, cancel)
	return ctx
}

// take keeps what was fetched.
func (r *running) take(fetches kgo.Fetches) (offsets map[string]map[int32]kgo.EpochOffset) {
	var events []Event
	at := now()
	offsets = map[string]map[int32]kgo.EpochOffset{}
	fetches.EachError(func(topic string, p int32, err error) {
		var rejoins *kgo.ErrGroupSession // which the client does by itself
		if r.ctx.Err() == nil && !errors.Is(err, context.DeadlineExceeded) && !errors.As(err, &rejoins) {
			events = append(events, Event{At: at, Who: r.name, Kind: Error, Partition: fmt.Sprintf("%s-%d", topic, p), Why: err.Error()})
		}
	})
	fetches.EachRecord(func(rec *kgo.Record) {
		events = append(events, Event{At: at, Who: r.name, Kind: Read, Partition: fmt.Sprintf("%s-%d", rec.Topic, rec.Partition),
			Offset: rec.Offset, Value: string(rec.Value)})
		if offsets[rec.Topic] == nil {
			offsets[rec.Topic] = map[int32]kgo.EpochOffset{}
		}
		offsets[rec.Topic][rec.Partition] = kgo.EpochOffset{Epoch: rec.LeaderEpoch, Offset: rec.Offset + 1}
	})
	if len(events) > 0 {
		r.add(events...)
	}
	return offsets
}

// franzMember is a member of the group that its name begins with.
func (s *stage) franzMember(name, topic string) actor {
	return s.run(name, topic, Member, 0, func(r *running) error {
		each := func(kind Kind) func(context.Context, *kgo.Client, map[string][]int32) {
			return func(_ context.Context, _ *kgo.Client, all map[string][]int32) {
				for topic, list := range all {
					for _, p := range list {
						s.emit(name, kind, fmt.Sprintf("%s-%d", topic, p), -1, "")
					}
				}
			}
		}
		cl, err := kgo.NewClient(r.stock(name, kgo.ConsumeTopics(topic), kgo.ConsumerGroup(GroupOf(name)),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.DisableAutoCommit(), kgo.BlockRebalanceOnPoll(),
			kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(500*time.Millisecond), kgo.FetchMaxWait(500*time.Millisecond),
			kgo.OnPartitionsAssigned(each(Assigned)), kgo.OnPartitionsRevoked(each(Revoked)), kgo.OnPartitionsLost(each(Revoked)))...)
		if err != nil {
			return err
		}
		defer cl.CloseAllowingRebalance()
		for r.ctx.Err() == nil {
			if offsets := r.take(cl.PollFetches(r.shortly())); len(offsets) > 0 {
				r.commit(cl, offsets)
			}
			cl.AllowRebalance()
		}
		return nil
	})
}

func (r *running) commit(cl *kgo.Client, offsets map[string]map[int32]kgo.EpochOffset) {
	each := func(kind Kind) {
		for topic, list := range offsets {
			for p, o := range list {
				r.emit(r.name, kind, fmt.Sprintf("%s-%d", topic, p), o.Offset, "")
			}
		}
	}
	each(Commit)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := commitSync(ctx, cl, offsets); err != nil {
		r.emitWhy(r.name, Error, "", "", fmt.Errorf("commit: %w", err))
		return
	}
	each(Done)
}

func commitSync(ctx context.Context, cl *kgo.Client, offsets map[string]map[int32]kgo.EpochOffset) (failed error) {
	cl.CommitOffsetsSync(ctx, offsets, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, resp *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if err != nil {
			return
		}
		for _, t := range resp.Topics {
			for _, p := range t.Partitions {
				failed = errors.Join(failed, kerr.ErrorForCode(p.ErrorCode))
			}
		}
	})
	return failed
}

// prober asks for the high watermarks, one question after the other.
func (s *stage) prober(name, topic string) actor {
	return s.run(name, topic, Prober, 0, func(r *running) error {
		cl, err := kgo.NewClient(r.stock(name)...)
		if err != nil {
			return err
		}
		defer cl.Close()
		adm := kadm.NewClient(cl)
		tick := time.NewTicker(50 * time.Millisecond)
		defer tick.Stop()
		for r.ctx.Err() == nil {
			list, _ := adm.ListEndOffsets(r.ctx, topic)
			var events []Event
			at := now()
			list.Each(func(o kadm.ListedOffset) {
				if o.Err == nil {
					events = append(events, Event{At: at, Who: name, Kind: High, Partition: fmt.Sprintf("%s-%d", o.Topic, o.Partition),
						Offset: o.Offset, Value: fmt.Sprint(o.LeaderEpoch)})
				}
			})
			if len(events) > 0 {
				s.add(events...)
			}
			select {
			case <-tick.C:
			case <-r.ctx.Done():
			}
		}
		return nil
	})
}
