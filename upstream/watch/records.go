package watch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
	"github.com/lcapd/lcapd/upstream"
)

// book writes the records. Each is applied to what is known before it is packed, so
// the records are always such that a reader can follow them one by one.
//
// While silent is set nothing is written: what is there when a tree is watched for the
// first time has no records, unless they are asked for.
//
// An error sticks; book.err tells it.
type book struct {
	known  *known
	to     upstream.Appender
	silent bool
	now    time.Time // when the event was read that is being recorded
	out    []byte    // packed and not yet appended
	packed uint64    // records in out
	last   uint64    // the index of the last record appended
	wrote  uint64    // records appended
	err    error
}

// appendAt is how many bytes are appended at once when there is much.
const appendAt = 256 << 10

// put writes a record. h is the handle of a directory that it makes, if its FID does
// not hold it.
func (b *book) put(f *changelog.Fields, h string) {
	if b.err != nil {
		return
	}
	if b.err = b.known.apply(f, h); b.err != nil || b.silent {
		return
	}
	if b.out, b.err = f.Append(b.out); b.err != nil {
		return
	}
	b.packed++
	if len(b.out) >= appendAt {
		b.flush()
	}
}

// flush appends what is packed. It blocks while the log does.
func (b *book) flush() {
	if b.err != nil || len(b.out) == 0 {
		return
	}
	done, err := b.to.AppendNew(context.Background(), b.out)
	if err != nil {
		b.err = fmt.Errorf("append to the changelog of the watched tree: %w", err)
		return
	}
	b.last, b.wrote = done.Last, b.wrote+b.packed
	b.out, b.packed = b.out[:0], 0
}

// record begins a record: with the extra word and, as far as they are known, jobid and
// owner (ABI 4.5).
func (b *book) record(t changelog.Type, fid changelog.FID, who actor) *changelog.Fields {
	f := &changelog.Fields{Type: t, Target: fid, Time: changelog.TimeOf(b.now), JobID: who.job}
	f.Format.Flags = changelog.FlagVersion | changelog.FlagExtra
	if t == changelog.TypeRenme {
		f.Format.Flags = changelog.FlagRename | changelog.FlagExtra // ABI 3.1: without VERSION
	}
	if who.job != "" {
		f.Format.Flags |= changelog.FlagJobID
	}
	if who.isKnown {
		f.Format.Extra, f.UID, f.GID = changelog.ExtraUIDGID, who.uid, who.gid
	}
	return f
}

// create writes that something got its first name in the tree.
func (b *book) create(t changelog.Type, at place, fid changelog.FID, h string, who actor) {
	f := b.record(t, fid, who)
	f.Parent, f.Name = at.dir, at.name
	b.put(f, h)
}

// unlink writes that a name went. It was the last one if no other is in the tree: to
// who follows the tree, the file is gone then, though it may live on elsewhere.
func (b *book) unlink(at place, e entry, who actor) {
	t := changelog.TypeUnlnk
	if e.isDir {
		t = changelog.TypeRmdir
	}
	f := b.record(t, e.fid, who)
	f.Parent, f.Name, f.Payload = at.dir, at.name, b.lastLink(e)
	b.put(f, "")
}

func (b *book) lastLink(e entry) changelog.Flags {
	if e.isDir || b.known.links(e.fid) == 1 {
		return changelog.FlagLastLink
	}
	return 0
}

// rename writes that a name moved, over another one unless that is the zero entry.
func (b *book) rename(from, to place, e, over entry, who actor) {
	f := b.record(changelog.TypeRenme, over.fid, who)
	f.Parent, f.Name = to.dir, to.name
	f.Source, f.SourceParent, f.SourceName = e.fid, from.dir, from.name
	if (over != entry{}) {
		f.Payload = b.lastLink(over)
	}
	b.put(f, "")
}

// change writes that something happened to a file. The parent stays zero, as on an MDT
// that does not know it (ABI 10.7).
func (b *book) change(t changelog.Type, fid changelog.FID, payload changelog.Flags, who actor) {
	f := b.record(t, fid, who)
	f.Payload = payload
	b.put(f, "")
}

// replay brings what is known from a record of the store to the end of the log, and
// returns the index of the last record.
func (k *known) replay(log *llog.Log, after uint64) (last uint64, err error) {
	info, err := log.Info()
	if err != nil {
		return 0, err
	}
	if info.Current < after {
		return 0, fmt.Errorf("%w: it stands for %d records, the changelog has had %d", ErrState, after, info.Current)
	}
	r, err := log.NewReader(after+1, nil)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	buf := make([]byte, 1<<20)
	for last = after; ; {
		n, err := r.Read(buf)
		if errors.Is(err, io.EOF) {
			return last, nil
		}
		if err != nil {
			return last, err
		}
		scan := changelog.NewScanner(buf[:n])
		for scan.Scan() {
			fields := scan.Record().Fields()
			if last == after && fields.Index != after+1 {
				return last, fmt.Errorf("%w: the records behind %d begin with %d", ErrState, after, fields.Index)
			}
			if err := k.apply(&fields, ""); err != nil {
				return last, fmt.Errorf("%w: record %d: %w", ErrState, fields.Index, err)
			}
			last = fields.Index
		}
		if err := scan.Err(); err != nil {
			return last, err
		}
	}
}
