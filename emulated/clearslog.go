package emulated

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/llog"
)

// Clear is a clear command that a device received.
type Clear struct {
	Time time.Time `json:"time"`
	// Command is what was written, at most 64 bytes of it.
	Command string `json:"command"`
	// User and Index are what it says; both 0 if it is not a legal command. Index 0 of a
	// legal one means everything.
	User  llog.UserID `json:"user"`
	Index uint64      `json:"index"`
	// Delivered is the highest index that any reader of the device had been given, by
	// this server or an earlier one with the same file; from 0 again for another log.
	Delivered uint64 `json:"delivered"`
	// Log is the directory that was served.
	Log string `json:"log"`
	// Result is "ok", or the name of the errno that the writer got; empty when the server
	// died over it, which may have been before or after the clear was done.
	Result string `json:"-"`
}

// clearsLine is a line of the file: a command when it comes, then its answer. They are
// two, so that a server that is killed in between leaves a trace.
type clearsLine struct {
	ID     string `json:"id"`
	*Clear `json:"clear,omitempty"`
	Answer string `json:"answer,omitempty"`
}

// clearsLog keeps what was cleared and delivered where the death of the server cannot
// take it away. Without a file it keeps the latter in memory only.
type clearsLog struct {
	file      *os.File // of lines; nil without a file
	mark      *os.File // holds delivered
	delivered uint64
	session   string // makes ids differ from those of earlier servers
	count     uint64
}

const markSuffix = ".delivered"

func openClears(path string) (*clearsLog, error) {
	l := &clearsLog{session: strconv.FormatInt(time.Now().UnixNano(), 36)}
	if path == "" {
		return l, nil
	}
	var err error
	if l.file, err = os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o644); err != nil {
		return nil, fmt.Errorf("log of clears: %w", err)
	}
	if l.mark, err = os.OpenFile(path+markSuffix, os.O_RDWR|os.O_CREATE, 0o644); err != nil {
		return nil, errors.Join(fmt.Errorf("log of clears: %w", err), l.file.Close())
	}
	var kept [8]byte
	if n, _ := l.mark.ReadAt(kept[:], 0); n == len(kept) {
		l.delivered = binary.LittleEndian.Uint64(kept[:])
	}
	return l, nil
}

// deliver notes the highest index delivered, before its reader has it.
func (l *clearsLog) deliver(index uint64) error {
	l.delivered = index
	if l.mark == nil {
		return nil
	}
	if _, err := l.mark.WriteAt(binary.LittleEndian.AppendUint64(nil, index), 0); err != nil {
		return fmt.Errorf("log of clears: %w", err)
	}
	return nil
}

// restart forgets what was delivered, for another log.
func (l *clearsLog) restart() error { return l.deliver(0) }

// received notes a command and returns the name of its entry.
func (l *clearsLog) received(command []byte, user llog.UserID, index uint64, log string) (id string, err error) {
	if l.file == nil {
		return "", nil
	}
	l.count++
	id = fmt.Sprintf("%s-%d", l.session, l.count)
	command = bytes.TrimSuffix(command, []byte{0})
	c := &Clear{Time: time.Now().UTC(), Command: string(command), User: user, Index: index, Delivered: l.delivered, Log: log}
	return id, l.write(clearsLine{ID: id, Clear: c})
}

// answered notes what the writer of a command is about to be told.
func (l *clearsLog) answered(id string, errno syscall.Errno) error {
	if l.file == nil {
		return nil
	}
	answer := "ok"
	if errno != 0 {
		answer = errnoName(errno)
	}
	return l.write(clearsLine{ID: id, Answer: answer})
}

func (l *clearsLog) write(line clearsLine) error {
	b, err := json.Marshal(line)
	if err == nil {
		_, err = l.file.Write(append(b, '\n')) // one write, so it is whole or not there
	}
	if err != nil {
		return fmt.Errorf("log of clears: %w", err)
	}
	return nil
}

func (l *clearsLog) close() error {
	if l.file == nil {
		return nil
	}
	return errors.Join(l.file.Close(), l.mark.Close())
}

// ReadClears reads a log of clears: every command that came, in the order in which they
// came, over all servers that wrote to the file.
func ReadClears(path string) (clears []Clear, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("log of clears: %w", err)
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	at := make(map[string]int) // where the command of an entry is in clears
	for r, number := bufio.NewReader(f), 1; ; number++ {
		text, err := r.ReadBytes('\n')
		if err == io.EOF {
			return clears, nil // a line without its end is being written
		}
		var line clearsLine
		if err == nil {
			err = json.Unmarshal(text, &line)
		}
		if err != nil {
			return clears, fmt.Errorf("log of clears %s, line %d: %w", path, number, err)
		}
		if line.Clear != nil {
			at[line.ID] = len(clears)
			clears = append(clears, *line.Clear)
		} else if i, ok := at[line.ID]; ok {
			clears[i].Result = line.Answer
		}
	}
}

// errnoName returns EIO and its like, as messages and the control channel name them.
func errnoName(errno syscall.Errno) string {
	if name := unix.ErrnoName(errno); name != "" {
		return name
	}
	return strconv.Itoa(int(errno))
}

// parseErrno is the inverse of errnoName.
func parseErrno(name string) (syscall.Errno, error) {
	const last = 133 // EHWPOISON
	for errno := syscall.Errno(1); errno <= last; errno++ {
		if name != "" && unix.ErrnoName(errno) == name {
			return errno, nil
		}
	}
	return 0, fmt.Errorf("%q is not the name of an errno, such as EIO", name)
}
