package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// rootFID is the root directory of a Lustre file system.
const rootFID = "[0x200000007:0x1:0x0]"

// query prints the regular files that nobody changed for some time, the oldest first.
func query(ctx context.Context, s *store, o options, out, stderr io.Writer) error {
	var lost int
	if err := s.db.QueryRowContext(ctx, `SELECT count(*) FROM lost`).Scan(&lost); err != nil {
		return err
	}
	if lost > 0 {
		fmt.Fprintf(stderr, "policy: records were lost %d times (table lost): the answer may be wrong until the next scan\n", lost)
	}
	return s.reading(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT fid, ifnull(uid, '?'), changed FROM files
			WHERE type = 'CREAT' AND changed <= ?1 AND (?2 = -1 OR uid = ?2) ORDER BY changed, fid LIMIT ?3`,
			time.Now().Add(-time.Duration(o.older)).Unix(), o.owner, o.limit)
		if err != nil {
			return err
		}
		defer rows.Close()
		fmt.Fprintf(out, "%-20s %-10s %-40s %s\n", "CHANGED", "OWNER", "FID", "PATH")
		for rows.Next() {
			var fid, uid string
			var changed int64
			if err := rows.Scan(&fid, &uid, &changed); err != nil {
				return err
			}
			path, err := pathOf(ctx, tx, fid)
			if err != nil {
				return err
			}
			fmt.Fprintf(out, "%-20s %-10s %-40s %q\n", time.Unix(changed, 0).UTC().Format("2006-01-02T15:04:05Z"), uid, fid, path)
		}
		return rows.Err()
	})
}

// reading has a function see one state of the database. It takes no lock that writers want.
func (s *store) reading(ctx context.Context, do func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	return do(tx)
}

// mostDepth ends a path: directories that are being moved may lie in each other for a moment.
const mostDepth = 1000

// pathOf returns a path of a file, from the root as far as the names are known.
func pathOf(ctx context.Context, tx *sql.Tx, fid string) (string, error) {
	var parts []string
	for range mostDepth {
		if fid == rootFID {
			return "/" + strings.Join(parts, "/"), nil
		}
		var parent, name string
		err := tx.QueryRowContext(ctx, `SELECT parent, name FROM names WHERE fid = ? LIMIT 1`, fid).Scan(&parent, &name)
		if errors.Is(err, sql.ErrNoRows) {
			break
		}
		if err != nil {
			return "", err
		}
		parts, fid = append([]string{name}, parts...), parent
	}
	return strings.Join(append([]string{fid}, parts...), "/"), nil
}

// names prints all names with what they lead to: directory, name, FID, type, links.
func names(ctx context.Context, s *store, _ options, out, _ io.Writer) error {
	return s.reading(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `SELECT parent, name, fid, type, links FROM names JOIN files USING (fid) ORDER BY parent, name, fid`)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var parent, name, fid, kind string
			var links int
			if err := rows.Scan(&parent, &name, &fid, &kind, &links); err != nil {
				return err
			}
			fmt.Fprintf(out, "%s\t%q\t%s\t%s\t%d\n", parent, name, fid, kind, links)
		}
		return rows.Err()
	})
}
