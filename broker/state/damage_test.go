package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.etcd.io/bbolt"
)

// smallFile returns the bytes of a small state file, with a branch page and buckets
// that are pages of their own as well as parts of one, and what is in it.
func smallFile(t testing.TB) ([]byte, Snapshot) {
	t.Helper()
	s := newStore(t, 3)
	u := fullUpdate(20, 3, 100)
	u.Recent = u.Recent[:1]
	u.Recent[0].Records = u.Recent[0].Records[:3]
	check(t, s.Write(u))
	check(t, s.Write(Update{Tracks: []Track{testTrack(5, 1, 101)}})) // leaves pages behind
	return backup(t, s), mustLoad(t, s)
}

func backup(t testing.TB, s *Store) []byte {
	t.Helper()
	var b bytes.Buffer
	check(t, s.Backup(&b))
	return b.Bytes()
}

// read reads a file that is in memory.
func read(file []byte) (Snapshot, error) {
	found, err := readState(bytes.NewReader(file), int64(len(file)), thisSchema())
	if err != nil {
		return Snapshot{}, err
	}
	return decode(found.content)
}

// A bit that flips in any byte of a value is noticed, by the name of its bucket and key.
func TestValueDamaged(t *testing.T) {
	t.Parallel()
	s := newStore(t, 3)
	check(t, s.Write(fullUpdate(15, 3, 100)))
	path := filepath.Join(memoryDir(t), "compact") // without what is left of older versions
	b, err := fillFile(path, s.content)
	check(t, err)
	check(t, b.close())
	file, err := os.ReadFile(path)
	check(t, err)
	_, err = read(file)
	check(t, err)
	for p, value := range s.content {
		stored := slices.Concat([]byte(p.key), value)
		checkEqual(t, "places of a value", bytes.Count(file, stored), 1)
		at := bytes.Index(file, stored) + len(p.key)
		for i := range value {
			flip := byte(1 << (i % 8))
			file[at+i] ^= flip
			_, err := read(file)
			checkIs(t, err, ErrDamaged)
			checkSays(t, err, p.String())
			file[at+i] ^= flip
		}
	}
}

// A byte that changes anywhere else in the file is noticed, or changes nothing: then
// bolt has no trouble with it either.
func TestAnyByteDamaged(t *testing.T) {
	t.Parallel()
	file, want := smallFile(t)
	inValue := make([]bool, len(file))
	found, err := readState(bytes.NewReader(file), int64(len(file)), thisSchema())
	check(t, err)
	for p, value := range found.content {
		stored := slices.Concat([]byte(p.key), value)
		for at := 0; ; at++ {
			next := bytes.Index(file[at:], stored)
			if next < 0 {
				break
			}
			at += next
			for i := range value {
				inValue[at+len(p.key)+i] = true
			}
		}
	}
	rng := rand.New(rand.NewPCG(1, 2))
	dir := memoryDir(t)
	noticed, opened := 0, 0
	unused := make([]byte, 32)
	for i := range file {
		if inValue[i] || rng.IntN(2) == 0 { // half of them will do: FuzzFile tries all
			continue
		}
		if i%16 != 0 && bytes.Equal(file[max(i-16, 0):][:min(32, len(file)-i)], unused[:min(32, len(file)-i)]) {
			continue // of the many zeros some will do
		}
		was := file[i]
		file[i] ^= 1 << rng.IntN(8)
		if i%2 == 0 {
			file[i] = byte(rng.Uint32())
		}
		got, err := read(file)
		switch {
		case err == nil:
			checkEqual(t, "content", got, want)
			if rng.IntN(50) == 0 {
				opened++
				checkUsable(t, dir, file, want)
			}
		case errors.Is(err, ErrDamaged) || errors.Is(err, ErrForeign):
			noticed++
		default:
			t.Fatalf("byte %d: %v", i, err)
		}
		file[i] = was
	}
	t.Logf("%d bytes were noticed, %d files opened", noticed, opened)
	if noticed < 1000 || opened < 20 {
		t.Error("too few")
	}
}

