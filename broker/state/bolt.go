package state

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"time"

	"go.etcd.io/bbolt"
)

// boltFile is an open bolt file, whose content was verified or was written here.
type boltFile struct {
	db   *bbolt.DB
	info os.FileInfo // tells whether a name still leads to it
	txid int         // the last transaction that succeeded
	// broken: bolt panicked, and may hold locks of its own. It must not be touched
	// again, not even to close it.
	broken bool
}

// openBolt opens a bolt file, and makes it if there is none.
func openBolt(path string) (*boltFile, error) {
	options := &bbolt.Options{
		PageSize: pageSize,
		// The free pages are found by looking when the file is opened, instead of being
		// written with each transaction: cheaper, and nothing that can be damaged.
		NoFreelistSync: true,
		FreelistType:   bbolt.FreelistMapType,
		Timeout:        time.Second, // for somebody's bolt tool that looks at the file
		NoStatistics:   true,
	}
	b := &boltFile{}
	err := b.guard(func() (err error) {
		b.db, err = bbolt.Open(path, fileMode, options)
		return err
	})
	if err != nil {
		return nil, err
	}
	if b.info, err = os.Stat(path); err == nil {
		b.txid, err = b.lastTx()
	}
	if err != nil {
		return nil, errors.Join(err, b.close())
	}
	return b, nil
}

// close closes the file; a broken one is left to the end of the process.
func (b *boltFile) close() error {
	if b.broken {
		return nil
	}
	return b.db.Close()
}

// guard turns a panic of bolt into an error: one of its checks, or a page that
// cannot be read, for bolt maps the file into memory.
func (b *boltFile) guard(do func() error) (err error) {
	if b.broken {
		return errors.New("bolt has failed before")
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			b.broken = true
			err = fmt.Errorf("bolt failed: %v", r)
		}
	}()
	return do()
}

// transact stores changes in one durable transaction, after which the values come to
// the given sum.
//
// It does not use bolt's Update, which after a panic goes on to read the file that
// it panicked about.
func (b *boltFile) transact(changes []change, after sum) error {
	return b.guard(func() error {
		tx, err := b.db.Begin(true)
		if err != nil {
			return err
		}
		txid := tx.ID()
		sealed := change{atSeal, seal(atSeal, encodeSeal(after, uint64(txid)))}
		for _, x := range slices.Concat(changes, []change{sealed}) {
			if err := store(tx, x); err != nil {
				return errors.Join(fmt.Errorf("%v: %w", x.place, err), tx.Rollback())
			}
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		b.txid = txid
		return nil
	})
}

// fill is how full bolt leaves a page that it splits. Values keep their size, and
// keys come once and stay: there is little to leave room for.
const fill = 0.9

func store(tx *bbolt.Tx, x change) error {
	bucket, err := tx.CreateBucketIfNotExists([]byte(x.bucket))
	if err != nil {
		return err
	}
	bucket.FillPercent = fill
	if x.value == nil {
		return bucket.Delete([]byte(x.key))
	}
	return bucket.Put([]byte(x.key), x.value)
}

// isCertain tells, after a failed transaction, whether bolt can go on.
//
// If the last step failed, the sync of the meta page, bolt sees the transaction as
// done, while on disk it may not be. It would then reuse the pages of the state
// before, and a crash could leave neither. So bolt must be at the last transaction
// that succeeded.
func (b *boltFile) isCertain() bool {
	at, err := b.lastTx()
	return err == nil && at == b.txid
}

// lastTx returns the number of the transaction that the file is at, as bolt sees it.
func (b *boltFile) lastTx() (txid int, err error) {
	err = b.view(func(tx *bbolt.Tx) error {
		txid = tx.ID()
		return nil
	})
	return txid, err
}

// copyTo writes the file as it is.
func (b *boltFile) copyTo(w io.Writer) error {
	return b.view(func(tx *bbolt.Tx) error {
		_, err := tx.WriteTo(w)
		return err
	})
}

func (b *boltFile) view(do func(tx *bbolt.Tx) error) error {
	return b.guard(func() error { return b.db.View(do) })
}
