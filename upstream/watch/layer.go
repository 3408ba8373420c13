package watch

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/lcapd/lcapd/changelog"
)

// layer holds changes of the store that are not on disk yet. A nil layer holds none.
type layer struct {
	names map[changelog.FID]map[string]entry // by directory; the zero entry: gone
	files map[changelog.FID]int              // 0: gone
	dirs  map[changelog.FID][]byte           // nil: gone
	size  int                                // how many changes
}

func newLayer() *layer {
	return &layer{
		names: make(map[changelog.FID]map[string]entry),
		files: make(map[changelog.FID]int),
		dirs:  make(map[changelog.FID][]byte),
	}
}

func (l *layer) name(p place) (entry, bool) {
	if l == nil {
		return entry{}, false
	}
	e, ok := l.names[p.dir][p.name]
	return e, ok
}

func (l *layer) count(fid changelog.FID) (int, bool) {
	if l == nil {
		return 0, false
	}
	n, ok := l.files[fid]
	return n, ok
}

// overlay puts what has changed in a directory over what was there.
func (l *layer) overlay(fid changelog.FID, all map[string]entry) {
	if l == nil {
		return
	}
	for name, e := range l.names[fid] {
		if (e == entry{}) {
			delete(all, name)
		} else {
			all[name] = e
		}
	}
}

func (l *layer) setName(p place, e entry) {
	names := l.names[p.dir]
	if names == nil {
		names = make(map[string]entry)
		l.names[p.dir] = names
	}
	before := len(names)
	names[p.name] = e
	l.size += len(names) - before
}

func (l *layer) setLinks(fid changelog.FID, links int) { l.files[fid] = links }

func (l *layer) setDir(fid changelog.FID, value []byte) { l.dirs[fid] = value }

// write writes the layer and the meta data in one transaction, in the order of the
// keys: the file's pages are then visited once.
func (l *layer) write(db *bbolt.DB, m meta) error {
	return db.Update(func(tx *bbolt.Tx) error {
		var names, links, dirs pairs
		for fid, in := range l.names {
			for name, e := range in {
				names.add(nameKey(place{fid, name}), encodeEntry(e))
			}
		}
		for fid, n := range l.files {
			links.add(appendFID(nil, fid), encodeLinks(n))
		}
		for fid, value := range l.dirs {
			dirs.add(appendFID(nil, fid), value)
		}
		for _, w := range []struct {
			bucket []byte
			pairs  pairs
		}{{bucketNames, names}, {bucketLinks, links}, {bucketDirs, dirs}} {
			if err := w.pairs.write(tx.Bucket(w.bucket)); err != nil {
				return err
			}
		}
		return tx.Bucket(bucketMeta).Put(keyMeta, m.encode())
	})
}

// pairs are keys and values to be written; a nil value deletes.
type pairs []struct{ key, value []byte }

func (p *pairs) add(key, value []byte) { *p = append(*p, struct{ key, value []byte }{key, value}) }

func (p pairs) write(b *bbolt.Bucket) error {
	slices.SortFunc(p, func(a, b struct{ key, value []byte }) int { return bytes.Compare(a.key, b.key) })
	for _, kv := range p {
		err := error(nil)
		if kv.value == nil {
			err = b.Delete(kv.key)
		} else {
			err = b.Put(kv.key, kv.value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const fidSize = 16

// appendFID appends a FID so that files that are close to each other on disk, as a rule,
// are close in the order of the keys.
func appendFID(dst []byte, f changelog.FID) []byte {
	dst = binary.BigEndian.AppendUint64(dst, f.Seq)
	dst = binary.BigEndian.AppendUint32(dst, f.Oid)
	return binary.BigEndian.AppendUint32(dst, f.Ver)
}

func decodeFID(b []byte) changelog.FID {
	return changelog.FID{Seq: binary.BigEndian.Uint64(b), Oid: binary.BigEndian.Uint32(b[8:]), Ver: binary.BigEndian.Uint32(b[12:])}
}

func nameKey(p place) []byte {
	return append(appendFID(make([]byte, 0, fidSize+len(p.name)), p.dir), p.name...)
}

func encodeEntry(e entry) []byte {
	if (e == entry{}) {
		return nil
	}
	b := make([]byte, 1, 1+fidSize)
	if e.isDir {
		b[0] = 1
	}
	return appendFID(b, e.fid)
}

// decodeEntry is the zero entry for what is no entry.
func decodeEntry(b []byte) entry {
	if len(b) != 1+fidSize {
		return entry{}
	}
	return entry{decodeFID(b[1:]), b[0] == 1}
}

func encodeLinks(n int) []byte {
	if n <= 0 {
		return nil
	}
	return binary.AppendUvarint(nil, uint64(n))
}

func encodeDir(d *dir) []byte {
	parent := changelog.FID{}
	if d.parent != nil {
		parent = d.parent.fid
	}
	b := append(appendFID(nil, parent), byte(len(d.handle)))
	return append(append(b, d.handle...), d.name...)
}

func hasPrefix(key, prefix []byte) bool { return key != nil && bytes.HasPrefix(key, prefix) }

// meta is what is kept of the tree as a whole.
type meta struct {
	top      handle // of the root of the tree
	root     changelog.FID
	system   uint64 // the id of the file system when the tree was first watched
	complete bool   // the first scan came to its end
	index    uint64 // of the last record that the store stands for
	quiet    int64  // what changed before that time is in the records, ns since 1970
}

const metaVersion = 1

// encode returns: version u32 | complete u8 | system u64 | index u64 | quiet i64 |
// kind of the root's handle u32 | its bytes. Little-endian.
func (m *meta) encode() []byte {
	b := binary.LittleEndian.AppendUint32(nil, metaVersion)
	complete := byte(0)
	if m.complete {
		complete = 1
	}
	b = append(b, complete)
	b = binary.LittleEndian.AppendUint64(b, m.system)
	b = binary.LittleEndian.AppendUint64(b, m.index)
	b = binary.LittleEndian.AppendUint64(b, uint64(m.quiet))
	b = binary.LittleEndian.AppendUint32(b, uint32(m.top.kind))
	return append(b, m.top.bytes...)
}

// decode reads what encode made. Nothing at all is a store that was just made.
func (m *meta) decode(b []byte) error {
	const fixed = 4 + 1 + 8 + 8 + 8 + 4
	if len(b) == 0 {
		return nil
	}
	if len(b) <= fixed {
		return fmt.Errorf("meta data of %d bytes", len(b))
	}
	if v := binary.LittleEndian.Uint32(b); v != metaVersion {
		return fmt.Errorf("version %d, this lcapd knows version %d", v, metaVersion)
	}
	m.complete = b[4] == 1
	m.system = binary.LittleEndian.Uint64(b[5:])
	m.index = binary.LittleEndian.Uint64(b[13:])
	m.quiet = int64(binary.LittleEndian.Uint64(b[21:]))
	m.top = handle{int32(binary.LittleEndian.Uint32(b[29:])), string(b[fixed:])}
	m.root = newIdentifiers(m.system).fid(m.top)
	return nil
}
