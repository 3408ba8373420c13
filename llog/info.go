package llog

import (
	"errors"
	"os"
)

// Info describes a log at one moment.
type Info struct {
	MDT string
	// First and Last are the indexes of the oldest and the newest record that can
	// be read; both 0 when there is none.
	First, Last uint64
	// Current is the last index issued, whether or not its record still exists.
	Current uint64
	// Records is how many records can be read, Bytes what the files take on disk.
	Records uint64
	Bytes   int64
	Users   []User
}

// Info looks at the log. It counts by the checkpoints, so it is quick whatever
// the size of the log, unless an appender died before it could write one.
func (l *Log) Info() (Info, error) {
	var info Info
	err := l.look(func(st *state, bases []uint64) (err error) {
		info = Info{MDT: st.MDT, Users: st.Users}
		before := uint64(0)
		for _, base := range bases {
			if err := l.addSegment(&info, base, before, st.Purged); err != nil {
				return err
			}
			before = base
		}
		info.Current, err = l.last(st, bases)
		return err
	})
	if err != nil {
		return Info{}, err
	}
	return info, nil
}

// addSegment adds what one segment holds above purged. before is the segment that
// was found before it.
func (l *Log) addSegment(info *Info, base, before, purged uint64) (err error) {
	s, err := openSegment(l.dir, l.id, base, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.checkBefore(before, purged, info.Last); err != nil {
		return err
	}
	if stat, err := s.f.Stat(); err == nil {
		info.Bytes += stat.Size()
	}
	c, err := s.readCheckpoint()
	if err != nil {
		return err
	}
	if !c.sealed {
		if c, err = s.scanFrom(c); err != nil {
			return err
		}
	}
	// What was issued last may be lost since a repair, so the record itself tells.
	_, last, _, ok, err := s.frameBefore(c.end)
	if err != nil || !ok || last <= purged {
		return err
	}
	info.Last = last
	if info.First == 0 {
		// The oldest segment with records to be read may begin with purged ones.
		_, err = s.walk(segmentHeader, func(_ []byte, index uint64) bool {
			if index > purged {
				info.First = index
				return false
			}
			c.records--
			return true
		})
	}
	info.Records += c.records
	return err
}
