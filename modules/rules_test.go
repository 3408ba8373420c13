package modules_test

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
)

// line reads a record as the tables below write it: the type, then f= the target, n= parent/name, s= the source, o= its
// parent/name before, x= an xattr, hsm= an event, bits= the payload, uid=, and the words last, archived, dirty, error. FIDs are numbers.
func line(t *testing.T, index uint64, text string) []byte {
	t.Helper()
	words := strings.Fields(text)
	kind, err := changelog.ParseType(words[0])
	if err != nil {
		t.Fatal(err)
	}
	f := changelog.Fields{Type: kind, Index: index, Time: changelog.Time(index) << 30, Format: changelog.Format{Flags: changelog.FlagVersion}}
	hsm, isHSM := changelog.HSM{}, false
	for _, word := range words[1:] {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case "f":
			f.Target = oid(t, value)
		case "n":
			parent, name, _ := strings.Cut(value, "/")
			f.Parent, f.Name = oid(t, parent), name
		case "s":
			f.Source, f.Format.Flags = oid(t, value), f.Format.Flags|changelog.FlagRename
		case "o":
			parent, name, _ := strings.Cut(value, "/")
			f.SourceParent, f.SourceName = oid(t, parent), name
		case "x":
			f.XattrName, f.Format.Flags, f.Format.Extra = value, f.Format.Flags|changelog.FlagExtra, changelog.ExtraXattr
		case "hsm":
			isHSM = true
			hsm.Event = changelog.HSMEvent(strings.Index("archive restore cancel  release remove  state   ", value) / 8)
		case "error":
			hsm.Errno = 5
		case "dirty":
			hsm.Dirty = true
		case "bits":
			n, _ := strconv.ParseUint(value, 0, 12)
			f.Payload = changelog.Flags(n)
		case "uid":
			f.UID, _ = strconv.ParseUint(value, 10, 64)
			f.Format.Flags, f.Format.Extra = f.Format.Flags|changelog.FlagExtra, f.Format.Extra|changelog.ExtraUIDGID
		case "last":
			f.Payload |= changelog.FlagLastLink
		case "archived":
			f.Payload |= changelog.FlagArchived
		default:
			t.Fatalf("unknown word %q", word)
		}
	}
	if isHSM {
		f.Payload = hsm.Flags()
	}
	packed, err := f.Append(nil)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return packed
}

func oid(t *testing.T, s string) changelog.FID {
	t.Helper()
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	return changelog.FID{Seq: 7 * min(1, n), Oid: uint32(n)}
}

var (
	changes = modules.Use{Consumers: modules.Changes}
	state   = modules.Use{Consumers: modules.State, OneMDT: true, Whole: true}
)

// ruled is a row: what goes in, a record for each element; what is left, by index.
type ruled struct {
	name string
	in   string // records, with ; between them
	left string
}

// check runs rows through a chain. A record that a module changed has ~ before its index and its type behind it.
func check(t *testing.T, chain string, use modules.Use, start modules.Start, rows []ruled) {
	t.Helper()
	p := plan(t, chain, use)
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var packed []byte
			original := map[uint64][]byte{}
			index := uint64(0)
			for text := range strings.SplitSeq(row.in, ";") {
				index++
				original[index] = line(t, index, text)
				packed = append(packed, original[index]...)
			}
			c := p.New(start)
			now := time.Unix(1, 0)
			b, err := c.Push(now, modules.Batch{From: 0, To: index, Records: packed})
			if err != nil {
				t.Fatal(err)
			}
			rest, err := c.Flush(now)
			if err != nil {
				t.Fatal(err)
			}
			var left []string
			for scan := changelog.NewScanner(append(bytes.Clone(b.Records), rest.Records...)); scan.Scan(); {
				word := fmt.Sprint(scan.Last)
				if r := scan.Record(); !bytes.Equal(r.Bytes(), original[scan.Last]) {
					word = fmt.Sprintf("~%d%s%d", scan.Last, r.Type(), r.Target().Oid)
				}
				left = append(left, word)
			}
			if got := strings.Join(left, " "); got != row.left {
				t.Errorf("%s leaves %q of %q, want %q", chain, got, row.in, row.left)
			}
		})
	}
}

