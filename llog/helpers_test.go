package llog_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
)

// patience is how long tests wait for what must happen, however slow the machine.
const patience = 60 * time.Second

// within returns a context that ends the wait for what never comes.
func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// memoryDir returns a new directory in memory, if the machine has one: for tests
// that do thousands of durable changes and are not about durability.
func memoryDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "llog")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// newLog makes a log on disk.
func newLog(t testing.TB) *llog.Log {
	t.Helper()
	return create(t, filepath.Join(t.TempDir(), "log"))
}

// memoryLog makes a log in memory, if the machine has such a file system.
func memoryLog(t testing.TB) *llog.Log {
	t.Helper()
	return create(t, filepath.Join(memoryDir(t), "log"))
}

func create(t testing.TB, dir string) *llog.Log {
	t.Helper()
	l, err := llog.Create(dir, "test-MDT0000")
	check(t, err)
	return l
}

// reopen returns the log as another process would see it.
func reopen(t testing.TB, l *llog.Log) *llog.Log {
	t.Helper()
	l, err := llog.Open(l.Dir())
	check(t, err)
	return l
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// checkIs fails the test unless err matches all of the targets.
func checkIs(t testing.TB, err error, targets ...error) {
	t.Helper()
	for _, target := range targets {
		if !errors.Is(err, target) {
			t.Fatalf("the error is %v, want one that is %v", err, target)
		}
	}
}

// checkSays fails the test unless the text of err has all the words.
func checkSays(t testing.TB, err error, words ...string) {
	t.Helper()
	for _, word := range words {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Fatalf("the error is %q, want one that says %q", err, word)
		}
	}
}

