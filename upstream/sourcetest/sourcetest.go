package sourcetest

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/upstream"
)

// Harness is a source under test, whose changelog is empty and has one user: the one
// as whom the source clears. What it holds is given back by t.Cleanup.
type Harness struct {
	Source upstream.Source
	// Append puts packed records behind what is there, under the indexes that they
	// carry. They can be read when it returns.
	Append func(t testing.TB, records []byte)
	// Deregister removes the user, whose clears are refused then. Nil if that cannot be.
	Deregister func(t testing.TB)
	// KeepsCleared says that a reader which is open may still deliver what was cleared
	// since, as that of a device does with what it has fetched already.
	KeepsCleared bool
	// Break makes the readers that are open fail with an errno, once they have delivered
	// what they fetched. Nil if that cannot be.
	Break func(t testing.TB, errno syscall.Errno)
	// InVain is how often Wait may return in 300 ms though nothing happens; 0 for 10 times.
	InVain int
	// Reopens is how often a reader is opened and closed to see whether that costs
	// anything; 0 for 1,000 times.
	Reopens int
}

// New makes a harness for one test.
type New func(t testing.TB) Harness

// Run runs the suite, each test with a fresh harness, up to the first that fails: after a
// record that was lost all would wait for it. A test fails too if goroutines remain when
// its harness is gone.
func Run(t *testing.T, fresh New) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Harness)
	}{
		{"Order", order},
		{"Sizes", sizes},
		{"Seek", seek},
		{"SeekBeyond", seekBeyond},
		{"Holes", holes},
		{"Follow", follow},
		{"FollowMissesNothing", followMissesNothing},
		{"WaitsWithoutPolling", waitsWithoutPolling},
		{"ClearAdvances", clearAdvances},
		{"ClearRefused", clearRefused},
		{"ClearIf", clearIf},
		{"ClearUnknownUser", clearUnknownUser},
		{"PurgeUnderReader", purgeUnderReader},
		{"PurgeOfAll", purgeOfAll},
		{"Cancel", cancelled},
		{"CloseTwice", closeTwice},
		{"Reopen", reopen},
		{"ManyReaders", manyReaders},
		{"Broken", broken},
	} {
		passed := t.Run(c.name, func(t *testing.T) {
			before := goroutines()
			t.Run("with", func(t *testing.T) { c.test(t, fresh(t)) })
			settles(t, before)
		})
		if !passed {
			return
		}
	}
}

// patience is how long a test waits for what must happen, however slow the machine.
// Only the suite's own tests change it, before they run anything.
var patience = 60 * time.Second

// within returns a context that ends the wait for what never comes.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Records returns packed records with the indexes from first to last, of different
// types and sizes.
func Records(first, last uint64) []byte {
	var b []byte
	for index := first; index <= last; index++ {
		b = record(b, index)
	}
	return b
}

// record appends the record that always stands under an index.
func record(b []byte, index uint64) []byte {
	const longest = "a name that is long enough to make some records much larger than others are, if only there were more of it"
	f := changelog.Fields{
		Type:   changelog.TypeCreat,
		Format: changelog.Format{Flags: changelog.FlagVersion},
		Index:  index,
		Time:   changelog.Time(index << 30),
		Target: changelog.FID{Seq: 0x200000401, Oid: uint32(index)},
		Parent: changelog.FID{Seq: 0x200000007, Oid: 1},
		Name:   longest[:1+index%uint64(len(longest))],
	}
	if index%3 == 0 {
		f.Type, f.Format.Flags = changelog.TypeRenme, changelog.FlagRename
		f.Source, f.SourceName = f.Target, "before"
	}
	b, err := f.Append(b)
	if err != nil {
		panic(err) // a mistake in this function
	}
	return b
}
