package state

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// A bolt file, as version 2 of its format has it, is a row of pages. Pages 0 and 1
// are metas: each has a checksum and says where the root of a tree is; the one with
// the higher transaction number counts. Leaves of the tree under the root are
// buckets: the number of another tree's root page or, when small, a page by itself.
// All numbers are in the order of the machine.

const (
	pageSize     = 4096 // what we tell bolt to use, whatever the machine's is
	pageHeader   = 16   // id 8, kind 2, count 2, overflow 4
	elementSize  = 16   // leaf: flags, pos, ksize, vsize; branch: pos, ksize, page 8
	bucketHeader = 16   // root page 8, sequence 8
	metaSize     = 64   // the last 8 are the checksum of the others

	boltMagic   = 0xED0CDAED
	boltVersion = 2
	noFreelist  = ^uint64(0)

	kindBranch = 1
	kindLeaf   = 2
	kindMeta   = 4
	flagBucket = 1

	// maxDepth is far beyond any tree that fits on a disk.
	maxDepth = 32
)

var ne = binary.NativeEndian

// errNotBolt: neither meta is one that we wrote.
var errNotBolt = errors.New("it is not a bolt file")

// meta is what a meta page says.
type meta struct {
	root, freelist, top, txid uint64 // top is the first page that is not used yet
}

// pageReader reads a bolt file without trusting it.
type pageReader struct {
	file io.ReaderAt
	meta meta
	seen map[uint64]bool // pages, so that none is in two places
	// stray: a branch names a page by another key than its first one. Reading finds everything, but
	// bolt, which looks for the page's own key when it changes the page, would leave the old one in the tree.
	stray bool
}

// readPages reads the metas. Both must be right: bolt never leaves one that is not,
// and a meta alone could be that of an older version.
func readPages(file io.ReaderAt, size int64) (*pageReader, error) {
	m0, err0 := readMeta(file, 0)
	m1, err1 := readMeta(file, 1)
	switch {
	case errors.Is(err0, errNotBolt) && errors.Is(err1, errNotBolt):
		return nil, err0
	case err0 != nil:
		return nil, fmt.Errorf("page 0: %v", err0) // not %w: with another meta it is a bolt file
	case err1 != nil:
		return nil, fmt.Errorf("page 1: %v", err1)
	case m0.txid == m1.txid:
		return nil, errors.New("pages 0 and 1 are the same")
	}
	r := &pageReader{file: file, meta: m0, seen: map[uint64]bool{}}
	if m1.txid > m0.txid {
		r.meta = m1
	}
	if most := uint64(size) / pageSize; r.meta.top > most {
		return nil, fmt.Errorf("it has %d pages, want %d: it was cut off", most, r.meta.top)
	}
	return r, nil
}

func readMeta(file io.ReaderAt, id int64) (meta, error) {
	var page [pageHeader + metaSize]byte
	if _, err := file.ReadAt(page[:], id*pageSize); err == io.EOF {
		return meta{}, errNotBolt
	} else if err != nil {
		return meta{}, err
	}
	m := page[pageHeader:]
	sum := fnv.New64a()
	sum.Write(m[:metaSize-8]) // never fails
	switch {
	case ne.Uint32(m) != boltMagic:
		return meta{}, errNotBolt
	case ne.Uint64(page[:]) != uint64(id) || ne.Uint16(page[8:]) != kindMeta:
		return meta{}, fmt.Errorf("it says that it is page %d, of kind %d", ne.Uint64(page[:]), ne.Uint16(page[8:]))
	case ne.Uint64(m[metaSize-8:]) != sum.Sum64():
		return meta{}, errors.New("the checksum does not match")
	case ne.Uint32(m[4:]) != boltVersion:
		return meta{}, fmt.Errorf("%w of lcapd's: it has version %d of the format", errNotBolt, ne.Uint32(m[4:]))
	case ne.Uint32(m[8:]) != pageSize:
		return meta{}, fmt.Errorf("%w of lcapd's: it has pages of %d bytes", errNotBolt, ne.Uint32(m[8:]))
	}
	return meta{root: ne.Uint64(m[16:]), freelist: ne.Uint64(m[32:]), top: ne.Uint64(m[40:]), txid: ne.Uint64(m[48:])}, nil
}

// hasFreelist tells whether the file has a list of free pages. Ours have none, so
// that there is nothing for bolt to trust: whoever opens one with other options than
// ours adds it.
func (r *pageReader) hasFreelist() bool { return r.meta.freelist != noFreelist }

// element is one entry of a page.
type element struct {
	key, value []byte
	bucket     bool   // in a leaf: the value is a bucket
	child      uint64 // in a branch
}

// buckets returns what is in the root: the buckets by name, not yet looked into.
func (r *pageReader) buckets() ([]element, error) {
	var found []element
	err := r.tree(r.meta.root, span{}, 0, func(e element) error {
		if !e.bucket || len(e.value) < bucketHeader {
			return fmt.Errorf("key %q is not a bucket", e.key)
		}
		found = append(found, e)
		return nil
	})
	return found, err
}

