package lag

import (
	"reflect"
	"testing"
	"time"

	"moldau.io/moldau/coordinator/group"
	"moldau.io/moldau/protocol"
)

// fixed is partitions in memory. Their records have the times 1000, 2000, 3000, ... by offset.
type fixed struct {
	ends  map[int32]End
	looks int
	slow  func() // called by every look
}

func (f *fixed) End(topic string, id protocol.TopicID, partition int32) (End, bool) {
	e, ok := f.ends[partition]
	return e, ok && topic == e.Topic && (id.IsZero() || id == e.ID)
}

func (f *fixed) Timestamp(e End, from protocol.Offset) (int64, bool) {
	f.looks++
	if f.slow != nil {
		f.slow()
	}
	if from == 97 {
		return None, true // only markers from here on
	}
	return int64(from+1) * 1000, from != 50 // the one at 50 has no time
}

var rides = protocol.TopicID{1}

func newFixed() *fixed {
	return &fixed{ends: map[int32]End{
		0: {Topic: "rides", ID: rides, Start: 0, High: 100},
		1: {Topic: "rides", ID: rides, Partition: 1, Start: 40, High: 100},
		2: {Topic: "rides", ID: rides, Partition: 2, Start: 100, High: 100},
	}}
}

func at(partition int32, offset protocol.Offset) group.CommittedOffset {
	return group.CommittedOffset{Group: "g", Topic: "rides", TopicID: rides, Partition: partition, Offset: offset}
}

func clock(seconds int64) func() time.Time { return func() time.Time { return time.Unix(seconds, 0) } }

func TestLagIsExact(t *testing.T) {
	m := NewMeter(newFixed(), clock(1000))
	f := func(c group.CommittedOffset, records, behind int64, age time.Duration) {
		t.Helper()
		got := m.Measure([]group.CommittedOffset{c}, false, nil)
		if len(got) != 1 {
			t.Fatalf("%+v: %d measured", c, len(got))
		}
		if l := got[0]; l.Records != records || l.Behind != behind || l.Age != age || l.CommittedOffset != c {
			t.Errorf("%+v: %+v", c, l)
		}
	}
	f(at(0, 0), 100, 0, 999*time.Second)
	f(at(0, 99), 1, 0, 900*time.Second)
	f(at(0, 100), 0, 0, 0) // all is read
	f(at(0, 101), 0, 0, 0) // more than there is
	f(at(0, 50), 50, 0, Unknown)
	f(at(0, 97), 3, 0, 0)
	f(at(1, 40), 60, 0, 959*time.Second)
	f(at(1, 30), 60, 10, 959*time.Second) // below the log's start
	f(at(2, 7), 0, 93, 0)                 // all that it has not read is gone
	without := at(0, 99)
	without.TopicID = protocol.TopicID{}
	f(without, 1, 0, 900*time.Second)

	other := at(0, 5)
	other.TopicID = protocol.TopicID{2}
	gone := at(0, 5)
	gone.Topic = "gone"
	if got := m.Measure([]group.CommittedOffset{at(0, -1), at(9, 5), other, gone}, false, nil); len(got) != 0 {
		t.Errorf("measured what is not known: %+v", got)
	}
}

// TestLagOfRecordsFromTheFutureIsNoNegativeAge: clocks differ.
func TestLagOfRecordsFromTheFutureIsNoNegativeAge(t *testing.T) {
	m := NewMeter(newFixed(), clock(3))
	if l := m.Measure([]group.CommittedOffset{at(0, 90)}, false, nil)[0]; l.Age != 0 || l.Records != 10 {
		t.Errorf("%+v", l)
	}
}

