package assignor

// Java makes a tree of a bucket with many keys: a red-black tree, as textbooks have it, by hash and then by key. The keys
// stay a list as well, which is what a walk goes through, but a new key comes behind its parent in the tree, and the root
// of the tree comes first. So the tree decides the order, and is kept here beside the list.
type branch struct {
	parent int32
	child  [2]int32 // smaller, larger
	prev   int32    // in the list
	red    bool
	in     bool // the bucket is a tree
}

const (
	left, right = 0, 1
	// lonely is how few keys a tree becomes a list with, when a growing table divides it.
	lonely = 6
)

// isTree says whether the bucket of a first node is a tree.
func (t *table[K]) isTree(first int32) bool {
	return first != none && int(first) < len(t.branches) && t.branches[first].in
}

// plant makes a tree of a bucket.
func (t *table[K]) plant(bucket int) {
	for len(t.branches) < len(t.nodes) {
		t.branches = append(t.branches, branch{})
	}
	root, prev := int32(none), int32(none)
	for at := t.buckets[bucket]; at != none; at = t.nodes[at].next {
		t.branches[at] = branch{parent: none, child: [2]int32{none, none}, prev: prev, in: true}
		prev = at
		if root == none {
			root = at
			continue
		}
		parent, side := t.descend(root, at)
		root = t.attach(root, parent, side, at)
	}
	t.rootFirst(bucket, root)
}

// fell makes a list of a bucket again.
func (t *table[K]) fell(first int32) {
	for at := first; at != none; at = t.nodes[at].next {
		t.branches[at].in = false
	}
}

// descend finds where a node belongs below a root.
func (t *table[K]) descend(root, at int32) (parent int32, side int) {
	for next := root; next != none; next = t.branches[parent].child[side] {
		parent, side = next, left
		if t.less(next, at) {
			side = right
		}
	}
	return parent, side
}

func (t *table[K]) less(a, b int32) bool {
	x, y := &t.nodes[a], &t.nodes[b]
	if x.hash != y.hash || t.compare == nil {
		return int32(x.hash) < int32(y.hash)
	}
	return t.compare(x.key, y.key) < 0
}

// insert adds the last node, which is not in the list yet, to a bucket that is a tree.
func (t *table[K]) insert(bucket int, at int32) {
	for len(t.branches) < len(t.nodes) {
		t.branches = append(t.branches, branch{})
	}
	root := t.buckets[bucket]
	parent, side := t.descend(root, at)
	behind := t.nodes[parent].next
	t.nodes[at].next = behind
	t.nodes[parent].next = at
	if behind != none {
		t.branches[behind].prev = at
	}
	t.branches[at] = branch{parent: none, child: [2]int32{none, none}, prev: parent, in: true}
	t.rootFirst(bucket, t.attach(root, parent, side, at))
}

// rootFirst moves the root of a tree to the front of the list.
func (t *table[K]) rootFirst(bucket int, root int32) {
	first := t.buckets[bucket]
	if first == root {
		return
	}
	prev, next := t.branches[root].prev, t.nodes[root].next
	t.nodes[prev].next = next
	if next != none {
		t.branches[next].prev = prev
	}
	t.buckets[bucket] = root
	t.nodes[root].next = first
	t.branches[first].prev = root
	t.branches[root].prev = none
}

// attach hangs a node below its parent and balances the tree. It returns the root.
func (t *table[K]) attach(root, parent int32, side int, at int32) int32 {
	b := t.branches
	b[parent].child[side] = at
	b[at].parent, b[at].red = parent, true
	for {
		parent = b[at].parent
		if parent == none {
			b[at].red = false
			return at
		}
		grand := b[parent].parent
		if !b[parent].red || grand == none {
			return root
		}
		side := t.side(parent)
		if uncle := b[grand].child[1-side]; t.red(uncle) {
			b[uncle].red, b[parent].red, b[grand].red = false, false, true
			at = grand
			continue
		}
		if t.side(at) != side {
			at = parent
			root = t.rotate(root, at, side)
			parent = b[at].parent
		}
		b[parent].red, b[grand].red = false, true
		root = t.rotate(root, grand, 1-side)
	}
}

func (t *table[K]) red(at int32) bool { return at != none && t.branches[at].red }

