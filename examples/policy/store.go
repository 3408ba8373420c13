package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"time"

	_ "modernc.org/sqlite" // in Go alone: no C compiler is needed

	"github.com/lcapd/lcapd/changelog"
)

const schema = `
CREATE TABLE IF NOT EXISTS files (
	fid     TEXT PRIMARY KEY,
	type    TEXT NOT NULL,     -- of the record that made it: CREAT, MKDIR, SLINK, MKNOD; '' if that was before us
	links   INTEGER NOT NULL,  -- names that we know of
	uid     INTEGER,           -- NULL: unknown, see rules.go
	gid     INTEGER,
	changed INTEGER NOT NULL,  -- seconds since 1970
	changer INTEGER,           -- who did it
	mtime   INTEGER NOT NULL,
	size    INTEGER            -- always NULL: records do not tell it
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS files_by_owner ON files (uid, changed);
CREATE TABLE IF NOT EXISTS names (
	fid    TEXT NOT NULL,
	parent TEXT NOT NULL,
	name   TEXT NOT NULL,      -- bytes as they are, not always UTF-8
	PRIMARY KEY (fid, parent, name)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS names_by_place ON names (parent, name);
CREATE TABLE IF NOT EXISTS applied (
	fid   TEXT NOT NULL,
	mdt   TEXT NOT NULL,
	epoch INTEGER NOT NULL,
	idx   INTEGER NOT NULL,    -- of the last record of the FID that was applied
	at    INTEGER NOT NULL,    -- when it was applied or, of a file that is gone, met again
	PRIMARY KEY (fid, mdt)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS lost (
	mdt  TEXT NOT NULL, epoch INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, at INTEGER NOT NULL,
	PRIMARY KEY (mdt, epoch, first, last)
) WITHOUT ROWID;`

// store is the database, as one process sees it. It has one owner.
type store struct {
	db                                                      *sql.DB
	putFile, cutFile, putName, cutName, putApplied, putLost *sql.Stmt
}

// busyFor is how long one process waits for the write lock of another.
const busyFor = 2 * time.Minute

// open opens the database in a file, and makes it if it is not there.
//
// Commits are forced to disk (synchronous FULL; in WAL mode NORMAL would not do so): what
// we acknowledge may be cleared on the MDT the next moment, and the
// machine may fail the moment after.
func open(ctx context.Context, file string) (*store, error) {
	pragmas := url.Values{"_txlock": {"immediate"}, "_pragma": {
		fmt.Sprintf("busy_timeout(%d)", busyFor.Milliseconds()), "journal_mode(WAL)", "synchronous(FULL)"}}
	db, err := sql.Open("sqlite", "file:"+(&url.URL{Path: file}).EscapedPath()+"?"+pragmas.Encode())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	// Of several processes that make the file at once, some fail without waiting.
	for end := time.Now().Add(busyFor); ; time.Sleep(20 * time.Millisecond) {
		_, err = db.ExecContext(ctx, schema)
		if err == nil || time.Now().After(end) || ctx.Err() != nil {
			break
		}
	}
	s := &store{db: db}
	for _, p := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&s.putFile, `INSERT OR REPLACE INTO files (fid, type, links, uid, gid, changed, changer, mtime) VALUES (?,?,?,?,?,?,?,?)`},
		{&s.cutFile, `DELETE FROM files WHERE fid = ?`},
		{&s.putName, `INSERT OR IGNORE INTO names (fid, parent, name) VALUES (?,?,?)`},
		{&s.cutName, `DELETE FROM names WHERE fid = ? AND parent = ? AND name = ?`},
		{&s.putApplied, `INSERT OR REPLACE INTO applied (fid, mdt, epoch, idx, at) VALUES (?,?,?,?,?)`},
		{&s.putLost, `INSERT OR IGNORE INTO lost (mdt, epoch, first, last, at) VALUES (?,?,?,?,?)`},
	} {
		if err == nil {
			*p.to, err = db.PrepareContext(ctx, p.sql)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, errors.Join(err, db.Close()))
	}
	return s, nil
}

func (s *store) close() error { return s.db.Close() }

// batch is some records of an MDT, and when they were asked for.
type batch struct {
	mdt     string
	epoch   uint32
	records func(func(changelog.Record) bool)
	asked   time.Time
}

// mostAge is how long a batch may be in hand. Who slept longer does not apply it.
const mostAge = 10 * time.Minute

// errSlept: see mostAge.
var errSlept = errors.New("this process was away for too long; what it holds is given to others")

// apply applies batches, in order, in one transaction. When it returns nil the result is on
// disk. It returns how many records changed nothing because they were applied before.
func (s *store) apply(ctx context.Context, batches ...batch) (repeated int, err error) {
	// This takes the write lock: what is read now nobody else changes before the commit.
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return 0, err
	}
	defer func() { _ = tx.Rollback() }() // after a commit it does nothing
	before := files{}
	for _, b := range batches {
		if time.Now().Round(0).Sub(b.asked.Round(0)) > mostAge {
			return 0, errSlept
		}
		before.mention(b)
	}
	if err := load(ctx, tx, before); err != nil {
		return 0, err
	}
	after := make(files, len(before))
	for fid, f := range before {
		after[fid] = f.clone()
	}
	for _, b := range batches {
		for r := range b.records {
			if after.apply(b.mdt, b.epoch, r) > 0 {
				repeated++
			}
		}
	}
	for fid := range after {
		if err := s.save(ctx, tx, fid.String(), before[fid], after[fid]); err != nil {
			return 0, err
		}
	}
	return repeated, tx.Commit()
}