// checkUsable opens a file that was found right, writes, and opens it again.
func checkUsable(t *testing.T, dir string, file []byte, want Snapshot) {
	t.Helper()
	check(t, os.WriteFile(filepath.Join(dir, fileName), file, 0o644))
	s, err := Open(dir)
	check(t, err)
	checkEqual(t, "content", mustLoad(t, s), want)
	m := newModel(want)
	for mark := range uint64(3) {
		u := fullUpdate(20, 3, 200+mark)
		check(t, s.Write(u))
		m.apply(u)
	}
	check(t, s.Close())
	s, err = Open(dir)
	check(t, err)
	checkEqual(t, "content after writing", mustLoad(t, s), m.snapshot())
	check(t, s.Close())
}

func TestCutOff(t *testing.T) {
	file, _ := smallFile(t)
	for size := len(file) - 1; size >= 0; size -= 97 {
		if _, err := read(file[:size]); !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) {
			t.Fatalf("cut to %d of %d bytes: %v", size, len(file), err)
		}
	}
}

// A page of zeros, or with what is in another one, is noticed unless it is not used.
func TestPagesMixedUp(t *testing.T) {
	file, want := smallFile(t)
	pages := len(file) / pageSize
	for to := range pages {
		for from := -1; from < pages; from++ {
			damaged := bytes.Clone(file)
			content := make([]byte, pageSize)
			if from >= 0 {
				content = file[from*pageSize:][:pageSize]
			}
			copy(damaged[to*pageSize:], content)
			if from >= 0 && to > 1 {
				binary.NativeEndian.PutUint64(damaged[to*pageSize:], uint64(to)) // it even says that it is the one
			}
			if got, err := read(damaged); err == nil {
				checkEqual(t, "content", got, want)
			} else if !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrForeign) {
				t.Fatal(err)
			}
		}
	}
}

// A page that the disk did not write, so that an older version of it is there, is
// noticed, although all in it is right; and so is the older version of everything
// but the newest meta.
func TestStalePage(t *testing.T) {
	s := newStore(t, 3)
	check(t, s.Write(fullUpdate(20, 3, 100)))
	images := [][]byte{backup(t, s)}
	for mark := range uint64(6) {
		check(t, s.Write(Update{Tracks: []Track{testTrack(5, 1, 101+mark)}}))
		images = append(images, backup(t, s))
	}
	newest := images[len(images)-1]
	want, err := read(newest)
	check(t, err)
	noticed := 0
	for _, old := range images[:len(images)-1] {
		for page := 2; page < len(old)/pageSize; page++ {
			mixed := bytes.Clone(newest)
			copy(mixed[page*pageSize:][:pageSize], old[page*pageSize:])
			if got, err := read(mixed); err == nil {
				checkEqual(t, "content", got, want)
			} else {
				checkIs(t, err, ErrDamaged)
				noticed++
			}
		}
	}
	if noticed == 0 {
		t.Error("no page was a newer version of an older one")
	}
}

// A value that is gone, with nothing else wrong, is noticed; so is one too many.
func TestValueLost(t *testing.T) {
	at := trackKey(groupName(3), mdtName(0))
	more := trackKey(groupName(3), "m")
	for _, tt := range []struct {
		name   string
		change change
		says   string
	}{
		{"group", change{place{bucketGroups, groupName(3)}, nil}, "some are lost"},
		{"track", change{at, nil}, "some are lost"},
		{"version", change{atVersion, nil}, "version"},
		{"more", change{more, seal(more, encodeTrack(Track{}))}, "some are lost"},
		{"short", change{at, []byte("x")}, "too short"},
		{"elsewhere", change{at, seal(more, encodeTrack(Track{}))}, "checksum"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStore(t, 3)
			check(t, s.Write(fullUpdate(20, 3, 100)))
			check(t, s.bolt.transact([]change{tt.change}, s.sum))
			check(t, s.Close())
			_, err := Open(s.dir)
			checkIs(t, err, ErrDamaged)
			checkSays(t, err, s.dir, "restore a backup", tt.says)
		})
	}
}

// A transaction that is not ours is noticed, even one that changes nothing.
func TestForeignTransaction(t *testing.T) {
	for name, change := range map[string]func(tx *bbolt.Tx) error{
		"nothing": func(tx *bbolt.Tx) error { return nil },
		"seal":    func(tx *bbolt.Tx) error { return tx.Bucket([]byte(bucketLcapd)).Delete([]byte(atSeal.key)) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, 3)
			check(t, s.bolt.db.Update(change))
			check(t, s.Close())
			_, err := Open(s.dir)
			checkIs(t, err, ErrDamaged)
		})
	}
}

