package modules

// table maps objects to numbers above 0. It is what a map does, at a third of the cost: open addressing with linear
// probing, at most half full, keys next to values, deletion by shifting back.
type table struct {
	slots []slot // a power of two of them
	used  int
}

type slot struct {
	key   object
	value uint64 // 0: the slot is free
}

// find returns the place of a key, or the free one where it would be.
func (t *table) find(key object) int {
	mask := len(t.slots) - 1
	for i := int(key.hash()) & mask; ; i = (i + 1) & mask {
		if s := &t.slots[i]; s.value == 0 || s.key == key {
			return i
		}
	}
}

// get returns the value of a key, 0 if there is none.
func (t *table) get(key object) uint64 {
	if t.used == 0 {
		return 0
	}
	return t.slots[t.find(key)].value
}

// set gives a key a value above 0, and returns the one that it had.
func (t *table) set(key object, value uint64) (old uint64) {
	if 2*(t.used+1) > len(t.slots) {
		t.grow()
	}
	s := &t.slots[t.find(key)]
	old = s.value
	if old == 0 {
		t.used++
	}
	*s = slot{key, value}
	return old
}

// grow doubles the table.
func (t *table) grow() {
	old := t.slots
	t.slots = make([]slot, max(16, 2*len(old)))
	for _, s := range old {
		if s.value != 0 {
			t.slots[t.find(s.key)] = s
		}
	}
}

// drop removes a key if it has the value. What probing put behind it moves up.
func (t *table) drop(key object, value uint64) {
	if t.used == 0 {
		return
	}
	mask := len(t.slots) - 1
	hole := t.find(key)
	if t.slots[hole].value != value || value == 0 {
		return
	}
	t.used--
	for i := (hole + 1) & mask; t.slots[i].value != 0; i = (i + 1) & mask {
		home := int(t.slots[i].key.hash()) & mask
		if (i-home)&mask >= (i-hole)&mask {
			t.slots[hole] = t.slots[i]
			hole = i
		}
	}
	t.slots[hole] = slot{}
}
