package state

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Write stores an update in one transaction that is on disk when it returns. With an
// error nothing was stored: [ErrNotStored] if the disk is to blame, and the Store
// goes on, so that the same update, or a newer one, can be tried again;
// [ErrBackwards] or [ErrInvalid] if the update is. What is stored already costs
// nothing to be stored again.
func (s *Store) Write(u Update) error {
	if s.lock == nil {
		return ErrClosed
	}
	d := newDraft(s.content)
	if err := d.apply(u); err != nil {
		return err
	}
	changes := d.changes()
	if len(changes) == 0 && !s.doubtful {
		return nil
	}
	if err := s.commit(changes); err != nil {
		return fmt.Errorf("write %s: %w: %w; make room or make it writable: lcapd tries again, and clears nothing until it succeeds",
			filepath.Join(s.dir, fileName), ErrNotStored, err)
	}
	return nil
}

// commit stores changes, here as on disk.
func (s *Store) commit(changes []change) error {
	if err := s.checkFile(); err != nil {
		return err
	}
	if s.doubtful {
		return s.renew(changes)
	}
	after := s.sum
	for _, x := range changes {
		if old := s.content[x.place]; old != nil {
			after.remove(old)
		}
		if x.value != nil {
			after.add(x.value)
		}
	}
	if err := s.bolt.transact(changes, after); err != nil {
		s.doubtful = !s.bolt.isCertain()
		return err
	}
	s.content.apply(changes)
	s.sum = after
	return nil
}

// checkFile makes sure that what is written can be found again: the file that is
// open must be the one that has the name.
func (s *Store) checkFile() error {
	path := filepath.Join(s.dir, fileName)
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(info, s.bolt.info) {
		return errors.New("it was replaced while lcapd runs: restart lcapd to use the new one")
	}
	return nil
}

// renew puts the content, with changes, into a new file.
func (s *Store) renew(changes []change) error {
	next := s.content.with(changes)
	b, err := putFile(s.dir, next)
	if b != nil {
		_ = s.bolt.close() // nobody needs it any more, whatever is wrong with it
		s.bolt = b
	}
	if err != nil {
		return err
	}
	s.content, s.sum, s.doubtful = next, next.sum(), false
	return nil
}

// apply puts the changes of an update into the draft.
func (d *draft) apply(u Update) error {
	for _, x := range u.Upstream {
		if err := d.putUpstream(x); err != nil {
			return err
		}
	}
	for _, name := range u.Deleted {
		if err := d.deleteGroup(name); err != nil {
			return err
		}
	}
	for _, name := range u.Removed {
		if err := d.removeMDT(name); err != nil {
			return err
		}
	}
	for _, g := range u.Groups {
		if err := d.putGroup(g); err != nil {
			return err
		}
	}
	for _, m := range u.MDTs {
		if err := d.putMDT(m); err != nil {
			return err
		}
	}
	for _, r := range u.Recent {
		if err := d.putRecent(r); err != nil {
			return err
		}
	}
	for _, t := range u.Tracks {
		if err := d.putTrack(t, falls{ceiling: u.Ended}); err != nil {
			return err
		}
	}
	for _, t := range u.Seeks {
		if err := d.putTrack(t, falls{mark: true, ceiling: u.Ended}); err != nil {
			return err
		}
	}
	return d.checkCleared(u)
}

func (d *draft) putUpstream(x Upstream) error {
	if err := CheckName("MDT", x.MDT); err != nil {
		return err
	}
	if err := CheckName("user of MDT "+x.MDT, x.User); err != nil {
		return err
	}
	d.put(place{bucketUpstream, x.MDT}, []byte(x.User))
	return nil
}

func (d *draft) deleteGroup(name string) error {
	at := place{bucketGroups, name}
	if !d.has(at) {
		return invalid("no group %q to be deleted", name)
	}
	d.delete(at)
	for _, key := range d.keys(bucketTracks, trackKey(name, "").key) {
		d.delete(place{bucketTracks, key})
	}
	return nil
}

func (d *draft) removeMDT(name string) error {
	if err := d.wantMDT(name); err != nil {
		return err
	}
	gone := []place{{bucketMDTs, name}, {bucketRecent, name}}
	for _, group := range d.keys(bucketGroups, "") {
		gone = append(gone, trackKey(group, name))
	}
	for _, p := range gone {
		if d.has(p) {
			d.delete(p)
		}
	}
	return nil
}

func (d *draft) putGroup(g Group) error {
	if err := checkGroup(g); err != nil {
		return err
	}
	at := place{bucketGroups, g.Name}
	if body, exists := d.get(at); exists {
		old, err := decodeGroup(g.Name, body)
		if err != nil {
			return err
		}
		if !old.isSameAs(g) {
			return invalid("group %s: distribution, start, MDTs and creation cannot be changed; delete the group first", g.Name)
		}
	}
	body, err := encodeGroup(g)
	if err != nil {
		return invalid("group %s: %v", g.Name, err)
	}
	d.put(at, body)
	return nil
}