// Values that have a right checksum and make no sense are not believed either.
func TestValueMakesNoSense(t *testing.T) {
	for _, tt := range []struct {
		place
		body string
	}{
		{atIdentity, `{"file_system":"x","id":"y","created":"2026-01-01T00:00:00Z","more":1}`},
		{atIdentity, `{}{}`},
		{atIdentity, "\xff"},
		{place{bucketLcapd, "more"}, "x"},
		{place{"more", "x"}, "x"},
		{place{bucketMDTs, "m"}, "short"},
		{place{bucketRecent, "m"}, "12345"},
		{place{bucketRecent, "m"}, string(encodeRecent(Recent{Records: make([]RecordID, 2)}))},
		{place{bucketGroups, "g"}, `{"distribution":"best","start":"latest","created":"2026-01-01T00:00:00Z"}`},
		{place{bucketGroups, "g"}, `{"distribution":"mdt","start":"never","created":"2026-01-01T00:00:00Z"}`},
		{trackKey("g", "m"), "short"},
		{trackKey("g", "m"), string(encodeTrack(Track{Missed: []Missed{{From: 2, To: 1}}}))},
	} {
		s := newStore(t, 3)
		d := newDraft(s.content)
		d.put(tt.place, []byte(tt.body))
		check(t, s.commit(d.changes()))
		check(t, s.Close())
		_, err := Open(s.dir)
		checkIs(t, err, ErrDamaged)
		checkSays(t, err, tt.place.String())
	}
}

// refit gives a meta page its checksum again after a change.
func refit(file []byte, page int) {
	m := file[page*pageSize+pageHeader:]
	sum := fnv.New64a()
	sum.Write(m[:metaSize-8])
	binary.NativeEndian.PutUint64(m[metaSize-8:], sum.Sum64())
}

// A structure that bolt would follow for ever, or out of the file, is refused, even
// where checksums are right.
func TestStructureRefused(t *testing.T) {
	ne := binary.NativeEndian
	both := func(offset int, value uint64) func(file []byte) {
		return func(file []byte) {
			for page := range 2 {
				ne.PutUint64(file[page*pageSize+pageHeader+offset:], value)
				refit(file, page)
			}
		}
	}
	// branch returns the root of the bucket of tracks.
	branch := func(file []byte) []byte {
		pages, err := readPages(bytes.NewReader(file), int64(len(file)))
		check(t, err)
		buckets, err := pages.buckets()
		check(t, err)
		tracks := buckets[slices.IndexFunc(buckets, func(e element) bool { return string(e.key) == bucketTracks })]
		page := file[ne.Uint64(tracks.value)*pageSize:][:pageSize]
		checkEqual(t, "kind", ne.Uint16(page[8:]), uint16(kindBranch))
		return page
	}
	// inline returns the page that the bucket of upstreams has in the root.
	inline := func(file []byte) []byte {
		pages, err := readPages(bytes.NewReader(file), int64(len(file)))
		check(t, err)
		buckets, err := pages.buckets()
		check(t, err)
		upstream := buckets[slices.IndexFunc(buckets, func(e element) bool { return string(e.key) == bucketUpstream })]
		root := file[pages.meta.root*pageSize:]
		return root[bytes.Index(root, upstream.value)+bucketHeader:]
	}
	for _, tt := range []struct {
		name   string
		damage func(file []byte)
		says   string
	}{
		{"an inline page with a number", func(file []byte) { inline(file)[6] = 1 }, "bucket upstream: it is no page"},
		{"an inline page with overflow", func(file []byte) { inline(file)[13] = 1 }, "bucket upstream: it is no page"},
		{"an inline branch", func(file []byte) { inline(file)[8] = kindBranch }, "bucket upstream: it is no page"},
		{"root beyond the end", both(16, 1<<40), "no such page"},
		{"root is a meta", both(16, 1), "no such page"},
		{"beyond the end of the file", both(40, 1<<40), "cut off"},
		{"a page under itself", func(file []byte) {
			b := branch(file)
			copy(b[pageHeader+8:][:8], b[:8])
		}, "in two places"},
		{"a page twice", func(file []byte) {
			b := branch(file)
			copy(b[pageHeader+elementSize+8:][:8], b[pageHeader+8:][:8])
		}, "in two places"},
		{"many elements", func(file []byte) { ne.PutUint16(branch(file)[10:], 65535) }, "do not fit"},
		{"no elements", func(file []byte) { ne.PutUint16(branch(file)[10:], 0) }, "empty"},
		{"a far key", func(file []byte) { ne.PutUint32(branch(file)[pageHeader:], 1<<31) }, "does not fit"},
		{"a long key", func(file []byte) { ne.PutUint32(branch(file)[pageHeader+4:], 1<<31) }, "does not fit"},
		{"overflow", func(file []byte) { ne.PutUint32(branch(file)[12:], 1<<31) }, "beyond the last one"},
		{"another page size", func(file []byte) {
			ne.PutUint32(file[pageSize+pageHeader+8:], 8192)
			refit(file, 1)
		}, "pages of 8192 bytes"},
		{"another format", func(file []byte) {
			ne.PutUint32(file[pageHeader+4:], 3)
			refit(file, 0)
		}, "version 3"},
		{"one meta", func(file []byte) { clear(file[:pageSize]) }, "page 0"},
		{"the same meta twice", func(file []byte) {
			copy(file[:pageSize], file[pageSize:])
			ne.PutUint64(file, 0)
		}, "the same"},
		{"metas exchanged", func(file []byte) {
			first := bytes.Clone(file[:pageSize])
			copy(file[:pageSize], file[pageSize:])
			copy(file[pageSize:], first)
		}, "says that it is page 1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file, _ := smallFile(t)
			tt.damage(file)
			_, err := read(file)
			checkIs(t, err, ErrDamaged)
			checkSays(t, err, tt.says)
		})
	}
}

