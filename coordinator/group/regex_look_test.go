package group

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// A costly expression is matched piece by piece, between the requests of others. Its member gets the topics with a later
// heartbeat.
func TestACostlyExpressionIsMatchedPieceByPiece(t *testing.T) {
	b := newBench(t)
	for i := range 150 {
		b.topics.set(fmt.Sprintf("%s-%d", strings.Repeat("topic", 5), i), 1)
	}
	b.topics.set(strings.Repeat("x", 100), 1)
	expression, cheap := strings.Repeat(".?", 40)+strings.Repeat("(?:a?b?)?", 2000), "top.*"
	beat := func(who string, epoch int32, regex *string) *ConsumerHeartbeatResult {
		r := &ConsumerHeartbeat{
			Group: "g", Member: who, Epoch: epoch, Rebalance: unchangedRebalance, ClientID: who, MemberIDRequired: true,
		}
		if epoch == joinEpoch {
			r.Rebalance, r.Regex, r.Owned = time.Minute, regex, []TopicPartitions{}
		}
		if epoch != joinEpoch {
			r.Owned = withoutEpochs(b.m.consumers["g"].members[who].cur.Assigned)
		}
		b.now = b.now.Add(2 * time.Second)
		b.ticket++
		b.owner[b.ticket] = who
		eff := b.m.Handle(b.now, b.ticket, r)
		res := eff.Replies[0].Resp.(*ConsumerHeartbeatResult)
		b.settle(eff)
		return res
	}
	if res := beat("a", joinEpoch, &expression); len(res.Assigned) > 0 || res.Epoch != 1 {
		t.Fatalf("the first heartbeat brought %d topics in epoch %d", len(res.Assigned), res.Epoch)
	}
	beat("b", joinEpoch, &cheap) // comes while the look at the first expression goes on
	ticks := 0
	for ; b.m.consumers["g"].look != nil; ticks++ {
		if b.m.Deadline().After(b.now) {
			t.Fatal("nobody goes on with the look")
		}
		was := b.m.consumers["g"].look.next
		b.settle(b.m.Tick(b.now))
		if l := b.m.consumers["g"].look; l != nil && l.next-was > 100 {
			t.Fatalf("%d names at once", l.next-was)
		}
	}
	if ticks < 2 {
		t.Errorf("the look took %d calls only", ticks)
	}
	for range 8 {
		for _, who := range []string{"a", "b"} {
			beat(who, b.m.consumers["g"].members[who].cur.Epoch, nil)
		}
		b.advance(11 * time.Second)
	}
	if n := len(b.m.consumers["g"].members["a"].cur.Assigned) + len(b.m.consumers["g"].members["b"].cur.Assigned); n != 150 {
		t.Errorf("%d topics have an owner, of 150 that match", n)
	}
}

// A look whose member is gone when it ends leaves nothing.
func TestALookThatNobodyWaitsForIsDropped(t *testing.T) {
	b := newBench(t)
	for i := range 150 {
		b.topics.set(fmt.Sprintf("%s-%d", strings.Repeat("topic", 5), i), 1)
	}
	expression := strings.Repeat("(?:a?b?)?", 2000) + ".*"
	b.handle("a", &ConsumerHeartbeat{
		Group: "g", Member: "a", Rebalance: time.Minute, Regex: &expression, Owned: []TopicPartitions{}, MemberIDRequired: true,
	})
	b.handle("a", &ConsumerHeartbeat{Group: "g", Member: "a", Epoch: leaveEpoch, MemberIDRequired: true})
	b.advance(time.Second)
	g := b.m.consumers["g"]
	if g.look != nil || len(g.regexes) > 0 || len(g.topics) > 0 || g.epoch != 2 {
		t.Errorf("look %v, expressions %v, topics %v, epoch %d", g.look, g.regexes, g.topics, g.epoch)
	}
}
