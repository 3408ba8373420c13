package wire

// The versions of the protocol that this package speaks. Two sides meet when they are at most one
// version apart.
const (
	// Newest is the version that this package was written for.
	Newest = 1
	// Oldest is the oldest version that it can still speak.
	Oldest = 1
)

// Meet returns the version that two sides speak, the newest that both know. When there is none the error
// is an *[Error] with [Version].
func Meet(ours, theirs *Hello) (uint64, error) {
	v := min(ours.V, theirs.V)
	if v == 0 || v < ours.Min || v < theirs.Min {
		return 0, errorf(Version, "this side speaks versions %d to %d, the other side %d to %d",
			ours.Min, ours.V, theirs.Min, theirs.V)
	}
	return v, nil
}
