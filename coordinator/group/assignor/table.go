package assignor

import (
	"bytes"
	"encoding/binary"
	"slices"
	"unicode/utf8"

	"moldau.io/moldau/protocol"
)

// table walks through keys in the order of Java's HashMap: bucket by bucket, and within a bucket in the order in which the
// keys came. The number of buckets depends on the capacity that the map was made with and on how many keys it ever held.
// Many keys in one bucket become a tree in Java; the list of its keys is kept by tree.
type table[K comparable] struct {
	nodes   []node[K]
	buckets []int32 // index of the first node; none when empty
	last    []int32 // for rehash
	grow    int     // number of keys beyond which there are twice as many buckets
	size    int
	// wasCrowded says that a bucket had more than crowd keys.
	wasCrowded bool

	branches []branch         // by node, for the buckets that are trees
	compare  func(a, b K) int // orders keys with the same hash; nil when there are none such
}

type node[K comparable] struct {
	key  K
	hash uint32
	next int32
}

const (
	none = -1
	// bucketsDefault is what a map without a given capacity begins with.
	bucketsDefault = 16
	// crowd is how many keys a bucket has before the table grows, or if it has bucketsTree buckets, makes it a tree.
	crowd       = 8
	bucketsTree = 64
)

// newTable is a map that was made with a capacity.
func newTable[K comparable](capacity int) *table[K] {
	t := &table[K]{nodes: make([]node[K], 0, capacity)}
	t.reset(capacity)
	return t
}

// expect makes room for keys, so that the table needs no memory while it grows.
func (t *table[K]) expect(keys int) {
	buckets := powerOfTwo(capacityFor(keys))
	t.nodes = slices.Grow(t.nodes, keys)
	t.buckets, t.last = slices.Grow(t.buckets[:0], buckets), slices.Grow(t.last[:0], buckets)
}

// reset empties the table and makes it one that was made with a capacity.
func (t *table[K]) reset(capacity int) {
	t.nodes, t.branches, t.size, t.wasCrowded = t.nodes[:0], t.branches[:0], 0, false
	t.resize(powerOfTwo(capacity))
}

// resize makes n empty buckets.
func (t *table[K]) resize(n int) {
	t.buckets = slices.Grow(t.buckets[:0], n)[:n]
	t.grow = int(float32(n) * 0.75)
	for i := range t.buckets {
		t.buckets[i] = none
	}
}

// powerOfTwo is the number of buckets for a capacity.
func powerOfTwo(capacity int) int {
	n := 1
	for n < capacity {
		n *= 2
	}
	return n
}

// capacityFor is the capacity that Java's collections ask for when they copy n keys into a new set.
func capacityFor(n int) int { return max(int(float32(n)/0.75)+1, bucketsDefault) }

// capacityAtLeast is the capacity that Kafka asks for when it expects n keys.
func capacityAtLeast(n int) int { return int(float32(n)/0.75 + 1) }

// rehash doubles the buckets. Keys that share a bucket afterwards stay in their order.
func (t *table[K]) rehash() {
	old := t.buckets
	t.buckets, t.last = t.last, old
	t.resize(2 * len(old))
	for b, first := range old {
		// The keys of a bucket go to the one of the same number and to the one that is len(old) behind it.
		low, high := &t.buckets[b], &t.buckets[b+len(old)]
		lows, highs := 0, 0
		for at := first; at != none; {
			n := &t.nodes[at]
			if int(n.hash)&len(old) == 0 {
				*low, low = at, &n.next
				lows++
			} else {
				*high, high = at, &n.next
				highs++
			}
			at = n.next
		}
		*low, *high = none, none
		if t.isTree(first) {
			t.divided(b, lows, highs)
			t.divided(b+len(old), highs, lows)
		}
	}
}

// divided looks after a part of a tree, of which other keys went to another bucket.
func (t *table[K]) divided(bucket, keys, others int) {
	switch {
	case keys <= lonely:
		t.fell(t.buckets[bucket])
	case others > 0:
		t.plant(bucket)
	}
}

func (t *table[K]) bucket(hash uint32) int { return int(hash) & (len(t.buckets) - 1) }

// put adds a key behind the others of its bucket unless it is there. It returns the place of its node.
func (t *table[K]) put(key K, hash uint32) int32 {
	hash ^= hash >> 16
	last, before := int32(none), 0
	for at := t.buckets[t.bucket(hash)]; at != none; at = t.nodes[at].next {
		if n := &t.nodes[at]; n.hash == hash && n.key == key {
			return at
		}
		last = at
		before++
	}
	at := int32(len(t.nodes))
	t.nodes = append(t.nodes, node[K]{key, hash, none})
	b := t.bucket(hash)
	switch first := t.buckets[b]; {
	case first == none:
		t.buckets[b] = at
	case t.isTree(first):
		t.insert(b, at)
	default:
		t.nodes[last].next = at
	}
	if before >= crowd && !t.isTree(t.buckets[b]) {
		t.crowded(b)
	}
	if t.size++; t.size > t.grow {
		t.rehash()
	}
	return at
}

