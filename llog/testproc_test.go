package llog

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

// childVar holds, in the environment of a process that a test started, what that
// process is to be instead of a run of the tests: a childSpec as JSON.
const childVar = "LLOG_TEST_CHILD"

// TestMain makes the test binary usable as the processes that tests kill.
func TestMain(m *testing.M) {
	if spec := os.Getenv(childVar); spec != "" {
		err := runChild([]byte(spec))
		fmt.Fprintln(os.Stderr, "child:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// childSpec says what a child process does. It ends by being killed, with the
// end of its standard input at the latest.
type childSpec struct {
	Role string // appender, clearer or follower
	Dir  string
	Seed uint64

	// Of an appender.
	Session     uint64 // the first session's number; see killRecord
	Sync        SyncPolicy
	SegmentSize int64
	Batch, Bulk int // most records in one append, and in one of two

	Start uint64 // of a follower: where it begins

	Fast UserID // of a clearer: the user for whom it chooses the indexes itself
}

func runChild(encoded []byte) error {
	var spec childSpec
	if err := json.Unmarshal(encoded, &spec); err != nil {
		return err
	}
	l, err := Open(spec.Dir)
	if err != nil {
		return err
	}
	c := &child{spec: spec, log: l, rng: rand.New(rand.NewPCG(spec.Seed, 1)), orders: make(chan string)}
	go c.readOrders()
	switch spec.Role {
	case "appender":
		return c.appendForever()
	case "clearer":
		return c.clearForever()
	case "follower":
		return c.followForever()
	}
	return fmt.Errorf("no role %q", spec.Role)
}

// child is the state of a child process. What it says goes to its standard output
// in one write for each line, so that nothing said is lost with the process.
type child struct {
	spec   childSpec
	log    *Log
	rng    *rand.Rand
	orders chan string // lines of standard input
}

// readOrders ends the process with its standard input: a parent that died leaves
// no children behind.
func (c *child) readOrders() {
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		c.orders <- lines.Text()
	}
	os.Exit(0)
}

func (c *child) say(what string, numbers ...uint64) error {
	line := []byte(what)
	for _, n := range numbers {
		line = strconv.AppendUint(append(line, ' '), n, 10)
	}
	_, err := os.Stdout.Write(append(line, '\n'))
	return err
}

// pause rests for less than limit.
func (c *child) pause(limit time.Duration) { time.Sleep(time.Duration(c.rng.Int64N(int64(limit)))) }

// killRecord appends the record that the given session appends under index. The
// session, kept in the parent FID, tells whether an index was issued twice.
func killRecord(dst []byte, index, session uint64) ([]byte, error) {
	const text = "abcdefghijklmnopqrstuvwxyz-0123456789-ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	h := (index ^ session<<40) * 0x9e3779b97f4a7c15
	from := int(h >> 58)
	f := changelog.Fields{
		Type:   changelog.Type(1 + h>>32%8),
		Format: changelog.Format{Flags: changelog.FlagVersion},
		Index:  index,
		Time:   changelog.Time(h >> 2),
		Target: changelog.FID{Seq: h, Oid: uint32(index)},
		Parent: changelog.FID{Seq: session, Oid: 1},
		Name:   text[from : from+int(h>>40)%(len(text)-from+1)],
	}
	if f.Type == changelog.TypeRenme {
		f.Format.Flags |= changelog.FlagRename
	}
	if h>>50&1 == 1 {
		f.Format.Flags |= changelog.FlagJobID
		f.JobID = text[:16]
	}
	if bulky(session) {
		f.Format.Flags |= changelog.FlagExtra
		f.Format.Extra = changelog.ExtraXattr
		f.Name += text + text
	}
	return f.Append(dst)
}

// bulky tells whether the sessions of a child make large records, and many of
// them at once, so that it spends its time in writes that a kill can tear.
func bulky(session uint64) bool { return session/1000%4 == 0 }

// killSum identifies the content of a record.
func killSum(packed []byte) uint32 { return crc32.ChecksumIEEE(packed) }

func (c *child) appendForever() error {
	for session := c.spec.Session; ; session++ {
		if err := c.appendSession(session); err != nil {
			return err
		}
	}
}

// appendSession opens an appender, appends for a while and closes it.
func (c *child) appendSession(session uint64) error {
	a, err := c.log.NewAppender(AppendOptions{Sync: c.spec.Sync, SegmentSize: c.spec.SegmentSize})
	if err != nil {
		return err
	}
	info, err := c.log.Info()
	if err != nil {
		return err
	}
	if torn := a.TornTail(); torn != nil {
		if err := c.say("torn", uint64(torn.Bytes)); err != nil {
			return err
		}
	}
	if err := c.say("open", session, info.Current); err != nil {
		return err
	}
	next := info.Current + 1
	for range 20 + c.rng.IntN(400) {
		if next, err = c.appendBatch(a, session, next); err != nil {
			return err
		}
		if !bulky(session) {
			c.pause(2 * time.Millisecond)
		}
	}
	return a.Close()
}

// appendBatch appends some records from next on, and returns the index behind them.
func (c *child) appendBatch(a *Appender, session, next uint64) (uint64, error) {
	n := 1 + c.rng.IntN(c.spec.Batch)
	if c.rng.IntN(2) == 0 {
		n = 1 + c.rng.IntN(c.spec.Bulk)
	}
	renumber := c.rng.IntN(2) == 0
	var packed []byte
	var err error
	for i := range uint64(n) {
		start := len(packed)
		if packed, err = killRecord(packed, next+i, session); err != nil {
			return 0, err
		}
		if renumber {
			changelog.SetIndex(packed[start:], 0)
		}
	}
	last := next + uint64(n) - 1
	if err := c.say("try", last); err != nil {
		return 0, err
	}
	var done Appended
	if renumber {
		done, err = a.AppendNew(context.Background(), packed)
	} else {
		done, err = a.Append(context.Background(), packed)
	}
	if err != nil {
		return 0, err
	}
	if done.Records != n || done.First != next || done.Last != last {
		return 0, fmt.Errorf("append of %d to %d: %+v", next, last, done)
	}
	if c.rng.IntN(50) == 0 {
		if err := a.Sync(context.Background()); err != nil {
			return 0, err
		}
	}
	return last + 1, c.say("ack", last)
}

// clearForever clears as it is told, "USER INDEX", and otherwise as it likes.
func (c *child) clearForever() error {
	if err := c.say("ready"); err != nil {
		return err
	}
	for {
		user, index := c.spec.Fast, uint64(0)
		select {
		case order := <-c.orders:
			if _, err := fmt.Sscan(order, &user, &index); err != nil {
				return fmt.Errorf("order %q: %w", order, err)
			}
		default:
			var err error
			if index, err = c.choose(user); err != nil {
				return err
			}
		}
		if index > 0 {
			if err := c.clear(user, index); err != nil {
				return err
			}
		}
		c.pause(4 * time.Millisecond)
	}
}

// choose returns an index that user may clear, 0 if there is nothing to clear.
func (c *child) choose(user UserID) (uint64, error) {
	info, err := c.log.Info()
	if err != nil {
		return 0, err
	}
	for _, u := range info.Users {
		if u.ID == user {
			return u.Cleared + c.rng.Uint64N(info.Current-u.Cleared+1), nil
		}
	}
	return 0, fmt.Errorf("%s is not registered", user)
}

func (c *child) clear(user UserID, index uint64) error {
	if err := c.say("try", uint64(user), index); err != nil {
		return err
	}
	if err := c.log.Clear(context.Background(), user, index); err != nil {
		return err
	}
	return c.say("ack", uint64(user), index)
}

// followForever says index, session and checksum of every record that it reads.
func (c *child) followForever() error {
	r, err := c.log.NewReader(c.spec.Start, nil)
	if err != nil {
		return err
	}
	if err := c.say("ready"); err != nil {
		return err
	}
	buf := make([]byte, MinRead+c.rng.IntN(128<<10))
	for {
		n, err := r.Read(buf)
		if errors.Is(err, io.EOF) {
			err = r.Wait(context.Background())
		}
		if err != nil {
			return err
		}
		if err := tellRecords(buf[:n]); err != nil {
			return err
		}
	}
}

func tellRecords(packed []byte) error {
	var lines []byte
	s := changelog.NewScanner(packed)
	for s.Scan() {
		rec := s.Record()
		lines = append(lines, "rec "...)
		lines = append(strconv.AppendUint(lines, rec.Index(), 10), ' ')
		lines = append(strconv.AppendUint(lines, rec.Parent().Seq, 10), ' ')
		lines = append(strconv.AppendUint(lines, uint64(killSum(rec.Bytes())), 10), '\n')
	}
	if s.Err() != nil || len(lines) == 0 {
		return s.Err()
	}
	_, err := os.Stdout.Write(lines)
	return err
}