// values calls visit for each key and value of a bucket.
func (r *pageReader) values(bucket element, visit func(key, value []byte)) error {
	leaf := func(e element) error {
		if e.bucket {
			return fmt.Errorf("key %q is a bucket", e.key)
		}
		visit(e.key, e.value)
		return nil
	}
	root := ne.Uint64(bucket.value)
	if root != 0 {
		return r.tree(root, span{}, 0, leaf)
	}
	inline := bucket.value[bucketHeader:]
	if len(inline) < pageHeader || ne.Uint64(inline) != 0 || ne.Uint16(inline[8:]) != kindLeaf || ne.Uint32(inline[12:]) != 0 {
		return errors.New("it is no page") // bolt would take a number that is there for one in the file
	}
	return r.page(inline, span{}, 0, leaf)
}

// span is the keys that a page may have: from first to before end; nil is no bound.
type span struct{ first, end []byte }

func (s span) has(key []byte) bool {
	return bytes.Compare(s.first, key) <= 0 && (s.end == nil || bytes.Compare(key, s.end) < 0)
}

// tree visits the leaves under a page.
func (r *pageReader) tree(id uint64, keys span, depth int, leaf func(element) error) error {
	page, err := r.read(id)
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	if err := r.page(page, keys, depth, leaf); err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	return nil
}

// read returns a page with its overflow.
func (r *pageReader) read(id uint64) ([]byte, error) {
	if id < 2 || id >= r.meta.top {
		return nil, fmt.Errorf("there is no such page among %d", r.meta.top)
	}
	var head [pageHeader]byte
	if _, err := r.file.ReadAt(head[:], int64(id)*pageSize); err != nil {
		return nil, err
	}
	extent := 1 + uint64(ne.Uint32(head[12:]))
	switch {
	case ne.Uint64(head[:]) != id:
		return nil, fmt.Errorf("it says that it is page %d", ne.Uint64(head[:]))
	case extent > r.meta.top-id:
		return nil, fmt.Errorf("its %d pages go beyond the last one", extent)
	}
	for part := id; part < id+extent; part++ {
		if r.seen[part] {
			return nil, fmt.Errorf("page %d is in two places", part)
		}
		r.seen[part] = true
	}
	page := make([]byte, extent*pageSize)
	_, err := r.file.ReadAt(page, int64(id)*pageSize)
	return page, err
}

// page visits the leaves on or under a page that was read.
func (r *pageReader) page(page []byte, keys span, depth int, leaf func(element) error) error {
	kind := ne.Uint16(page[8:])
	elements, err := elementsOf(page, kind)
	if err != nil {
		return err
	}
	switch {
	case depth == maxDepth:
		return errors.New("the tree is too deep")
	case len(elements) == 0 && (depth > 0 || kind == kindBranch):
		return errors.New("it is empty")
	}
	if len(elements) > 0 && depth > 0 && !bytes.Equal(elements[0].key, keys.first) {
		r.stray = true
	}
	for i, e := range elements {
		under := span{e.key, keys.end}
		if i+1 < len(elements) {
			under.end = elements[i+1].key
			if bytes.Compare(e.key, under.end) >= 0 {
				return errors.New("keys are not in order")
			}
		}
		if !keys.has(e.key) {
			return errors.New("a key is on the wrong page")
		}
		if kind == kindBranch {
			err = r.tree(e.child, under, depth+1, leaf)
		} else {
			err = leaf(e)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// elementsOf returns the entries of a leaf or a branch.
func elementsOf(page []byte, kind uint16) ([]element, error) {
	if kind != kindBranch && kind != kindLeaf {
		return nil, fmt.Errorf("kind %d is not of a tree", kind)
	}
	elements := make([]element, ne.Uint16(page[10:]))
	if pageHeader+len(elements)*elementSize > len(page) {
		return nil, fmt.Errorf("%d elements do not fit", len(elements))
	}
	for i := range elements {
		at := page[pageHeader+i*elementSize:] // positions count from here
		e := &elements[i]
		var pos, keySize, valueSize uint64
		if kind == kindBranch {
			pos, keySize, e.child = uint64(ne.Uint32(at)), uint64(ne.Uint32(at[4:])), ne.Uint64(at[8:])
		} else {
			e.bucket = ne.Uint32(at)&flagBucket != 0
			pos, keySize, valueSize = uint64(ne.Uint32(at[4:])), uint64(ne.Uint32(at[8:])), uint64(ne.Uint32(at[12:]))
		}
		if keySize == 0 || pos+keySize+valueSize > uint64(len(at)) {
			return nil, fmt.Errorf("element %d does not fit", i)
		}
		e.key, e.value = at[pos:pos+keySize], at[pos+keySize:pos+keySize+valueSize]
	}
	return elements, nil
}
