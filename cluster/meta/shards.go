package meta

import (
	"iter"
	"maps"
)

// shardCount trades the cost of a change (one shard is copied) against the cost of the first change after a publish (the
// array of shard pointers is copied). At 10,000 topics a shard holds 40.
const shardCount = 256

// shards is an immutable map. A changed copy shares all shards but those that the change touches, so that one more topic
// costs the same whether the cluster has ten or ten thousand, and two images are compared by comparing shard pointers.
//
// The zero value is empty. hash must be the same function in every call on one map.
type shards[K comparable, V any] struct {
	all  *[shardCount]*map[K]V
	size int
	hash func(K) uint8
}

func (s shards[K, V]) get(k K) (V, bool) {
	var none V
	if s.all == nil {
		return none, false
	}
	m := s.all[s.hash(k)]
	if m == nil {
		return none, false
	}
	v, ok := (*m)[k]
	return v, ok
}

func (s shards[K, V]) len() int { return s.size }

// each walks all pairs, in no particular order.
func (s shards[K, V]) each() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if s.all == nil {
			return
		}
		for _, m := range s.all {
			if m == nil {
				continue
			}
			for k, v := range *m {
				if !yield(k, v) {
					return
				}
			}
		}
	}
}

// edit begins a set of changes to s, which itself stays as it is.
func (s shards[K, V]) edit() *shardsEdit[K, V] { return &shardsEdit[K, V]{s: s} }

// shardsEdit is a copy of a map in the making. Shards that it has already copied are changed in place.
type shardsEdit[K comparable, V any] struct {
	s    shards[K, V]
	mine [shardCount]bool
	own  bool // s.all is a copy of ours
}

func (e *shardsEdit[K, V]) get(k K) (V, bool) { return e.s.get(k) }

func (e *shardsEdit[K, V]) set(k K, v V) {
	m := e.shard(k)
	before := len(m)
	m[k] = v
	e.s.size += len(m) - before
}

func (e *shardsEdit[K, V]) remove(k K) {
	if _, ok := e.s.get(k); !ok {
		return
	}
	delete(e.shard(k), k)
	e.s.size--
}

func (e *shardsEdit[K, V]) shard(k K) map[K]V {
	if !e.own {
		all := new([shardCount]*map[K]V)
		if e.s.all != nil {
			*all = *e.s.all
		}
		e.s.all, e.own = all, true
	}
	h := e.s.hash(k)
	if !e.mine[h] {
		var m map[K]V
		if old := e.s.all[h]; old != nil {
			m = maps.Clone(*old)
		} else {
			m = make(map[K]V, 1)
		}
		e.s.all[h], e.mine[h] = &m, true
	}
	return *e.s.all[h]
}

// done is the changed map. The edit must not be used after it.
func (e *shardsEdit[K, V]) done() shards[K, V] { return e.s }

// changed walks the keys of the shards in which a and b differ. It yields every key that was added, removed or set
// between the two, and some that were not.
func (s shards[K, V]) changed(old shards[K, V]) iter.Seq[K] {
	return func(yield func(K) bool) {
		for i := range shardCount {
			var now, before *map[K]V
			if s.all != nil {
				now = s.all[i]
			}
			if old.all != nil {
				before = old.all[i]
			}
			if now == before {
				continue
			}
			if now != nil {
				for k := range *now {
					if !yield(k) {
						return
					}
				}
			}
			if before == nil {
				continue
			}
			for k := range *before {
				if now != nil {
					if _, ok := (*now)[k]; ok {
						continue
					}
				}
				if !yield(k) {
					return
				}
			}
		}
	}
}

// hashString is the low byte of FNV-1a, folded. Any function will do that spreads names alike; this one is the same in every
// process, which keeps runs repeatable.
func hashString(s string) uint8 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return uint8(h) ^ uint8(h>>8) ^ uint8(h>>16) ^ uint8(h>>24)
}
