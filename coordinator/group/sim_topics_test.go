package group

import (
	"fmt"
	"iter"
	"maps"
	"regexp"
	"slices"
	"time"

	"moldau.io/moldau/protocol"
)

// simTopics is the truth about topics; brokers and clients learn of it later.
type simTopics struct {
	w      *simWorld
	now    simMetadata
	lastID byte
	names  map[protocol.TopicID]string // of all topics there ever were
}

// simMetadata is one version of it, which does not change.
type simMetadata struct {
	version int64
	topics  []Topic // sorted by name
}

func (m simMetadata) Version() int64 { return m.version }

func (m simMetadata) Topic(name string) (Topic, bool) {
	i := slices.IndexFunc(m.topics, func(t Topic) bool { return t.Name == name })
	if i < 0 {
		return Topic{}, false
	}
	return m.topics[i], true
}

func (m simMetadata) TopicByID(id protocol.TopicID) (Topic, bool) {
	i := slices.IndexFunc(m.topics, func(t Topic) bool { return t.ID == id })
	if i < 0 {
		return Topic{}, false
	}
	return m.topics[i], true
}

func (m simMetadata) Names() iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, t := range m.topics {
			if !yield(t.Name) {
				return
			}
		}
	}
}

// Racks are a and b in turn: partition 0 is on both.
func (m simMetadata) Racks(_ protocol.TopicID, partition int32) []string {
	return [][]string{{"a", "b"}, {"a"}, {"b"}}[partition%3]
}

// Now makes a broker the Topics of its machines.
func (b *simBroker) Now() Metadata { return b.metadata }

var simTopicNames = []string{"orders", "rides", "riders", "traces"}

func newSimTopics(w *simWorld) *simTopics {
	t := &simTopics{w: w, names: map[protocol.TopicID]string{}}
	for _, name := range simTopicNames[:2+w.rng.IntN(3)] {
		t.add(name, 1+w.rng.IntN(5))
	}
	return t
}

func (t *simTopics) add(name string, partitions int) {
	t.lastID++
	topic := Topic{Name: name, ID: protocol.TopicID{0: 0xa, 15: t.lastID}, Partitions: partitions}
	t.names[topic.ID] = name
	t.set(append(slices.Clone(t.now.topics), topic))
}

func (t *simTopics) set(topics []Topic) {
	slices.SortFunc(topics, func(a, b Topic) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	t.now = simMetadata{version: t.now.version + 1, topics: topics}
	m := t.now
	for _, b := range t.w.brokers {
		t.w.after(t.w.some(time.Second), func() {
			if b.metadata.version < m.version {
				b.metadata = m
			}
		})
	}
}

// matching are the topics whose whole name the expression matches.
func (t *simTopics) matching(expression string) []string {
	names := []string{}
	re := regexp.MustCompile("^(?:" + expression + ")$")
	for name := range t.now.Names() {
		if re.MatchString(name) {
			names = append(names, name)
		}
	}
	return names
}

// change makes, grows or deletes a topic. At least one stays.
func (t *simTopics) change() {
	w := t.w
	topics := slices.Clone(t.now.topics)
	i := w.rng.IntN(len(topics))
	var missing []string
	for _, name := range simTopicNames {
		if _, ok := t.now.Topic(name); !ok {
			missing = append(missing, name)
		}
	}
	switch {
	case w.chance(2) && len(missing) > 0:
		name := missing[w.rng.IntN(len(missing))]
		w.note("topic %s is made", name)
		w.mark("a topic is made")
		t.add(name, 1+w.rng.IntN(5))
	case w.chance(2) && topics[i].Partitions < 8:
		topics[i].Partitions += 1 + w.rng.IntN(2)
		w.note("topic %s grows to %d partitions", topics[i].Name, topics[i].Partitions)
		w.mark("a topic grows")
		t.set(topics)
	case len(topics) > 1:
		gone := topics[i]
		w.note("topic %s is deleted", gone.Name)
		w.mark("a topic is deleted")
		t.set(slices.Delete(topics, i, i+1))
		if w.chance(2) {
			w.after(w.some(20*time.Second), func() { t.restore(gone.Name) })
		}
		for _, l := range w.logs { // as brokers do when they hear of it
			w.after(w.some(2*time.Second), func() {
				l.life.handle(&simCall{
					req:   &ForgetTopics{Topics: []DeletedTopic{{Name: gone.Name, ID: gone.ID}}},
					since: w.now, reply: func(Response) {},
				})
			})
		}
	}
}

// restore makes a topic again that was deleted, in a new life.
func (t *simTopics) restore(name string) {
	if _, ok := t.now.Topic(name); !ok && t.w.storm {
		t.w.note("topic %s is made again", name)
		t.w.mark("a topic is made again")
		t.add(name, 1+t.w.rng.IntN(5))
	}
}

// simTP is one partition of one life of a topic.
type simTP struct {
	id protocol.TopicID
	p  int32
}

func (tp simTP) String() string { return fmt.Sprintf("%d-%d", tp.id[15], tp.p) }

type simSet map[simTP]bool

func (s simSet) sorted() []simTP {
	all := slices.Collect(maps.Keys(s))
	slices.SortFunc(all, func(a, b simTP) int {
		if a.id != b.id {
			return int(a.id[15]) - int(b.id[15])
		}
		return int(a.p - b.p)
	})
	return all
}

func (s simSet) String() string { return fmt.Sprint(s.sorted()) }