// side says which child of its parent a node is.
func (t *table[K]) side(at int32) int {
	if t.branches[t.branches[at].parent].child[left] == at {
		return left
	}
	return right
}

// rotate moves a node down to a side; its child on the other side takes its place. It returns the root.
func (t *table[K]) rotate(root, at int32, side int) int32 {
	b := t.branches
	up := b[at].child[1-side]
	if up == none {
		return root
	}
	inner := b[up].child[side]
	b[at].child[1-side] = inner
	if inner != none {
		b[inner].parent = at
	}
	root = t.replace(root, at, up)
	b[up].child[side] = at
	b[at].parent = up
	return root
}

// replace puts a node, or none, in the place of another below that one's parent. It returns the root.
func (t *table[K]) replace(root, at, by int32) int32 {
	b := t.branches
	parent := b[at].parent
	if parent == none {
		root = by
	} else {
		b[parent].child[t.side(at)] = by
	}
	if by != none {
		b[by].parent = parent
	}
	return root
}

// uproot takes a node out of a bucket that is a tree, and makes the bucket a list when few are left.
func (t *table[K]) uproot(bucket int, at int32) {
	b := t.branches
	root := t.buckets[bucket]
	prev, next := b[at].prev, t.nodes[at].next
	if prev == none {
		t.buckets[bucket] = next
	} else {
		t.nodes[prev].next = next
	}
	if next != none {
		b[next].prev = prev
	}
	if small, large := b[root].child[left], b[root].child[right]; small == none || large == none || b[small].child[left] == none {
		t.fell(t.buckets[bucket])
		return
	}
	if b[at].child[left] != none && b[at].child[right] != none {
		root = t.swapWithNext(root, at)
	}
	child := b[at].child[left]
	if child == none {
		child = b[at].child[right]
	}
	if child != none {
		root = t.replace(root, at, child)
		if b[child].parent == none {
			b[child].red = false
		}
		if !b[at].red {
			root = t.rebalance(root, child)
		}
	} else {
		if !b[at].red {
			root = t.rebalance(root, at)
		}
		root = t.replace(root, at, none)
	}
	if root != none && t.buckets[bucket] != root {
		t.rootFirst(bucket, root)
	}
}

// swapWithNext exchanges the places and colors of a node with two children and of the next larger one. It returns the root.
func (t *table[K]) swapWithNext(root, at int32) int32 {
	b := t.branches
	next := b[at].child[right]
	for b[next].child[left] != none {
		next = b[next].child[left]
	}
	b[at].red, b[next].red = b[next].red, b[at].red
	small, large, below := b[at].child[left], b[at].child[right], b[next].child[right]
	above := b[next].parent
	root = t.replace(root, at, next)
	b[next].child[left] = small
	b[small].parent = next
	if above == at {
		b[next].child[right] = at
		b[at].parent = next
	} else {
		b[next].child[right] = large
		b[large].parent = next
		b[above].child[left] = at
		b[at].parent = above
	}
	b[at].child = [2]int32{none, below}
	if below != none {
		b[below].parent = at
	}
	return root
}

// rebalance gives the paths through a node one more black node. It returns the root.
func (t *table[K]) rebalance(root, at int32) int32 {
	b := t.branches
	for at != root {
		parent := b[at].parent
		if parent == none {
			b[at].red = false
			return at
		}
		if b[at].red {
			b[at].red = false
			return root
		}
		side := t.side(at)
		sibling := b[parent].child[1-side]
		if t.red(sibling) {
			b[sibling].red, b[parent].red = false, true
			root = t.rotate(root, parent, side)
			sibling = b[parent].child[1-side]
		}
		if sibling == none {
			at = parent
			continue
		}
		near, far := b[sibling].child[side], b[sibling].child[1-side]
		if !t.red(near) && !t.red(far) {
			b[sibling].red = true
			at = parent
			continue
		}
		if !t.red(far) {
			b[near].red, b[sibling].red = false, true
			root = t.rotate(root, sibling, 1-side)
			sibling = b[parent].child[1-side]
		}
		b[sibling].red, b[parent].red = b[parent].red, false
		if far = b[sibling].child[1-side]; far != none {
			b[far].red = false
		}
		return t.rotate(root, parent, side)
	}
	return root
}