// find is the place of the node of a key, none when it is not there.
func (t *table[K]) find(key K, hash uint32) int32 {
	hash ^= hash >> 16
	at := t.buckets[t.bucket(hash)]
	for at != none && (t.nodes[at].hash != hash || t.nodes[at].key != key) {
		at = t.nodes[at].next
	}
	return at
}

// touch is what Java's computeIfAbsent does first, also for a key that is there: it grows the table when the last key was
// one too many.
func (t *table[K]) touch() {
	if t.size > t.grow {
		t.rehash()
	}
}

// putFirst adds a key that is not there before the others of its bucket, as Java's computeIfAbsent does after touch.
func (t *table[K]) putFirst(key K, hash uint32) int32 {
	hash ^= hash >> 16
	b := t.bucket(hash)
	first, before := t.buckets[b], 0
	for at := first; at != none; at = t.nodes[at].next {
		before++
	}
	added := int32(len(t.nodes))
	t.nodes = append(t.nodes, node[K]{key, hash, first})
	t.size++
	if t.isTree(first) {
		t.insert(b, added)
		return added
	}
	t.buckets[b] = added
	if before >= crowd-1 {
		t.crowded(b)
	}
	return added
}

// crowded makes room when a bucket has many keys: more buckets, or if there are some already, a tree.
func (t *table[K]) crowded(bucket int) {
	t.wasCrowded = true
	if len(t.buckets) < bucketsTree {
		t.rehash()
	} else {
		t.plant(bucket)
	}
}

func (t *table[K]) remove(key K, hash uint32) {
	hash ^= hash >> 16
	b := t.bucket(hash)
	prev := int32(none)
	for at := t.buckets[b]; at != none; at = t.nodes[at].next {
		n := &t.nodes[at]
		if n.hash != hash || n.key != key {
			prev = at
			continue
		}
		t.size--
		switch {
		case t.isTree(at):
			t.uproot(b, at)
		case prev == none:
			t.buckets[b] = n.next
		default:
			t.nodes[prev].next = n.next
		}
		return
	}
}

// walk goes through the places of the nodes in the order of the map.
func (t *table[K]) walk(yield func(int32) bool) {
	for _, at := range t.buckets {
		for ; at != none; at = t.nodes[at].next {
			if !yield(at) {
				return
			}
		}
	}
}

// keys appends the keys in the order of the map.
func (t *table[K]) keys(to []K) []K {
	for _, at := range t.buckets {
		for ; at != none; at = t.nodes[at].next {
			to = append(to, t.nodes[at].key)
		}
	}
	return to
}

// hashString is what Java hashes a string to: over the units of its UTF-16 form.
func hashString(s string) uint32 {
	var h uint32
	for _, r := range s {
		if r >= 0x10000 {
			r -= 0x10000
			h = 31*h + uint32(0xd800+r>>10)
			r = 0xdc00 + r&0x3ff
		}
		h = 31*h + uint32(r)
	}
	return h
}

// hashID is what Kafka hashes a topic id to.
func hashID(id protocol.TopicID) uint32 {
	x := binary.BigEndian.Uint64(id[:8]) ^ binary.BigEndian.Uint64(id[8:])
	return uint32(x>>32) ^ uint32(x)
}

// compareStrings is the order of Java's strings: by the units of their UTF-16 form, where characters that take two units
// come before U+E000 to U+FFFF.
func compareStrings(a, b string) int {
	for {
		x, n := utf8.DecodeRuneInString(a)
		y, m := utf8.DecodeRuneInString(b)
		switch {
		case n == 0 || m == 0:
			return n - m
		case x != y:
			return int(unitOrder(x)) - int(unitOrder(y))
		}
		a, b = a[n:], b[m:]
	}
}

func unitOrder(r rune) rune {
	switch {
	case r >= 0x10000:
		return r - 0x10000 + 0xd800
	case r >= 0xd800:
		return r + 0x100000
	}
	return r
}

// compareIDs is the order of Kafka's topic ids: two signed numbers.
func compareIDs(a, b protocol.TopicID) int {
	a[0], a[8], b[0], b[8] = a[0]^0x80, a[8]^0x80, b[0]^0x80, b[8]^0x80
	return bytes.Compare(a[:], b[:])
}