// isSameAs compares what is fixed when a group is created.
func (g Group) isSameAs(other Group) bool {
	return g.Distribution == other.Distribution && g.Start == other.Start &&
		slices.Equal(g.MDTs, other.MDTs) && g.Created.Equal(other.Created)
}

func (d *draft) putMDT(m MDT) error {
	if err := d.wantMDT(m.Name); err != nil {
		return err
	}
	old, exists, err := d.mdt(m.Name)
	switch {
	case err != nil:
		return err
	case exists && m.Epoch < old.Epoch:
		return fmt.Errorf("%w: MDT %s: epoch %d → %d", ErrBackwards, m.Name, old.Epoch, m.Epoch)
	case exists && m.Epoch == old.Epoch && m.Cleared < old.Cleared:
		return fmt.Errorf("%w: MDT %s, epoch %d: last clear %d → %d", ErrBackwards, m.Name, m.Epoch, old.Cleared, m.Cleared)
	}
	d.put(place{bucketMDTs, m.Name}, encodeMDT(m))
	return nil
}

func (d *draft) wantMDT(name string) error {
	if !d.has(place{bucketUpstream, name}) {
		return invalid("unknown MDT %q", name)
	}
	return nil
}

// mdt returns what is stored for an MDT, false if nothing is.
func (d *draft) mdt(name string) (MDT, bool, error) {
	body, exists := d.get(place{bucketMDTs, name})
	if !exists {
		return MDT{}, false, nil
	}
	m, err := decodeMDT(name, body)
	return m, true, err
}

func (d *draft) putRecent(r Recent) error {
	if err := d.wantMDT(r.MDT); err != nil {
		return err
	}
	if err := checkRecent(r); err != nil {
		return err
	}
	d.put(place{bucketRecent, r.MDT}, encodeRecent(r))
	return nil
}

// falls is what of a track may fall: its mark if an operator seeks, its ceiling at the end.
type falls struct{ mark, ceiling bool }

// putTrack puts a track.
func (d *draft) putTrack(t Track, may falls) error {
	if !d.has(place{bucketGroups, t.Group}) {
		return invalid("track of an unknown group %q", t.Group)
	}
	if err := d.wantMDT(t.MDT); err != nil {
		return fmt.Errorf("group %s: %w", t.Group, err)
	}
	if err := checkTrack(t); err != nil {
		return err
	}
	old, exists, err := d.track(t.Group, t.MDT)
	if err != nil {
		return err
	}
	if exists {
		if err := old.checkNext(t, may); err != nil {
			return fmt.Errorf("%w: group %s, MDT %s: %w", ErrBackwards, t.Group, t.MDT, err)
		}
	}
	d.put(trackKey(t.Group, t.MDT), encodeTrack(t))
	return nil
}

// track returns what is stored of a track, false if nothing is.
func (d *draft) track(group, mdt string) (Track, bool, error) {
	body, exists := d.get(trackKey(group, mdt))
	if !exists {
		return Track{}, false, nil
	}
	t, err := decodeTrack(group, mdt, body)
	return t, true, err
}

// checkNext refuses what may not fall to fall.
func (t Track) checkNext(next Track, may falls) error {
	switch {
	case next.Epoch < t.Epoch:
		return fmt.Errorf("epoch %d → %d", t.Epoch, next.Epoch)
	case next.Epoch > t.Epoch: // other indexes
		return nil
	case next.Mark < t.Mark && !may.mark:
		return fmt.Errorf("epoch %d: mark %d → %d", t.Epoch, t.Mark, next.Mark)
	case next.Ceiling < t.Ceiling && !may.ceiling:
		return fmt.Errorf("epoch %d: hand-out ceiling %d → %d", t.Epoch, t.Ceiling, next.Ceiling)
	}
	return nil
}

// checkCleared refuses an update after which an MDT was cleared beyond a group's
// mark: it would say that records are lost. Only what the update has is looked at.
func (d *draft) checkCleared(u Update) error {
	for _, tracks := range [][]Track{u.Tracks, u.Seeks} {
		for _, t := range tracks {
			if err := d.checkMark(t.Group, t.MDT); err != nil {
				return err
			}
		}
	}
	if len(u.MDTs) == 0 {
		return nil
	}
	groups := d.keys(bucketGroups, "")
	for _, m := range u.MDTs {
		for _, group := range groups {
			if err := d.checkMark(group, m.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkMark compares the mark of a group with what was cleared.
func (d *draft) checkMark(group, mdt string) error {
	t, exists, err := d.track(group, mdt)
	if err != nil || !exists {
		return err
	}
	m, exists, err := d.mdt(mdt)
	if err != nil || !exists {
		return err
	}
	if t.Epoch == m.Epoch && t.Mark < m.Cleared {
		return invalid("group %s, MDT %s, epoch %d: the mark %d is below the last clear, %d", group, mdt, t.Epoch, t.Mark, m.Cleared)
	}
	return nil
}
