package watch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/lcapd/lcapd/changelog"
)

// The file of the store has these buckets:
//
//	names  FID of the directory (16) | name           -> 1 for a directory, else 0 | FID (16)
//	links  FID of a file that is no directory         -> how many names it has, uvarint
//	dirs   FID of a directory                         -> FID of its parent | length of the handle | handle | name
//	meta   one key, "meta"                            -> see meta.encode
var (
	bucketNames = []byte("names")
	bucketLinks = []byte("links")
	bucketDirs  = []byte("dirs")
	bucketMeta  = []byte("meta")
	keyMeta     = []byte("meta")
)

// ErrState: what is kept of a tree does not fit to it, or is damaged. The message says
// what to do.
var ErrState = errors.New("the state of a watched tree does not serve")

// store keeps what is known of the tree: on disk the tree at one record, in memory what
// has changed since. A flush makes what is in memory a layer that does not change any
// more, which a goroutine writes, in one transaction with the index of the record that
// it stands for, while new changes go to the next layer.
//
// It has one owner. An error of the disk sticks: [store.failed] tells it, and what was
// looked up since means nothing.
type store struct {
	db     *bbolt.DB
	tx     *bbolt.Tx // the one to look things up, nil when there is none
	meta   meta      // as it is on disk, or will be when the flush is done
	now    *layer
	frozen *layer     // being written, nil for none
	wrote  chan error // tells that it is
	err    error
}

// flushAt is how many changes make a flush due: they take some 20 MiB.
const flushAt = 1 << 16

// openStore opens the file, and makes it if it is not there.
func openStore(path string) (*store, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: 2 * time.Second, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType,
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w: %s is in use by another lcapd", ErrState, path)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w: %s is damaged: %w; %s", ErrState, path, err, beginAnew(path))
	case err != nil:
		return nil, fmt.Errorf("open the state of a watched tree: %w", err)
	}
	s := &store{db: db, now: newLayer(), wrote: make(chan error, 1)}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketNames, bucketLinks, bucketDirs, bucketMeta} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return s.meta.decode(tx.Bucket(bucketMeta).Get(keyMeta))
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s: %w; %s", ErrState, path, err, beginAnew(path)), db.Close())
	}
	return s, nil
}

// beginAnew says how to give up what is known of a tree.
func beginAnew(path string) string {
	return fmt.Sprintf("to watch the tree as if for the first time, stop lcapd and remove %s", filepath.Dir(path))
}

// clear empties the store: for a first scan that did not come to its end.
func (s *store) clear() error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketNames, bucketLinks, bucketDirs} {
			if err := tx.DeleteBucket(name); err != nil {
				return err
			}
			if _, err := tx.CreateBucket(name); err != nil {
				return err
			}
		}
		return nil
	})
}

// save writes the meta data alone.
func (s *store) save() error {
	return s.db.Update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketMeta).Put(keyMeta, s.meta.encode())
	})
}

// close waits for a flush that is under way, and closes the file. What was not flushed
// is not kept.
func (s *store) close() error {
	s.rest()
	err := s.await()
	return errors.Join(err, s.db.Close())
}

// flush begins to write what has changed, as what is known at the record m.index. write
// runs around the transaction: it forces the records to disk before, and gives them up
// behind it.
func (s *store) flush(ctx context.Context, m meta, write func(ctx context.Context, index uint64, commit func() error) error) {
	if err := s.await(); err != nil {
		return
	}
	s.meta, s.frozen, s.now = m, s.now, newLayer()
	frozen := s.frozen
	go func() {
		s.wrote <- write(ctx, m.index, func() error { return frozen.write(s.db, m) })
	}()
}

// await waits until no flush is under way.
func (s *store) await() error {
	if s.frozen != nil {
		s.rest() // the file could not grow
		s.written(<-s.wrote)
	}
	return s.err
}

// written takes note that a flush has ended.
func (s *store) written(err error) {
	s.frozen = nil
	s.rest() // look at what was written
	if err != nil {
		s.fail(fmt.Errorf("write what is known of the tree: %w", err))
	}
}

// rest ends looking things up for now: who looks at a file keeps it from growing.
func (s *store) rest() {
	if s.tx != nil {
		_ = s.tx.Rollback() // it only read
		s.tx = nil
	}
}

func (s *store) fail(err error) {
	if s.err == nil {
		s.err = err
	}
}

// bucket returns a bucket to look things up in, nil after an error.
func (s *store) bucket(name []byte) *bbolt.Bucket {
	if s.tx == nil {
		tx, err := s.db.Begin(false)
		if err != nil {
			s.fail(fmt.Errorf("look at what is known of the tree: %w", err))
			return nil
		}
		s.tx = tx
	}
	return s.tx.Bucket(name)
}

// get looks a key up on disk. What it returns lives until the next rest.
func (s *store) get(bucket, key []byte) []byte {
	if b := s.bucket(bucket); b != nil {
		return b.Get(key)
	}
	return nil
}

// name returns what a name leads to, the zero entry if there is none.
func (s *store) name(p place) entry {
	for _, l := range []*layer{s.now, s.frozen} {
		if e, ok := l.name(p); ok {
			return e
		}
	}
	return decodeEntry(s.get(bucketNames, nameKey(p)))
}

// links returns how many names a file has.
func (s *store) links(fid changelog.FID) int {
	for _, l := range []*layer{s.now, s.frozen} {
		if n, ok := l.count(fid); ok {
			return n
		}
	}
	n, _ := binary.Uvarint(s.get(bucketLinks, appendFID(nil, fid)))
	return int(n)
}

// list returns the names in a directory.
func (s *store) list(fid changelog.FID) map[string]entry {
	all := make(map[string]entry)
	if b := s.bucket(bucketNames); b != nil {
		prefix := appendFID(nil, fid)
		for c, key, value := seek(b, prefix); hasPrefix(key, prefix); key, value = c.Next() {
			all[string(key[fidSize:])] = decodeEntry(value)
		}
	}
	for _, l := range []*layer{s.frozen, s.now} {
		l.overlay(fid, all)
	}
	return all
}

func seek(b *bbolt.Bucket, prefix []byte) (c *bbolt.Cursor, key, value []byte) {
	c = b.Cursor()
	key, value = c.Seek(prefix)
	return c, key, value
}

func (s *store) setName(p place, e entry)              { s.now.setName(p, e) }
func (s *store) setLinks(fid changelog.FID, links int) { s.now.setLinks(fid, links) }
func (s *store) setDir(d *dir)                         { s.now.setDir(d.fid, encodeDir(d)) }
func (s *store) dropDir(fid changelog.FID)             { s.now.setDir(fid, nil) }

// load returns the directories on disk.
func (s *store) load() (map[changelog.FID]*dir, error) {
	dirs := make(map[changelog.FID]*dir)
	get := func(fid changelog.FID) *dir {
		if dirs[fid] == nil {
			dirs[fid] = &dir{fid: fid}
		}
		return dirs[fid]
	}
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketDirs).ForEach(func(key, value []byte) error {
			if len(key) != fidSize || len(value) < fidSize+1 || len(value) < fidSize+1+int(value[fidSize]) {
				return fmt.Errorf("%w: an entry of %d and %d bytes for a directory", ErrState, len(key), len(value))
			}
			d, parent := get(decodeFID(key)), decodeFID(value)
			if d.fid != s.meta.root {
				d.parent = get(parent)
			}
			name := fidSize + 1 + int(value[fidSize])
			d.handle, d.name = string(value[fidSize+1:name]), string(value[name:])
			return nil
		})
	})
	return dirs, err
}

// isThere tells whether there is a file.
func isThere(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
