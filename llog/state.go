package llog

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/changelog"
)

const (
	stateFile    = "state"
	stateLock    = "state.lock"
	stateMagic   = "lcapd-changelog"
	stateVersion = 1
)

// logID tells one log from another in the same place.
type logID [16]byte

// MarshalText implements [encoding.TextMarshaler].
func (id logID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, id[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (id *logID) UnmarshalText(text []byte) error {
	if hex.DecodedLen(len(text)) != len(id) {
		return fmt.Errorf("log id %q is not %d bytes in hexadecimal", text, len(id))
	}
	_, err := hex.Decode(id[:], text)
	return err
}

func newLogID() logID {
	var id logID
	rand.Read(id[:]) // never fails
	return id
}

// UserID is the number of a changelog user, shown as cl1, cl2, ...
type UserID uint32

// String returns the id as Lustre shows it.
func (id UserID) String() string { return "cl" + strconv.FormatUint(uint64(id), 10) }

// ParseUserID reads cl3, cl3-name or 3.
func ParseUserID(s string) (UserID, error) {
	digits, _, _ := strings.Cut(strings.TrimPrefix(s, "cl"), "-")
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("changelog user %q is not of the form cl1", s)
	}
	return UserID(n), nil
}

// User is a registered reader of the log.
type User struct {
	ID   UserID `json:"id"`
	Name string `json:"name,omitempty"`
	// Mask holds the types that the user wants recorded; 0 stands for all.
	Mask changelog.Mask `json:"mask,omitempty"`
	// Cleared is the cursor: the user needs no record at or below it. It never falls.
	Cleared uint64 `json:"cleared"`
	// Touched is the time of the last clear, or of the registration: what idleness counts from.
	Touched time.Time `json:"touched"`
}

// String returns the id, with the name behind it if there is one: cl2-audit.
func (u User) String() string {
	if u.Name == "" {
		return u.ID.String()
	}
	return u.ID.String() + "-" + u.Name
}

// state is everything about a log but its records. It is read and replaced as a
// whole; who changes it holds the state lock.
type state struct {
	MDT     string    `json:"mdt"`
	ID      logID     `json:"id"`
	Created time.Time `json:"created"`
	// NextUser is the id that the next registration gets. Ids are not reused.
	NextUser UserID `json:"next_user"`
	// Purged is the highest index that is gone: every record at or below it.
	// It never falls.
	Purged uint64 `json:"purged"`
	Users  []User `json:"users"`
}

// user returns the user with the given id, to be changed in place.
func (s *state) user(id UserID) (*User, error) {
	for i := range s.Users {
		if s.Users[i].ID == id {
			return &s.Users[i], nil
		}
	}
	return nil, fmt.Errorf("%w %s on %s; 'lcapcli llog users DIR' lists them", ErrUnknownUser, id, s.MDT)
}

// mask is what is recorded: all users' masks together; all is true when a user
// wants everything.
func (s *state) mask() (m changelog.Mask, all bool) {
	for _, u := range s.Users {
		if u.Mask == 0 {
			return 0, true
		}
		m |= u.Mask
	}
	return m, false
}

// floor returns the smallest cursor; without users it is limit.
func (s *state) floor(limit uint64) uint64 {
	for _, u := range s.Users {
		limit = min(limit, u.Cleared)
	}
	return limit
}

// lowestIssued is what the index counter must be at or above, whatever records
// are left: it keeps indexes from being issued twice.
func (s *state) lowestIssued() uint64 {
	last := s.Purged
	for _, u := range s.Users {
		last = max(last, u.Cleared)
	}
	return last
}

func (s *state) encode() ([]byte, error) {
	body, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return nil, err
	}
	body = append(body, '\n')
	return append([]byte(stateHead(body)+"\n"), body...), nil
}

// stateHead is the first line of a state file with the given body.
func stateHead(body []byte) string {
	return fmt.Sprintf("%s %d %08x", stateMagic, stateVersion, crc32.Checksum(body, castagnoli))
}

// decodeState is the inverse of encode. path is for the errors.
func decodeState(path string, data []byte) (*state, error) {
	head, body, _ := bytes.Cut(data, []byte("\n"))
	corrupt := func(what string) error {
		return &CorruptError{File: path, What: what, Bytes: data[:min(len(data), 64)]}
	}
	var magic string
	var version int
	if _, err := fmt.Sscanf(string(head), "%s %d", &magic, &version); err != nil || magic != stateMagic {
		return nil, corrupt("this is not the state of a changelog")
	}
	if version != stateVersion {
		return nil, fmt.Errorf("%s: %w: %d, this program knows %d; use a newer lcapd", path, ErrVersion, version, stateVersion)
	}
	// The whole line is compared, so that no byte of the file is without a check.
	if string(head) != stateHead(body) {
		return nil, corrupt("the state does not match its checksum")
	}
	s := new(state)
	if err := json.Unmarshal(body, s); err != nil {
		return nil, corrupt(fmt.Sprintf("the state cannot be read: %v", err))
	}
	return s, nil
}

// stateView is a cached look at the state file of dir. Looking costs one system
// call while dir/state is still the file that the view holds open. (Asking whether
// that file lost its last name would be as cheap, but a backup made of hard links,
// or a directory that was moved away, keeps it a name.)
// It has one owner, like the reader or appender that it is part of.
type stateView struct {
	dir string
	f   *os.File
	id  fileID
	st  *state
}

// current returns the state as it is now.
func (v *stateView) current() (*state, error) {
	if v.f != nil && idAt(filepath.Join(v.dir, stateFile)) == v.id {
		return v.st, nil
	}
	f, st, err := openState(v.dir)
	if err != nil {
		return nil, err
	}
	if v.st != nil && v.st.ID != st.ID {
		return nil, errors.Join(fmt.Errorf("%s: %w; open it again", v.dir, ErrReplaced), f.Close())
	}
	err = v.close()
	v.f, v.id, v.st = f, idOf(f), st
	return st, err
}

func (v *stateView) close() error {
	if v.f == nil {
		return nil
	}
	f := v.f
	v.f = nil
	return f.Close()
}

// openState reads the state of dir and returns the file it came from.
func openState(dir string) (*os.File, *state, error) {
	path := filepath.Join(dir, stateFile)
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil, nil, fmt.Errorf("%s: %w; 'lcapcli llog create DIR --mdt NAME' makes one", dir, ErrNotALog)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open changelog state: %w", err)
	}
	data, err := io.ReadAll(f)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("read changelog state: %w", err), f.Close())
	}
	st, err := decodeState(path, data)
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, st, nil
}

func readState(dir string) (*state, error) {
	f, st, err := openState(dir)
	if err != nil {
		return nil, err
	}
	return st, f.Close()
}

// writeState replaces the state of dir, durably.
func writeState(dir string, st *state) error {
	data, err := st.encode()
	if err != nil {
		return err
	}
	f, err := replaceFile(filepath.Join(dir, stateFile), data, true)
	if err != nil {
		return fmt.Errorf("write changelog state: %w", err)
	}
	return f.Close()
}
