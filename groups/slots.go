package groups

import "math/bits"

// SlotCount is the size of a group's hash space of FIDs, for the distribution fid.
const SlotCount = 4096

// Slot is one hash value of FIDs: a key of the distribution fid.
type Slot uint16

// Slots is a set of slots.
type Slots [SlotCount / 64]uint64

// AllSlots is the full set.
var AllSlots = func() (s Slots) {
	for i := range s {
		s[i] = ^uint64(0)
	}
	return s
}()

// Add puts a slot into the set.
func (s *Slots) Add(slot Slot) { s[slot/64] |= 1 << (slot % 64) }

// Has tells whether slot is in the set.
func (s *Slots) Has(slot Slot) bool { return s[slot/64]&(1<<(slot%64)) != 0 }

// Count returns how many slots are in the set.
func (s *Slots) Count() int {
	n := 0
	for _, word := range s {
		n += bits.OnesCount64(word)
	}
	return n
}

// common returns how many slots are in both sets.
func (s *Slots) common(other *Slots) int {
	n := 0
	for i, word := range s {
		n += bits.OnesCount64(word & other[i])
	}
	return n
}

// Meets tells whether the sets have a slot in common.
func (s *Slots) Meets(other *Slots) bool {
	for i, word := range s {
		if word&other[i] != 0 {
			return true
		}
	}
	return false
}

// Union adds the slots of other.
func (s *Slots) Union(other *Slots) {
	for i := range s {
		s[i] |= other[i]
	}
}

// remove takes the slots of other out.
func (s *Slots) remove(other *Slots) {
	for i := range s {
		s[i] &^= other[i]
	}
}

// take moves the n lowest slots of s into the result.
func (s *Slots) take(n int) (taken Slots) {
	for i := range s {
		for s[i] != 0 && n > 0 {
			low := s[i] & -s[i]
			s[i] &^= low
			taken[i] |= low
			n--
		}
	}
	return taken
}