// mention adds the FIDs of a batch.
func (fs files) mention(b batch) {
	for r := range b.records {
		target, source := fidsOf(r)
		for _, fid := range []changelog.FID{target, source} {
			if !fid.IsZero() && fs[fid] == nil {
				fs[fid] = newFile()
			}
		}
	}
}

// load fills in what is known of some FIDs.
func load(ctx context.Context, tx *sql.Tx, fs files) error {
	var list []string
	for fid := range fs {
		list = append(list, fid.String())
	}
	packed, err := json.Marshal(list)
	if err != nil {
		return err
	}
	fids := string(packed) // SQLite would take bytes for its binary form of JSON
	const these = ` WHERE fid IN (SELECT value FROM json_each(?))`
	return errors.Join(
		each(ctx, tx, `SELECT fid, mdt, epoch, idx FROM applied`+these, fids, func(rows *sql.Rows) error {
			var fid changelog.FID
			var mdt string
			var at stamp
			err := scan(rows, &fid, &mdt, &at.epoch, &at.index)
			if err == nil {
				fs[fid].applied[mdt] = at
			}
			return err
		}),
		each(ctx, tx, `SELECT fid, type, ifnull(uid,-1), ifnull(gid,-1), changed, ifnull(changer,-1), mtime FROM files`+these, fids,
			func(rows *sql.Rows) error {
				var fid changelog.FID
				var kind string
				var a attrs
				if err := scan(rows, &fid, &kind, &a.uid, &a.gid, &a.changed, &a.changer, &a.mtime); err != nil {
					return err
				}
				a.kind = kinds[kind]
				fs[fid].exists, fs[fid].attrs = true, a
				return nil
			}),
		each(ctx, tx, `SELECT fid, parent, name FROM names`+these, fids, func(rows *sql.Rows) error {
			var fid changelog.FID
			var parent, name string
			if err := scan(rows, &fid, &parent, &name); err != nil {
				return err
			}
			dir, err := changelog.ParseFID(parent)
			fs[fid].names[place{dir, name}] = struct{}{}
			return err
		}))
}

// kinds are the types that make a file, as they stand in the database.
var kinds = map[string]changelog.Type{
	"CREAT": changelog.TypeCreat, "MKDIR": changelog.TypeMkdir, "SLINK": changelog.TypeSlink, "MKNOD": changelog.TypeMknod,
}

func nameOf(kind changelog.Type) string {
	if kind == 0 {
		return ""
	}
	return kind.String()
}

// each does something with each row of a query.
func each(ctx context.Context, tx *sql.Tx, query, arg string, do func(*sql.Rows) error) error {
	rows, err := tx.QueryContext(ctx, query, arg)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := do(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// scan takes a row whose first column is a FID.
func scan(rows *sql.Rows, fid *changelog.FID, more ...any) error {
	var text string
	err := rows.Scan(append([]any{&text}, more...)...)
	if err == nil {
		*fid, err = changelog.ParseFID(text)
	}
	return err
}

// save writes what is different.
func (s *store) save(ctx context.Context, tx *sql.Tx, fid string, before, after *file) (err error) {
	exec := func(stmt *sql.Stmt, args ...any) {
		if err == nil {
			_, err = tx.StmtContext(ctx, stmt).ExecContext(ctx, args...)
		}
	}
	// Of a file that is gone it is noted each time that records of it come: see purge.
	for mdt, at := range after.applied {
		if at != before.applied[mdt] || !after.exists {
			exec(s.putApplied, fid, mdt, at.epoch, at.index, time.Now().Unix())
		}
	}
	switch a := after.attrs; {
	case !after.exists && before.exists:
		exec(s.cutFile, fid)
	case after.exists && (!before.exists || a != before.attrs || len(after.names) != len(before.names)):
		exec(s.putFile, fid, nameOf(a.kind), len(after.names), orNull(a.uid), orNull(a.gid), a.changed, orNull(a.changer), a.mtime)
	}
	if maps.Equal(before.names, after.names) {
		return err
	}
	for p := range before.names {
		if _, still := after.names[p]; !still {
			exec(s.cutName, fid, p.parent.String(), p.name)
		}
	}
	for p := range after.names {
		if _, was := before.names[p]; !was {
			exec(s.putName, fid, p.parent.String(), p.name)
		}
	}
	return err
}

func orNull(id int64) any {
	if id == unknown {
		return nil
	}
	return id
}

// lose notes that records (from, to] will never come: the database needs a scan.
func (s *store) lose(ctx context.Context, mdt string, epoch uint32, from, to uint64) error {
	_, err := s.putLost.ExecContext(ctx, mdt, epoch, from+1, to, time.Now().Unix())
	return err
}

// leastPurge is what purge spares in any case.
const leastPurge = 24 * time.Hour

// purge forgets which records files had that are gone for longer than age.
//
// That is right as long as nobody holds a record of such a file any more. A member is handed 64 batches
// at most ahead of its acknowledgements (window) and applies none that it asked for more than mostAge ago,
// which it checks under the write lock; so nothing is applied later than 64 times mostAge, 11 hours, after it
// was handed out. Who holds an old record got it in a replay, and
// then the one who had the replay after it met all records of the file again, and made it younger.
func (s *store) purge(ctx context.Context, age time.Duration) (int64, error) {
	if age < leastPurge {
		return 0, fmt.Errorf("purge: %s is less than %s", age, leastPurge)
	}
	done, err := s.db.ExecContext(ctx, `DELETE FROM applied WHERE at < ? AND fid NOT IN (SELECT fid FROM files)`,
		time.Now().Add(-age).Unix())
	if err != nil {
		return 0, err
	}
	return done.RowsAffected()
}
