package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

// lookup asks the file system.
type lookup func(key) (value, error)

// made is a file system for the demo, whose objects do not exist: every look-up finds
// another size.
func made() lookup {
	var n atomic.Int64
	return func(k key) (value, error) {
		if k.name != "" {
			return value{fid: changelog.FID{Seq: k.fid.Seq, Oid: uint32(n.Add(1))}}, nil
		}
		return value{size: n.Add(1)}, nil
	}
}

// stored is a folder that stands for a file system, as a test keeps it: attr/FID is a file whose
// size is the object's, and names/FID/NAME is a symbolic link to the FID that the name leads
// to. On Lustre it would be .lustre/fid/FID.
func stored(dir string) lookup {
	return func(k key) (value, error) {
		if k.name == "" {
			info, err := os.Lstat(filepath.Join(dir, "attr", k.fid.String()))
			if errors.Is(err, fs.ErrNotExist) {
				return value{missing: true}, nil
			}
			if err != nil {
				return value{}, err
			}
			return value{size: info.Size()}, nil
		}
		text, err := os.Readlink(filepath.Join(dir, "names", k.fid.String(), k.name))
		if errors.Is(err, fs.ErrNotExist) {
			return value{missing: true}, nil
		}
		if err != nil {
			return value{}, err
		}
		fid, err := changelog.ParseFID(text)
		return value{fid: fid}, err
	}
}

// slow is a file system whose answers take some time to arrive.
func slow(look lookup, delay time.Duration) lookup {
	return func(k key) (value, error) {
		v, err := look(k)
		time.Sleep(delay)
		return v, err
	}
}