// TestLagReadsALogOnceForAnOffset: however many groups stand there, and however often they are measured.
func TestLagReadsALogOnceForAnOffset(t *testing.T) {
	ends := newFixed()
	now := int64(1000)
	m := NewMeter(ends, func() time.Time { return time.Unix(now, 0) })
	committed := []group.CommittedOffset{at(0, 10), at(0, 10), at(1, 60), at(1, 30), at(0, 70), at(0, 100)}
	for range 20 {
		now++
		m.Measure(committed, true, nil)
	}
	if ends.looks != 4 {
		t.Errorf("%d looks for 4 offsets with unread records", ends.looks)
	}
	if len(m.times) != 4 || m.before != nil {
		t.Errorf("%d times are kept", len(m.times))
	}
	committed[0].Offset = 11
	got := m.Measure(committed, true, nil)
	if ends.looks != 5 || got[0].Age != time.Duration(now-12)*time.Second || got[1].Age != time.Duration(now-11)*time.Second {
		t.Errorf("after one has moved: %d looks, %+v", ends.looks, got[:2])
	}
	m.Measure(committed[:1], true, nil)
	if len(m.times) != 1 {
		t.Errorf("%d times are kept of groups that are no more", len(m.times))
	}
	// Who asks for one group takes what is known and disturbs nothing.
	m.Measure([]group.CommittedOffset{at(0, 11), at(0, 12)}, false, nil)
	if ends.looks != 6 || len(m.times) != 1 {
		t.Errorf("one group: %d looks, %d times", ends.looks, len(m.times))
	}
}

// TestLagLooksAgainForWhatItDidNotFind: a record may come, and a log may be read again.
func TestLagLooksAgainForWhatItDidNotFind(t *testing.T) {
	ends := newFixed()
	m := NewMeter(ends, clock(1000))
	for range 3 {
		m.Measure([]group.CommittedOffset{at(0, 50), at(0, 97)}, true, nil)
	}
	if ends.looks != 6 || len(m.times) != 0 {
		t.Errorf("%d looks, %d times", ends.looks, len(m.times))
	}
}

// TestLagLooksAgainWhereRecordsGo: compaction may have removed the record that was the first.
func TestLagLooksAgainWhereRecordsGo(t *testing.T) {
	ends := newFixed()
	e := ends.ends[0]
	e.Compacts = true
	ends.ends[0] = e
	now := int64(1000)
	m := NewMeter(ends, func() time.Time { return time.Unix(now, 0) })
	for range 60 {
		m.Measure([]group.CommittedOffset{at(0, 10), at(1, 60)}, true, nil)
		now++
	}
	if ends.looks != 3 {
		t.Errorf("%d looks in a minute, want two for the compacted log and one for the other", ends.looks)
	}
}

// TestLagDoesNotReadForEver: where disks are slow, ages are missing for once, and come one after the other.
func TestLagDoesNotReadForEver(t *testing.T) {
	ends := newFixed()
	now := time.Unix(1000, 0)
	ends.slow = func() { now = now.Add(300 * time.Millisecond) }
	m := NewMeter(ends, func() time.Time { return now })
	var committed []group.CommittedOffset
	for o := range protocol.Offset(10) {
		committed = append(committed, at(0, o))
	}
	var known []int
	for range 4 {
		n := 0
		for _, l := range m.Measure(committed, true, nil) {
			if l.Age != Unknown {
				n++
			}
			if l.Records == 0 {
				t.Fatal("records are missing, too")
			}
		}
		known = append(known, n)
	}
	if want := []int{4, 8, 10, 10}; !reflect.DeepEqual(known, want) {
		t.Errorf("ages that are known: %v, want %v", known, want)
	}
}

// TestLagOfManyCostsNoReadsAndNearlyNoMemory: 10,000 partitions of groups that have not moved.
func TestLagOfManyCostsNoReadsAndNearlyNoMemory(t *testing.T) {
	ends := newFixed()
	m := NewMeter(ends, clock(1000))
	var committed []group.CommittedOffset
	for i := range 10_000 {
		committed = append(committed, at(int32(i%2), protocol.Offset(60+i%30)))
	}
	out := m.Measure(committed, true, nil)
	looks := ends.looks
	allocated := testing.AllocsPerRun(5, func() { out = m.Measure(committed, true, out[:0]) })
	if ends.looks != looks || len(out) != 10_000 {
		t.Errorf("%d more looks", ends.looks-looks)
	}
	if allocated > 50 {
		t.Errorf("%v allocations", allocated)
	}
}