// Refreshes, for consumers that use what records say.
func TestCoalesceChanges(t *testing.T) {
	check(t, `[coalesce]`, changes, modules.Start{}, []ruled{
		{"the newest stays", "CLOSE f=1;CLOSE f=1;CLOSE f=1", "3"},
		{"every refresh type", "MTIME f=1;MTIME f=1;CTIME f=2;CTIME f=2;ATIME f=3;ATIME f=3;SATTR f=4;SATTR f=4;TRUNC f=5;TRUNC f=5", "2 4 6 8 10"},
		{"layout types", "LYOUT f=1;LYOUT f=1;FLRW f=2;FLRW f=2;RESYNC f=3;RESYNC f=3", "2 4 6"},
		{"layout types do not mix", "LYOUT f=1;FLRW f=1;RESYNC f=1", "1 2 3"},
		{"objects are apart", "CLOSE f=1;CLOSE f=2;CLOSE f=1", "2 3"},
		{"another type is a barrier", "CLOSE f=1;SATTR f=1;CLOSE f=1", "1 2 3"},
		{"types do not mix", "CLOSE f=1;MTIME f=1;TRUNC f=1", "1 2 3"},
		{"a birth does not absorb a refresh", "CREAT f=1 n=9/a;CLOSE f=1", "1 2"},
		{"bits of an older record are not lost", "SATTR f=1 bits=0x10;SATTR f=1 bits=0x20", "1 2"},
		{"bits that the newer one has", "SATTR f=1 bits=0x10;SATTR f=1 bits=0x30", "2"},
		{"a writer's close is not lost to a reader's", "CLOSE f=1 bits=0x42;CLOSE f=1 bits=0x1", "1 2"},
		{"audit types are never merged", "OPEN f=1;OPEN f=1;GXATR f=1;GXATR f=1;NOPEN f=1;NOPEN f=1", "1 2 3 4 5 6"},
		{"audit types are barriers", "CLOSE f=1;OPEN f=1;CLOSE f=1", "1 2 3"},
		{"unknown types are never merged", "77 f=1;77 f=1;CLOSE f=1;77 f=1;CLOSE f=1", "1 2 3 4 5"},
		{"marks are never merged", "MARK f=1;MARK f=1", "1 2"},
		{"a mark is about no object", "CLOSE f=1;MARK f=1;CLOSE f=1", "2 3"},
		{"no object", "CLOSE;CLOSE", "1 2"},
	})
}

func TestCoalesceXattr(t *testing.T) {
	check(t, `[coalesce]`, state, modules.Start{}, []ruled{
		{"same name", "XATTR f=1 x=user.a;XATTR f=1 x=user.a", "2"},
		{"other name", "XATTR f=1 x=user.a;XATTR f=1 x=user.b", "1 2"},
		{"another name is a barrier", "XATTR f=1 x=user.a;XATTR f=1 x=user.b;XATTR f=1 x=user.a", "1 2 3"},
		{"an older server names none", "XATTR f=1;XATTR f=1", "1 2"},
	})
}

func TestCoalesceHSM(t *testing.T) {
	check(t, `[coalesce]`, state, modules.Start{}, []ruled{
		{"state then state", "HSM f=1 hsm=state dirty;HSM f=1 hsm=state", "2"},
		{"state then another event", "HSM f=1 hsm=state;HSM f=1 hsm=archive", "2"},
		{"results stay", "HSM f=1 hsm=archive;HSM f=1 hsm=restore;HSM f=1 hsm=release;HSM f=1 hsm=remove;HSM f=1 hsm=cancel;HSM f=1 hsm=state", "1 2 3 4 5 6"},
		{"an event is no refresh of the same event", "HSM f=1 hsm=archive;HSM f=1 hsm=archive", "1 2"},
		{"a state that failed stays", "HSM f=1 hsm=state error;HSM f=1 hsm=state", "1 2"},
		{"barrier", "HSM f=1 hsm=state;CLOSE f=1;HSM f=1 hsm=state", "1 2 3"},
		{"the type is looked at first", "SATTR f=1 bits=0x280;HSM f=1 hsm=state", "1 2"},
	})
}

