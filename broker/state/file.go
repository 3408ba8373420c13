package state

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// stateFile is what a state.db turned out to hold.
type stateFile struct {
	content  content
	identity Identity
	version  uint32 // of the file; the content is of the version wanted
	stray    bool   // bolt must not go on with the file, though all that it holds is right
}

// readFile reads the state file at path and verifies all of it.
func readFile(path string, want schema) (stateFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return stateFile{}, err
	}
	defer f.Close() // it was only read
	info, err := f.Stat()
	if err != nil {
		return stateFile{}, err
	}
	found, err := readState(f, info.Size(), want)
	if err != nil {
		return stateFile{}, fmt.Errorf("%s: %w", path, err)
	}
	return found, nil
}

// readState reads a state file of any content. It fails with [ErrForeign],
// [ErrDamaged] or [ErrVersion], without saying what to do, unless nothing is wrong.
func readState(f io.ReaderAt, size int64, want schema) (stateFile, error) {
	found, pages, err := readContent(f, size)
	if err != nil {
		return stateFile{}, err
	}
	version, err := found.version()
	if err != nil {
		return stateFile{}, damaged(err)
	}
	if err := want.knows(version); err != nil {
		return stateFile{}, err
	}
	if err := found.verify(pages.meta.txid); err != nil {
		return stateFile{}, damaged(err)
	}
	if found, err = want.upgrade(found, version); err != nil {
		return stateFile{}, fmt.Errorf("upgrade from version %d: %w", version, err)
	}
	all, err := decode(found)
	if err != nil {
		return stateFile{}, damaged(err)
	}
	return stateFile{found, all.Identity, version, pages.stray}, nil
}

func damaged(err error) error { return fmt.Errorf("%w: %w", ErrDamaged, err) }

func foreign(err error) error { return fmt.Errorf("%w: %w", ErrForeign, err) }

// readContent reads the values of a state file, believing only its structure, and returns who
// has read it.
func readContent(f io.ReaderAt, size int64) (c content, pages *pageReader, err error) {
	pages, err = readPages(f, size)
	if errors.Is(err, errNotBolt) {
		return nil, nil, foreign(err)
	} else if err != nil {
		return nil, nil, damaged(err)
	}
	buckets, err := pages.buckets()
	if err != nil {
		return nil, nil, damaged(err)
	}
	if !slices.ContainsFunc(buckets, func(e element) bool { return string(e.key) == bucketLcapd }) {
		return nil, nil, foreign(fmt.Errorf("it is another program's bolt file, without a bucket %q", bucketLcapd))
	}
	if pages.hasFreelist() {
		return nil, nil, damaged(errors.New("another program has written to it"))
	}
	c = content{}
	for _, bucket := range buckets {
		err := pages.values(bucket, func(key, value []byte) {
			c[place{string(bucket.key), string(key)}] = value
		})
		if err != nil {
			return nil, nil, damaged(fmt.Errorf("bucket %s: %w", bucket.key, err))
		}
	}
	return c, pages, nil
}

// putFile makes c the state.db of dir, in one step, and opens it. With an error the
// old file is still there; but if all that failed was making the step durable, the
// new one is, and is returned with the error.
func putFile(dir string, c content) (*boltFile, error) {
	path, tmp := filepath.Join(dir, fileName), filepath.Join(dir, tmpName)
	if err := removeFile(tmp); err != nil { // a leftover
		return nil, err
	}
	b, err := fillFile(tmp, c)
	if err == nil {
		if err = os.Rename(tmp, path); err == nil {
			return b, syncDir(dir)
		}
		err = errors.Join(err, b.close())
	}
	_ = removeFile(tmp) // if this fails, the next try does it
	return nil, err
}

// fillFile makes a new bolt file and leaves it open.
func fillFile(path string, c content) (*boltFile, error) {
	changes := make([]change, 0, len(c))
	for p, value := range c {
		changes = append(changes, change{p, value})
	}
	slices.SortFunc(changes, func(a, b change) int {
		return cmp.Or(cmp.Compare(a.bucket, b.bucket), cmp.Compare(a.key, b.key))
	})
	b, err := openBolt(path)
	if err != nil {
		return nil, err
	}
	if err := b.transact(changes, c.sum()); err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// keepFile gives the file at path the further name to.
func keepFile(path, to string) error {
	if err := removeFile(to); err != nil {
		return err
	}
	return os.Link(path, to)
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// makeDir makes a directory, durably; one that exists will do.
func makeDir(dir string) error {
	err := os.Mkdir(dir, dirMode)
	if errors.Is(err, fs.ErrExist) {
		return nil // if it is no directory, the next step says so
	} else if err != nil {
		return err
	}
	return syncDir(filepath.Dir(filepath.Clean(dir)))
}

// syncDir makes the names in dir durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
