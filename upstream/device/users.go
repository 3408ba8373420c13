package device

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/lcapd/lcapd/llog"
)

// User is a changelog user as an MDS shows it.
type User struct {
	ID   llog.UserID
	Name string // empty for one without
	// Cleared is the cursor: the MDT keeps every record above it.
	Cleared uint64
	// Idle is how long ago the user cleared last, in seconds; negative if not told.
	Idle int64
}

// Users is what the file changelog_users of an MDT says (ABI 10.3). Only an MDS has it.
type Users struct {
	Current uint64 // the last index issued
	List    []User
}

// ParseUsers reads a file changelog_users, as any Lustre since 2.0 writes it.
func ParseUsers(text string) (Users, error) {
	var u Users
	current := false
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] == "ID":
		case strings.HasPrefix(line, "current"):
			n, err := strconv.ParseUint(fields[len(fields)-1], 10, 64)
			if err != nil {
				return u, fmt.Errorf("changelog_users: no index in %q", strings.TrimSpace(line))
			}
			u.Current, current = n, true
		default:
			user, err := parseUser(fields)
			if err != nil {
				return u, fmt.Errorf("changelog_users: %w in %q", err, strings.TrimSpace(line))
			}
			u.List = append(u.List, user)
		}
	}
	if !current {
		return u, errors.New("changelog_users: no line says the current index")
	}
	return u, nil
}

// parseUser reads the line of a user: cl2-audit 4711 (12) mask=...
func parseUser(fields []string) (User, error) {
	user := User{Idle: -1}
	var err error
	if user.ID, err = llog.ParseUserID(fields[0]); err != nil {
		return user, err
	}
	_, user.Name, _ = strings.Cut(fields[0], "-")
	if len(fields) < 2 {
		return user, errors.New("no index")
	}
	if user.Cleared, err = strconv.ParseUint(fields[1], 10, 64); err != nil {
		return user, errors.New("no index")
	}
	if len(fields) > 2 && strings.HasPrefix(fields[2], "(") {
		if idle, err := strconv.ParseInt(strings.Trim(fields[2], "()"), 10, 64); err == nil {
			user.Idle = idle
		}
	}
	return user, nil
}

// ReadUsers reads the file changelog_users of an MDT.
func ReadUsers(path string) (Users, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Users{}, err
	}
	return ParseUsers(string(text))
}

// find returns the user with an id and, if there is one, a name.
func (u Users) find(id llog.UserID, name string) (User, error) {
	for _, user := range u.List {
		switch {
		case user.ID != id:
		case name != "" && user.Name != name:
			return User{}, fmt.Errorf("%w: %s is named %q there, not %q: ids are used again", llog.ErrUnknownUser, id, user.Name, name)
		default:
			return user, nil
		}
	}
	return User{}, fmt.Errorf("%w %s", llog.ErrUnknownUser, id)
}