// Consumers that read the state of objects need one reason to do so.
func TestCoalesceState(t *testing.T) {
	check(t, `[coalesce]`, state, modules.Start{}, []ruled{
		{"content", "CLOSE f=1;MTIME f=1;TRUNC f=1", "3"},
		{"inode", "SATTR f=1;CTIME f=1", "2"},
		{"content and inode stay apart", "CLOSE f=1;SATTR f=1;MTIME f=1;CTIME f=1", "1 2 3 4"},
		{"atime is with neither", "CLOSE f=1;ATIME f=1;CLOSE f=1;CTIME f=1;ATIME f=1", "1 2 3 4 5"},
		{"bits do not matter", "SATTR f=1 bits=0x10;SATTR f=1 bits=0x20", "2"},
		{"a name is a barrier", "CLOSE f=1;HLINK f=1 n=9/b;CLOSE f=1", "1 2 3"},
		{"a rename is a barrier for what moved", "CLOSE f=1;RENME s=1 o=9/a n=9/b;CLOSE f=1", "1 2 3"},
		{"a rename is a barrier for what it replaced", "CLOSE f=2;RENME f=2 s=1 o=9/a n=9/b;CLOSE f=2", "1 2 3"},
		{"a migration is a barrier for both", "CLOSE f=1;CLOSE f=2;MIGRT f=2 s=1 o=9/a n=9/a;CLOSE f=1;CLOSE f=2", "1 2 3 4 5"},
		{"an old rename is a barrier", "CLOSE f=1;RNMTO f=1 n=9/b;CLOSE f=1", "1 2 3"},
		{"a rename block of zeros is none", "CLOSE f=1 s=0;CLOSE f=1 s=0", "2"},
		{"a rename block on a refresh", "CLOSE f=1 s=2;CLOSE f=1 s=2", "1 2"},
	})
}

func TestCancel(t *testing.T) {
	check(t, `[{cancel: {parent: drop}}]`, state, modules.Start{}, []ruled{
		{"a file", "CREAT f=1 n=9/a;UNLNK f=1 n=9/a last", ""},
		{"a node", "MKNOD f=1 n=9/a;UNLNK f=1 n=9/a last", ""},
		{"a symbolic link", "SLINK f=1 n=9/a;UNLNK f=1 n=9/a last", ""},
		{"a directory", "MKDIR f=1 n=9/a;RMDIR f=1 n=9/a last", ""},
		{"what changed between", "CREAT f=1 n=9/a;CLOSE f=1;MTIME f=1;CTIME f=1;ATIME f=1;SATTR f=1;TRUNC f=1;XATTR f=1 x=user.a;LYOUT f=1;UNLNK f=1 n=9/a last", ""},
		{"others in between", "CREAT f=1 n=9/a;CREAT f=2 n=9/b;CLOSE f=2;UNLNK f=1 n=9/a last", "2 3"},
		{"one after the other", "CREAT f=1 n=9/a;UNLNK f=1 n=9/a last;CREAT f=2 n=9/a;UNLNK f=2 n=9/a last", ""},
		{"a directory with its files", "MKDIR f=1 n=9/d;CREAT f=2 n=1/a;UNLNK f=2 n=1/a last;RMDIR f=1 n=9/d last", ""},
		{"a tree", "MKDIR f=1 n=9/d;MKDIR f=2 n=1/e;CREAT f=3 n=2/a;UNLNK f=3 n=2/a last;RMDIR f=2 n=1/e last;RMDIR f=1 n=9/d last", ""},
		{"stale parents of refreshes use no directory", "MKDIR f=1 n=9/d;CLOSE f=5 n=1/;RMDIR f=1 n=9/d last", "2"},
	})
}