// A branch that names a page by a lower key than its first one is read as it was meant. bolt would
// leave that key in the tree: the file is written anew before it gets it.
func TestStrayKey(t *testing.T) {
	file, want := smallFile(t)
	pages, err := readPages(bytes.NewReader(file), int64(len(file)))
	check(t, err)
	buckets, err := pages.buckets()
	check(t, err)
	tracks := buckets[slices.IndexFunc(buckets, func(e element) bool { return string(e.key) == bucketTracks })]
	page := file[binary.NativeEndian.Uint64(tracks.value)*pageSize:][:pageSize]
	elements, err := elementsOf(page, kindBranch)
	check(t, err)
	elements[0].key[2] = 0 // it is a part of the file
	dir := t.TempDir()
	path := filepath.Join(dir, fileName)
	check(t, os.WriteFile(path, file, 0o644))
	checkStray(t, path, true)
	s := mustOpen(t, dir)
	checkEqual(t, "content", mustLoad(t, s), want)
	checkStray(t, path, false)
	check(t, s.Close())
	checkUsable(t, dir, file, want)
}

// Buckets in buckets, and values beside buckets, are not ours.
func TestBucketsElsewhere(t *testing.T) {
	s := newStore(t, 1)
	check(t, s.bolt.db.Update(func(tx *bbolt.Tx) error {
		_, err := tx.Bucket([]byte(bucketLcapd)).CreateBucket([]byte("inner"))
		return err
	}))
	check(t, s.Close())
	_, err := Open(s.dir)
	checkIs(t, err, ErrDamaged)
	checkSays(t, err, "inner")
}

// A file that is cut off or overwritten while lcapd runs costs one Write: what was in
// memory goes to a new file.
func TestDamagedUnderneath(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"cut off": func(path string) error { return os.Truncate(path, 2*pageSize) },
		"emptied": func(path string) error { return os.Truncate(path, 0) },
		"zeroed": func(path string) error {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = f.Write(make([]byte, 64*pageSize))
			return errors.Join(err, f.Close())
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t, 3)
			check(t, s.Write(fullUpdate(20, 3, 100)))
			want := mustLoad(t, s)
			check(t, damage(filepath.Join(s.dir, fileName)))
			update := Update{Tracks: []Track{testTrack(5, 1, 101)}}
			checkIs(t, s.Write(update), ErrNotStored)
			checkEqual(t, "content", mustLoad(t, s), want)
			if err := s.Backup(&bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "last write failed") {
				t.Errorf("backup: %v", err)
			}
			check(t, s.Write(update))
			m := newModel(want)
			m.apply(update)
			checkEqual(t, "content", mustLoad(t, s), m.snapshot())
			check(t, s.Write(Update{Tracks: []Track{testTrack(6, 1, 101)}}))
			m.apply(Update{Tracks: []Track{testTrack(6, 1, 101)}})
			checkBolt(t, s)
			checkEqual(t, "content after opening again", mustLoad(t, reopen(t, s)), m.snapshot())
		})
	}
}
