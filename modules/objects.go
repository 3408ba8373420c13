package modules

import (
	"math/bits"

	"github.com/lcapd/lcapd/changelog"
)

// object is an object's FID without its version, which plays no part in what it names.
type object struct {
	seq uint64
	oid uint32
}

// noObject is the zero FID.
var noObject object

func objectOf(f changelog.FID) object { return object{f.Seq, f.Oid} }

// hash spreads objects over tables.
func (o object) hash() uint64 {
	hi, lo := bits.Mul64(o.seq^0x9e3779b97f4a7c15, uint64(o.oid)^0xd1b54a32d192ed03)
	return (hi ^ lo) * 0x9e3779b97f4a7c15
}

// subjects returns the objects that a record is about: its target, and the source of a rename or migration. An absent
// one is noObject. A record that is not a rename may have a rename block of zeros (ABI 7.2).
func subjects(r changelog.Record) (target, source object) {
	if r.Type() != changelog.TypeMark { // its target FID holds flags
		target = objectOf(r.Target())
	}
	if s, ok := r.Source(); ok {
		source = objectOf(s)
	}
	if source == target {
		source = noObject
	}
	return target, source
}

// namespace are the types that change names.
var namespace = changelog.MaskOf(changelog.TypeCreat, changelog.TypeMkdir, changelog.TypeHlink, changelog.TypeSlink,
	changelog.TypeMknod, changelog.TypeUnlnk, changelog.TypeRmdir, changelog.TypeRenme, changelog.TypeRnmto, changelog.TypeMigrt)

// parents returns the directories that a record names. Only records about names carry their own
// parent (ABI 10.7).
func parents(r changelog.Record) (parent, source object) {
	if !namespace.Has(r.Type()) {
		return noObject, noObject
	}
	if s, ok := r.SourceParent(); ok {
		source = objectOf(s)
	}
	if parent = objectOf(r.Parent()); source == parent {
		source = noObject
	}
	return parent, source
}