func TestNeverSafeToCancel(t *testing.T) {
	check(t, `[{cancel: {parent: drop}}]`, state, modules.Start{}, []ruled{
		{"not the last link", "CREAT f=1 n=9/a;UNLNK f=1 n=9/a", "1 2"},
		{"link on another MDT: not last, then last", "CREAT f=1 n=9/a;UNLNK f=1 n=8/h;UNLNK f=1 n=9/a last", "1 2 3"},
		{"an archive copy remains", "CREAT f=1 n=9/a;UNLNK f=1 n=9/a last archived", "1 2"},
		{"a rename over an archived file", "CREAT f=1 n=9/a;RENME f=1 s=2 o=9/b n=9/a last archived", "1 2"},
		{"birth not in the window", "CLOSE f=1;UNLNK f=1 n=9/a last", "1 2"},
		{"a rename between", "CREAT f=1 n=9/a;RENME s=1 o=9/a n=9/b;UNLNK f=1 n=9/b last", "1 2 3"},
		{"a rename and back", "CREAT f=1 n=9/a;RENME s=1 o=9/a n=9/b;RENME s=1 o=9/b n=9/a;UNLNK f=1 n=9/a last", "1 2 3 4"},
		{"a rename over it, birth in the window", "CREAT f=1 n=9/a;CREAT f=2 n=9/b;RENME f=1 s=2 o=9/b n=9/a last", "1 2 3"},
		{"a hard link between", "CREAT f=1 n=9/a;HLINK f=1 n=9/h;UNLNK f=1 n=9/h;UNLNK f=1 n=9/a last", "1 2 3 4"},
		{"a hard link alone", "CREAT f=1 n=9/a;HLINK f=1 n=9/h;UNLNK f=1 n=9/a last", "1 2 3"},
		{"an HSM event between", "CREAT f=1 n=9/a;HSM f=1 hsm=archive;UNLNK f=1 n=9/a last", "1 2 3"},
		{"a migration between", "CREAT f=1 n=9/a;MIGRT f=2 s=1 o=9/a n=9/a;UNLNK f=1 n=9/a last", "1 2 3"},
		{"a migration to it", "MIGRT f=1 s=3 o=9/a n=9/a;UNLNK f=1 n=9/a last", "1 2"},
		{"an old rename between", "CREAT f=1 n=9/a;RNMTO f=1 n=9/b;UNLNK f=1 n=9/a last", "1 2 3"},
		{"other types between", "CREAT f=1 n=9/a;OPEN f=1;UNLNK f=1 n=9/a last;CREAT f=2 n=9/b;77 f=2;UNLNK f=2 n=9/b last;CREAT f=3 n=9/c;FLRW f=3;UNLNK f=3 n=9/c last", "1 2 3 4 5 6 7 8 9"},
		{"another name", "CREAT f=1 n=9/a;UNLNK f=1 n=9/b last", "1 2"},
		{"another parent", "CREAT f=1 n=9/a;UNLNK f=1 n=8/a last", "1 2"},
		{"other sorts of birth and death", "MKDIR f=1 n=9/a;UNLNK f=1 n=9/a last;CREAT f=2 n=9/b;RMDIR f=2 n=9/b last", "1 2 3 4"},
		{"unknown target", "CREAT n=9/a;UNLNK n=9/a last", "1 2"},
		{"a child that moved out", "MKDIR f=1 n=9/d;CREAT f=2 n=1/a;RENME s=2 o=1/a n=9/a;RMDIR f=1 n=9/d last", "1 2 3 4"},
		{"a child that moved in and out", "MKDIR f=1 n=9/d;RENME s=2 o=9/a n=1/a;RENME s=2 o=1/a n=9/a;RMDIR f=1 n=9/d last", "1 2 3 4"},
		{"a child from another MDT that moved out", "MKDIR f=1 n=9/d;RENME s=2 o=1/a n=9/a;RMDIR f=1 n=9/d last", "1 2 3"},
		{"a child that is kept", "MKDIR f=1 n=9/d;CREAT f=2 n=1/a;UNLNK f=2 n=1/a last archived;RMDIR f=1 n=9/d last", "1 2 3 4"},
		{"a second birth", "CREAT f=1 n=9/a;CREAT f=1 n=9/a;UNLNK f=1 n=9/a last", "1 2 3"},
	})
}

// The first MDT has the birth and the death of a directory, the renames between are in the log of another one.
func TestNeverSafeToCancelDirectoriesOfSeveralMDTs(t *testing.T) {
	check(t, `[{cancel: {parent: drop}}]`, modules.Use{Consumers: modules.State}, modules.Start{}, []ruled{
		{"a directory", "MKDIR f=1 n=9/a;RMDIR f=1 n=9/a last", "1 2"},
		{"a file", "CREAT f=1 n=9/a;UNLNK f=1 n=9/a last", ""},
	})
}