// checkEqual compares two values that fmt can print.
func checkEqual[T comparable](t testing.TB, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func register(t testing.TB, l *llog.Log, name string, types ...changelog.Type) llog.UserID {
	t.Helper()
	u, err := l.Register(context.Background(), name, changelog.MaskOf(types...))
	check(t, err)
	return u.ID
}

func deregister(t testing.TB, l *llog.Log, id llog.UserID) {
	t.Helper()
	check(t, l.Deregister(context.Background(), id))
}

func clearTo(t testing.TB, l *llog.Log, id llog.UserID, index uint64) {
	t.Helper()
	check(t, l.Clear(context.Background(), id, index))
}

// newAppender returns an appender that is closed, without error, with the test.
func newAppender(t testing.TB, l *llog.Log, opts llog.AppendOptions) *llog.Appender {
	t.Helper()
	a, err := l.NewAppender(opts)
	check(t, err)
	t.Cleanup(func() { check(t, a.Close()) })
	return a
}

// fill appends the test's records from..to with a new appender, and closes it.
func fill(t testing.TB, l *llog.Log, opts llog.AppendOptions, from, to uint64) {
	t.Helper()
	a, err := l.NewAppender(opts)
	check(t, err)
	appendRange(t, a, from, to)
	check(t, a.Close())
}

// appendRange appends the test's records from..to.
func appendRange(t testing.TB, a *llog.Appender, from, to uint64) {
	t.Helper()
	got, err := a.Append(context.Background(), recs(from, to))
	check(t, err)
	if got.Records != int(to-from+1) || got.First != from || got.Last != to {
		t.Fatalf("append of %d to %d: got %+v", from, to, got)
	}
}

// rec returns the record that tests append under index. What it says follows from
// the index, so that nobody can mistake one for another.
func rec(index uint64) []byte {
	return typed(index, changelog.Type(1+index%8))
}

// typed is rec with a type.
func typed(index uint64, kind changelog.Type) []byte {
	const text = "the quick brown fox jumps over the lazy dog, and over and over again until it is tired"
	f := changelog.Fields{
		Type:   kind,
		Format: changelog.Format{Flags: changelog.FlagVersion | changelog.FlagJobID},
		Index:  index,
		Time:   changelog.Time(index << 30),
		Target: changelog.FID{Seq: index, Oid: uint32(index * 7), Ver: 1},
		Name:   text[:index%uint64(len(text))],
		JobID:  fmt.Sprint("job.", index),
	}
	b, err := f.Append(nil)
	if err != nil {
		panic(err)
	}
	return b
}

// recs returns the records from..to, one behind the other.
func recs(from, to uint64) []byte {
	var b []byte
	for i := from; i <= to; i++ {
		b = append(b, rec(i)...)
	}
	return b
}

// scan takes packed records apart.
func scan(t testing.TB, b []byte) []changelog.Record {
	t.Helper()
	var all []changelog.Record
	s := changelog.NewScanner(b)
	for s.Scan() {
		all = append(all, s.Record())
	}
	check(t, s.Err())
	return all
}

// indexes returns the indexes of packed records.
func indexes(t testing.TB, b []byte) []uint64 {
	t.Helper()
	var all []uint64
	for _, r := range scan(t, b) {
		all = append(all, r.Index())
	}
	return all
}

// upTo returns the numbers from..to.
func upTo(from, to uint64) []uint64 {
	var all []uint64
	for i := from; i <= to; i++ {
		all = append(all, i)
	}
	return all
}

// newReader returns a reader that is closed, without error, with the test.
func newReader(t testing.TB, l *llog.Log, start uint64, bell *llog.Bell) *llog.Reader {
	t.Helper()
	r, err := l.NewReader(start, bell)
	check(t, err)
	t.Cleanup(func() { check(t, r.Close()) })
	return r
}

// readOn reads until there is no more, in buffers of the given size.
func readOn(r *llog.Reader, size int) ([]byte, error) {
	var all []byte
	buf := make([]byte, size)
	for {
		n, err := r.Read(buf)
		all = append(all, buf[:n]...)
		if err == io.EOF {
			return all, nil
		}
		if err != nil {
			return all, err
		}
	}
}

// readFrom returns all records from start on, with a new reader.
func readFrom(t testing.TB, l *llog.Log, start uint64) []byte {
	t.Helper()
	r, err := l.NewReader(start, nil)
	check(t, err)
	all, err := readOn(r, 64<<10)
	check(t, err)
	check(t, r.Close())
	return all
}

// checkRange fails the test unless got holds the test's records from..to.
func checkRange(t testing.TB, got []byte, from, to uint64) {
	t.Helper()
	if !bytes.Equal(got, recs(from, to)) {
		t.Fatalf("got the records %v, want %d to %d", indexes(t, got), from, to)
	}
}

// checkLog fails the test unless the log holds the test's records with the given
// indexes, and nothing else, whichever way one looks.
func checkLog(t testing.TB, l *llog.Log, want []uint64) {
	t.Helper()
	got := readFrom(t, l, 0)
	var packed []byte
	for _, i := range want {
		packed = append(packed, rec(i)...)
	}
	if !bytes.Equal(got, packed) {
		t.Fatalf("a reader gets %v, want %v", indexes(t, got), want)
	}
	tail, err := l.Tail(len(want) + 1)
	check(t, err)
	same := func(r changelog.Record, i uint64) bool { return bytes.Equal(r.Bytes(), rec(i)) }
	if !slices.EqualFunc(tail, want, same) {
		t.Fatalf("the tail is %v, want %v", tail, want)
	}
	info, err := l.Info()
	check(t, err)
	var first, last uint64
	if len(want) > 0 {
		first, last = want[0], want[len(want)-1]
	}
	if info.First != first || info.Last != last || info.Records != uint64(len(want)) {
		t.Fatalf("the log says %+v, want %d records from %d to %d", info, len(want), first, last)
	}
}

// current returns the last index issued.
func current(t testing.TB, l *llog.Log) uint64 {
	t.Helper()
	info, err := l.Info()
	check(t, err)
	return info.Current
}

// user returns the registered user id.
func user(t testing.TB, l *llog.Log, id llog.UserID) llog.User {
	t.Helper()
	info, err := l.Info()
	check(t, err)
	i := slices.IndexFunc(info.Users, func(u llog.User) bool { return u.ID == id })
	if i < 0 {
		t.Fatalf("%s is not registered: %v", id, info.Users)
	}
	return info.Users[i]
}

// segments returns the first indexes of the log's segment files.
func segments(t testing.TB, l *llog.Log) []uint64 {
	t.Helper()
	bases, err := l.Segments()
	check(t, err)
	return bases
}

// segmentPath returns where the segment with the given first index is.
func segmentPath(l *llog.Log, base uint64) string {
	return filepath.Join(l.Dir(), llog.SegmentName(base))
}

// readFile and writeFile are for damage and its repair.
func readFile(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	check(t, err)
	return b
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	check(t, os.WriteFile(path, b, 0o644))
}

// eventually waits until cond holds.
func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still not: %s", what)
		}
	}
}

// removeSegments removes all segment files of the log.
func removeSegments(t testing.TB, l *llog.Log) {
	t.Helper()
	for _, base := range segments(t, l) {
		check(t, os.Remove(segmentPath(l, base)))
	}
}

// lockState takes the lock that everybody needs who changes the state.
func lockState(t testing.TB, l *llog.Log) *os.File {
	t.Helper()
	lock, err := llog.LockState(l.Dir())
	check(t, err)
	return lock
}
