package groups

import "github.com/lcapd/lcapd/changelog"

// Keys returns the slots that a record belongs to (docs/ordering-and-acks.md,
// "Key"). The first is its home; two tells whether there is another one, which
// makes the record a barrier for both.
func Keys(r changelog.Record) (home, other Slot, two bool) {
	home = targetKey(r)
	if t := r.Type(); t != changelog.TypeRenme && t != changelog.TypeMigrt {
		return home, 0, false // no others have a source: they need not be searched for one
	}
	if source, _ := r.Source(); !source.IsZero() {
		switch target := r.Target(); {
		case r.Type() == changelog.TypeMigrt:
			other, two = SlotOf(source), true
		case target.IsZero():
			home = SlotOf(source)
		default:
			home, other, two = SlotOf(source), SlotOf(target), true
		}
	}
	if !two || home == other {
		return home, 0, false
	}
	return home, other, true
}

// targetKey is the slot of the object that the record is about, its source aside.
func targetKey(r changelog.Record) Slot {
	t, target := r.Type(), r.Target()
	switch {
	case t == changelog.TypeMark:
		return 0 // the target FID holds flags
	case !target.IsZero():
		return SlotOf(target)
	case parentIsTrue(t) && !r.Parent().IsZero():
		return SlotOf(r.Parent())
	}
	return 0
}

// parentIsTrue tells whether records of the type carry their own parent FID, not
// one left over from another record (ABI 10.7).
func parentIsTrue(t changelog.Type) bool {
	return t >= changelog.TypeCreat && t <= changelog.TypeRnmto || t == changelog.TypeMigrt
}

// SlotOf returns the slot of a FID. The version plays no part: it is the same object.
func SlotOf(f changelog.FID) Slot {
	h := (f.Seq ^ uint64(f.Oid)<<32 ^ uint64(f.Oid)) * 0x9e3779b97f4a7c15
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	return Slot(h >> 52)
}