// Streams of two MDTs never meet: a chain is for one of them, and refuses another one's records.
func TestNeverSafeToCancelAcrossMDTs(t *testing.T) {
	p := plan(t, `[cancel]`, state)
	c := p.New(modules.Start{})
	if _, err := c.Push(time.Unix(1, 0), modules.Batch{To: 5, Records: line(t, 5, "CREAT f=1 n=9/a")}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Push(time.Unix(1, 0), modules.Batch{From: 2, To: 3, Records: line(t, 3, "UNLNK f=1 n=9/a last")}); err == nil {
		t.Error("a batch of another stream was taken")
	}
}

// Somebody may have been handed what is at or below the ceiling.
func TestNeverSafeToCancelBelowTheCeiling(t *testing.T) {
	rows := []ruled{{"at the ceiling and above", "CREAT f=1 n=9/a;CREAT f=2 n=9/b;UNLNK f=1 n=9/a last;UNLNK f=2 n=9/b last", "1 3"}}
	check(t, `[{cancel: {parent: drop}}]`, state, modules.Start{Ceiling: 1}, rows)
}

// The window let the birth go: the death must follow.
func TestNeverSafeToCancelWhatWasHandedOut(t *testing.T) {
	check(t, `[{cancel: {records: 2, parent: drop}}]`, state, modules.Start{}, []ruled{
		{"by records", "CREAT f=1 n=9/a;CLOSE f=2;CLOSE f=3;UNLNK f=1 n=9/a last", "1 2 3 4"},
	})
	p := plan(t, `[{cancel: {age: 2s, parent: drop}}]`, state)
	c := p.New(modules.Start{})
	now := time.Unix(1, 0)
	if _, err := c.Push(now, modules.Batch{To: 1, Records: line(t, 1, "CREAT f=1 n=9/a")}); err != nil {
		t.Fatal(err)
	}
	b, err := c.Tick(now.Add(2 * time.Second))
	if err != nil || b.Count != 1 {
		t.Fatalf("%d records came out after 2s, %v", b.Count, err)
	}
	b, err = c.Push(now.Add(2*time.Second), modules.Batch{From: 1, To: 2, Records: line(t, 2, "UNLNK f=1 n=9/a last")})
	if err != nil {
		t.Fatal(err)
	}
	if b, err = c.Flush(now.Add(2 * time.Second)); err != nil || b.Count != 1 {
		t.Errorf("the death of what was handed out came as %d records, %v", b.Count, err)
	}
}

// Who looks at the parent is told that it changed, once.
func TestCancelRefreshesTheParent(t *testing.T) {
	check(t, `[cancel]`, state, modules.Start{}, []ruled{
		{"a file", "CREAT f=1 n=9/a;CLOSE f=1;UNLNK f=1 n=9/a last", "~3MTIME9"},
		{"within a directory that goes", "MKDIR f=1 n=9/d;CREAT f=2 n=1/a;UNLNK f=2 n=1/a last;RMDIR f=1 n=9/d last", "~4MTIME9"},
	})
	check(t, `[cancel, coalesce]`, state, modules.Start{}, []ruled{
		{"merged", "CREAT f=1 n=9/a;UNLNK f=1 n=9/a last;CREAT f=2 n=9/b;UNLNK f=2 n=9/b last", "~4MTIME9"},
	})
}

// What goes wrong in the deduplication of rbh-fsevents of Robinhood v4 does not go wrong here.
func TestDefectsOfOtherTools(t *testing.T) {
	for _, chain := range []string{`[coalesce, cancel]`, `[cancel, coalesce]`, `[coalesce]`, `[cancel]`} {
		check(t, chain, state, modules.Start{}, []ruled{
			{"rename there and back keeps the name", "RENME s=1 o=9/a n=9/b;RENME s=1 o=9/b n=9/a", "1 2"},
			{"rename, then the last unlink", "RENME s=1 o=9/a n=9/b;UNLNK f=1 n=9/b last", "1 2"},
			{"hard link, then both unlinks", "HLINK f=1 n=9/h;UNLNK f=1 n=9/a;UNLNK f=1 n=9/h last", "1 2 3"},
			{"the owner of a record is its own", "SATTR f=1 uid=1;SATTR f=2;CTIME f=3 uid=2", "1 2 3"},
		})
	}
}

func TestReorder(t *testing.T) {
	check(t, `[reorder]`, state, modules.Start{}, []ruled{
		{"names first", "CLOSE f=1;CREAT f=2 n=9/a", "2 1"},
		{"data by object", "CLOSE f=1;CLOSE f=2;SATTR f=1;SATTR f=2", "1 3 2 4"},
		{"not before a birth", "CREAT f=1 n=9/a;CLOSE f=1;CREAT f=2 n=9/b", "1 3 2"},
		{"not past a death", "CLOSE f=1;UNLNK f=1 n=9/a last;CREAT f=2 n=9/b", "1 2 3"},
		{"not past a rename of it", "CLOSE f=1;CLOSE f=3;RENME f=3 s=1 o=9/a n=9/b;CLOSE f=1", "2 1 3 4"},
		{"nothing passes what is unknown", "CLOSE f=1;77 f=2;CREAT f=2 n=9/b", "1 2 3"},
		{"names stay in their order", "UNLNK f=1 n=9/a last;CREAT f=2 n=9/a;RENME s=2 o=9/a n=9/b", "1 2 3"},
	})
}

func TestSample(t *testing.T) {
	use := modules.Use{Scope: modules.ForListeners}
	check(t, `[{sample: {one_in: 1}}]`, use, modules.Start{}, []ruled{{"all", "CLOSE f=1;CLOSE f=2", "1 2"}})
	c := plan(t, `[{sample: {one_in: 10}}]`, use).New(modules.Start{})
	kept := map[int]int{}
	for i := range 1000 {
		object := i % 100
		f := fmt.Sprintf("CLOSE f=%d", object+1)
		if i >= 500 {
			f = fmt.Sprintf("RENME s=%d f=2000 o=9/a n=9/b", object+1)
		}
		b, err := c.Push(time.Unix(1, 0), modules.Batch{From: uint64(i), To: uint64(i + 1), Records: line(t, uint64(i+1), f)})
		if err != nil {
			t.Fatal(err)
		}
		kept[object] += b.Count
	}
	all := 0
	for object, n := range kept {
		if n != 0 && n != 10 {
			t.Errorf("%d of the 10 records about object %d are kept", n, object)
		}
		all += n
	}
	if all < 20 || all > 250 {
		t.Errorf("%d of 1000 records are kept", all)
	}
}

func TestRate(t *testing.T) {
	c := plan(t, `[{rate: {records: 10, burst: 5}}]`, modules.Use{Scope: modules.ForListeners}).New(modules.Start{})
	index := uint64(0)
	for _, step := range []struct {
		at            time.Duration
		records, kept int
	}{
		{0, 8, 5},                       // the burst
		{99 * time.Millisecond, 3, 0},   // not yet
		{100 * time.Millisecond, 3, 1},  // ten a second
		{350 * time.Millisecond, 3, 2},  // two and a half
		{400 * time.Millisecond, 3, 1},  // the other half
		{5 * time.Second, 9, 5},         // no more than the burst
		{4 * time.Second, 3, 0},         // time does not go back
		{24 * time.Hour, 1_000, 5},      // nor does it overflow
		{50_000 * time.Hour, 1_000, 5},  //
		{50_001 * time.Hour, 1, 1},      //
		{200_000 * time.Hour, 1_000, 5}, //
	} {
		var packed []byte
		from := index
		for range step.records {
			index++
			packed = append(packed, line(t, index, "CLOSE f=1")...)
		}
		b, err := c.Push(time.Unix(1, 0).Add(step.at), modules.Batch{From: from, To: index, Records: packed})
		if err != nil || b.Count != step.kept {
			t.Errorf("at %v %d of %d records are kept, want %d; %v", step.at, b.Count, step.records, step.kept, err)
		}
	}
}
