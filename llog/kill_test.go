package llog

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
)

var (
	killRounds = flag.Int("llog.rounds", 1000, "rounds of TestKill")
	killSeed   = flag.Uint64("llog.seed", 0, "seed of TestKill; 0 takes one from the clock")
)

const (
	killFullEvery = 50               // rounds between two looks at everything
	killPatience  = 60 * time.Second // for what must happen at all, however slow the machine
)

// TestKill kills an appender, a clearer and a follower of one log, processes all
// of them, at random instants, and looks after each kill: every acknowledged
// append is there and right, what is cleared stays cleared, nothing more than
// that is gone, no index is issued twice, and the follower gets every record once.
//
// The children say on a pipe what they are about to do and what was acknowledged;
// what they said survives them. The kernel orders the lines of one child, not
// those of two, so what one child saw may be known before the line that explains
// it: observers hold such sightings back.
func TestKill(t *testing.T) {
	rounds := *killRounds
	if testing.Short() {
		rounds = min(rounds, 100)
	}
	seed := cmp.Or(*killSeed, uint64(time.Now().UnixNano()))
	t.Logf("to run the same choices again: -run '^TestKill$' -llog.seed %d", seed)
	k := newKillTest(t, seed)
	for round := range rounds {
		k.round = round
		k.play()
		if (round+1)%killFullEvery == 0 || round+1 == rounds {
			k.checkAll()
		}
	}
	k.summary()
}

// killTest is the parent of the children and keeps the ledger of what they said.
// The test's goroutine owns it; a goroutine for each child's output sends to it.
type killTest struct {
	*testing.T
	rng    *rand.Rand
	dir    string
	log    *Log
	round  int
	output chan killOutput
	child  map[string]*killChild // by role
	began  time.Time

	// What the appenders said.
	started  uint64 // appenders
	sessions []killSession
	tried    uint64 // the last index of the newest append that was begun
	acked    uint64 // the last index acknowledged

	// What the clearers said, and what the test itself cleared.
	fast, told, own UserID
	cleared         map[UserID]uint64 // acknowledged
	asked           map[uint64]bool   // every index that anybody tried to clear
	ordered         uint64            // the last index that the clearer was told

	follower *killObserver
	auditor  *killObserver
	audit    *Reader // what the auditor reads from
	seen     uint64  // the highest index that any observer saw

	forged bool // the test made the torn end that the next appender finds

	// For the summary.
	kills                                     map[string]int
	torn, tornByKill, clears, most, allChecks int
}

// killSession is one appender from its opening on.
type killSession struct{ number, after uint64 }

// killChild is one child process.
type killChild struct {
	role   string
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stderr *os.File
	lines  int  // said so far
	ended  bool // everything it said has been received
}

// killOutput is what a child said, in whole lines; end says that it was all.
type killOutput struct {
	from *killChild
	text string
	end  bool
}

func newKillTest(t *testing.T, seed uint64) *killTest {
	k := &killTest{
		T:       t,
		rng:     rand.New(rand.NewPCG(seed, 0)),
		dir:     filepath.Join(t.TempDir(), "log"),
		output:  make(chan killOutput, 16),
		child:   map[string]*killChild{},
		began:   time.Now(),
		cleared: map[UserID]uint64{},
		asked:   map[uint64]bool{0: true},
		kills:   map[string]int{},
	}
	var err error
	if k.log, err = Create(k.dir, "kill-MDT0000"); err != nil {
		t.Fatal(err)
	}
	for _, id := range []*UserID{&k.fast, &k.told, &k.own} {
		u, err := k.log.Register(context.Background(), "", 0)
		if err != nil {
			t.Fatal(err)
		}
		*id = u.ID
	}
	if k.audit, err = k.log.NewReader(0, nil); err != nil {
		t.Fatal(err)
	}
	k.follower = &killObserver{name: "follower", next: 1}
	k.auditor = &killObserver{name: "auditor", next: 1}
	for _, role := range killRoles {
		k.start(role)
	}
	t.Cleanup(k.end)
	return k
}

var killRoles = []string{"appender", "clearer", "follower"}

// end leaves no child behind, whatever the test came to.
func (k *killTest) end() {
	if err := k.audit.Close(); err != nil {
		k.Error(err)
	}
	for _, c := range k.child {
		if c.ended {
			continue
		}
		_ = c.cmd.Process.Kill()
		for !c.ended {
			k.hear(<-k.output, true)
		}
		_ = c.cmd.Wait()
	}
}

// start starts a child for the role in the place of the one that was killed.
func (k *killTest) start(role string) {
	spec := childSpec{Role: role, Dir: k.dir, Seed: k.rng.Uint64(), Fast: k.fast, Start: k.follower.next}
	if role == "appender" {
		k.chooseAppender(&spec)
	}
	encoded, err := json.Marshal(spec)
	if err != nil {
		k.Fatal(err)
	}
	stdout, childOut, err := os.Pipe()
	if err != nil {
		k.Fatal(err)
	}
	stderr, err := os.CreateTemp(filepath.Dir(k.dir), role)
	if err != nil {
		k.Fatal(err)
	}
	c := &killChild{role: role, cmd: exec.Command(os.Args[0]), stderr: stderr}
	c.cmd.Env = append(os.Environ(), childVar+"="+string(encoded))
	c.cmd.Stdout, c.cmd.Stderr = childOut, stderr
	if c.stdin, err = c.cmd.StdinPipe(); err != nil {
		k.Fatal(err)
	}
	if err := c.cmd.Start(); err != nil {
		k.Fatal(err)
	}
	if err := childOut.Close(); err != nil {
		k.Fatal(err)
	}
	k.child[role] = c
	go c.listen(stdout, k.output)
}

// chooseAppender picks what the next appender is like: how it syncs, how often
// segments roll, and whether its writes are large enough to be torn by a kill.
func (k *killTest) chooseAppender(spec *childSpec) {
	k.started++
	spec.Session = k.started * 1000 // a child opens fewer in its life
	spec.Sync = []SyncPolicy{SyncEach, SyncNever, SyncEvery(3 * time.Millisecond)}[k.rng.IntN(3)]
	shapes := []struct {
		size        int64
		batch, bulk int
	}{{2 << 10, 4, 4}, {8 << 10, 20, 20}, {32 << 10, 20, 100}}
	shape := shapes[k.rng.IntN(len(shapes))]
	if bulky(spec.Session) {
		shape.size, shape.batch, shape.bulk = 4<<20, 20, 2000
	}
	spec.SegmentSize, spec.Batch, spec.Bulk = shape.size, shape.batch, shape.bulk
}

// listen passes on what the child says, without a last line that was cut short.
func (c *killChild) listen(stdout *os.File, output chan<- killOutput) {
	buf := make([]byte, 64<<10)
	held := 0
	for {
		n, err := stdout.Read(buf[held:])
		held += n
		whole := bytes.LastIndexByte(buf[:held], '\n') + 1
		if whole > 0 {
			output <- killOutput{from: c, text: string(buf[:whole])}
			held = copy(buf, buf[whole:held])
		}
		if err != nil {
			_ = stdout.Close()
			output <- killOutput{from: c, end: true}
			return
		}
	}
}

// hear takes in what a child said. late is for lines that nobody needs any more.
func (k *killTest) hear(o killOutput, late bool) {
	o.from.ended = o.from.ended || o.end
	for line := range strings.Lines(o.text) {
		o.from.lines++
		if !late {
			k.hearLine(o.from.role, strings.TrimSuffix(line, "\n"))
		}
	}
}

func (k *killTest) hearLine(role, line string) {
	var a, b, c uint64
	verb, rest, _ := strings.Cut(line, " ")
	n := 0
	for _, p := range []*uint64{&a, &b, &c} {
		if rest == "" {
			break
		}
		*p, rest = cutNumber(rest)
		n++
	}
	switch say := role + " " + verb; {
	case say == "appender open" && n == 2:
		k.opened(a, b)
	case say == "appender torn" && n == 1:
		k.torn++
		if !k.forged {
			k.tornByKill++
		}
	case say == "appender try" && n == 1:
		k.tried = a
	case say == "appender ack" && n == 1:
		k.acked = a
	case say == "clearer try" && n == 2:
		k.asked[b] = true
	case say == "clearer ack" && n == 2:
		k.cleared[UserID(a)] = b
		k.clears++
	case say == "follower rec" && n == 3:
		k.follower.queue = append(k.follower.queue, sighting{a, b, uint32(c)})
	case verb == "ready" && n == 0:
	default:
		k.Fatalf("the %s said %q", role, line)
	}
}

// cutNumber returns the number at the start of s and what follows the blank
// behind it.
func cutNumber(s string) (n uint64, rest string) {
	for i := range len(s) {
		if s[i] == ' ' {
			return n, s[i+1:]
		}
		n = 10*n + uint64(s[i]-'0')
	}
	return n, ""
}

// opened checks where a new appender goes on: no index may be lost that was
// acknowledged or seen, nor may there be any that was never appended.
func (k *killTest) opened(session, last uint64) {
	if last < k.acked || last < k.seen || last > k.tried {
		k.Fatalf("round %d: appender session %d goes on after index %d, but %d was acknowledged, %d seen, %d begun",
			k.round, session, last, k.acked, k.seen, k.tried)
	}
	k.sessions = append(k.sessions, killSession{session, last})
	k.acked, k.tried = last, last // whatever is there at the opening is there to stay
	k.forged = false
}

// A sighting is a record that somebody read.
type sighting struct {
	index, session uint64
	sum            uint32
}

// A killObserver is somebody who reads the log record by record.
type killObserver struct {
	name  string
	next  uint64     // the index that should come next, unless it is cleared
	queue []sighting // not judged yet
	jumps int        // over cleared records
}

// judge checks the sightings in the queue of o, up to the first one that what
// was heard so far does not explain.
func (k *killTest) judge(o *killObserver) {
	for len(o.queue) > 0 {
		s := o.queue[0]
		if s.index < o.next {
			k.Fatalf("round %d: %s got index %d again or late, after %d", k.round, o.name, s.index, o.next-1)
		}
		if s.index > o.next && !k.asked[s.index-1] {
			return // it jumped to behind an index that nobody has cleared, as far as we know
		}
		known, right := k.sessionOf(s.index, s.session)
		if !known {
			return
		}
		if !right || k.sumOf(s) != s.sum {
			k.Fatalf("round %d: %s got a wrong record: %+v, right %08x; sessions %v", k.round, o.name, s, k.sumOf(s), k.sessions)
		}
		if s.index > o.next {
			o.jumps++
		}
		o.next = s.index + 1
		k.seen = max(k.seen, s.index)
		o.queue = o.queue[1:]
	}
}

// sessionOf tells whether the session is known yet, and whether it is the one
// that index belongs to.
func (k *killTest) sessionOf(index, session uint64) (known, right bool) {
	i, known := slices.BinarySearchFunc(k.sessions, session, func(s killSession, number uint64) int { return cmp.Compare(s.number, number) })
	if !known {
		return len(k.sessions) > 0 && k.sessions[len(k.sessions)-1].number > session, false
	}
	return true, k.sessions[i].after < index && (i+1 == len(k.sessions) || index <= k.sessions[i+1].after)
}

func (k *killTest) sumOf(s sighting) uint32 {
	packed, err := killRecord(nil, s.index, s.session)
	if err != nil {
		k.Fatal(err)
	}
	return killSum(packed)
}

// await takes in what the children say until cond holds.
func (k *killTest) await(what string, cond func() bool) {
	patience := time.After(killPatience)
	for {
		k.judge(k.follower)
		k.judge(k.auditor)
		if cond() {
			return
		}
		select {
		case o := <-k.output:
			k.hear(o, false)
		case <-patience:
			k.Fatalf("round %d: waited in vain for this: %s\n%s", k.round, what, k.describe())
		}
	}
}

// describe is for failures.
func (k *killTest) describe() string {
	var b strings.Builder
	fmt.Fprintf(&b, "acknowledged %d, begun %d, seen %d, cleared %v\n", k.acked, k.tried, k.seen, k.cleared)
	for _, o := range []*killObserver{k.follower, k.auditor} {
		fmt.Fprintf(&b, "%s: next %d, held back %d", o.name, o.next, len(o.queue))
		if len(o.queue) > 0 {
			fmt.Fprintf(&b, ", the first: %+v", o.queue[0])
		}
		b.WriteByte('\n')
	}
	info, err := k.log.Info()
	fmt.Fprintf(&b, "info %+v %v", info, err)
	for role, c := range k.child {
		if text, err := os.ReadFile(c.stderr.Name()); err == nil && len(text) > 0 { // it is gone with the child
			fmt.Fprintf(&b, "\nstderr of the %s: %s", role, text)
		}
	}
	return b.String()
}

// play is one round: wait for a random instant, kill, look, restart.
func (k *killTest) play() {
	victims := slices.Clone(killRoles)
	k.rng.Shuffle(len(victims), func(i, j int) { victims[i], victims[j] = victims[j], victims[i] })
	switch chance := k.rng.IntN(10); {
	case chance < 7:
		victims = victims[:1]
	case chance < 9:
		victims = victims[:2]
	}
	k.order()
	k.clearOwn()
	if victims[0] == "appender" && bulky(k.started*1000) {
		k.passToWrite()
	} else {
		k.pass(k.child[victims[0]])
	}
	k.kill(victims)
	k.check()
	if slices.Contains(victims, "appender") && k.rng.IntN(3) == 0 {
		k.forgeTorn()
	}
	if slices.Contains(victims, "follower") && k.rng.IntN(3) == 0 {
		k.overtake()
	}
	for _, role := range victims {
		k.start(role)
	}
}

// overtake clears what the follower, which is dead, has not read, as far as the
// clearer and the appender are alive to do so.
func (k *killTest) overtake() {
	for range 5 {
		if k.acked >= k.ordered && k.acked > 0 {
			k.ordered = k.acked
			_, _ = fmt.Fprintf(k.child["clearer"].stdin, "%d %d\n", k.told, k.ordered)
			k.clearTo(max(k.acked, k.cleared[k.own]))
		}
		k.rest(5 * time.Millisecond)
	}
}

// order tells the clearer what to clear: as a rule what the follower has got,
// sometimes more.
func (k *killTest) order() {
	limit := min(k.follower.next-1, k.acked)
	if k.rng.IntN(3) == 0 {
		limit = k.acked
	}
	if limit < k.ordered || limit == 0 {
		return
	}
	k.ordered += k.rng.Uint64N(limit - k.ordered + 1) // it may still be at work on earlier orders
	// It may have been killed just now; the next order is as good as this one.
	_, _ = fmt.Fprintf(k.child["clearer"].stdin, "%d %d\n", k.told, k.ordered)
}

// clearOwn clears in this process, at the same time as the clearer does in its own.
func (k *killTest) clearOwn() {
	index := k.acked - min(k.acked, k.rng.Uint64N(100))
	if index <= k.cleared[k.own] || k.rng.IntN(2) == 0 {
		return
	}
	k.clearTo(index)
}

func (k *killTest) clearTo(index uint64) {
	k.asked[index] = true
	if err := k.log.Clear(context.Background(), k.own, index); err != nil {
		k.Fatalf("round %d: %v\n%s", k.round, err, k.describe())
	}
	k.cleared[k.own] = index
	k.clears++
}

// pass lets the children work until a random instant: some time from now, or some
// time after the victim has said a little more, to hit what it does after that.
func (k *killTest) pass(victim *killChild) {
	if k.rng.IntN(2) == 0 {
		k.rest(20 * time.Millisecond)
		return
	}
	enough := victim.lines + 1 + k.rng.IntN(6)
	end := time.Now().Add(50 * time.Millisecond) // a follower may have nothing to say
	k.await("the "+victim.role+" says something", func() bool {
		return victim.lines >= enough || victim.ended || victim.role == "follower" && time.Now().After(end)
	})
	if k.rng.IntN(2) == 0 {
		k.rest(10 * time.Millisecond)
	}
}

// passToWrite lets the children work until the appender is in the middle of a
// large write, as far as that can be told from outside.
func (k *killTest) passToWrite() {
	k.pass(k.child["appender"])
	var path string
	var size int64
	for end := time.Now().Add(50 * time.Millisecond); time.Now().Before(end); {
		bases, err := listSegments(k.dir)
		if err != nil {
			k.Fatal(err)
		}
		if len(bases) == 0 {
			continue
		}
		newest := filepath.Join(k.dir, segmentName(bases[len(bases)-1]))
		stat, err := os.Stat(newest)
		if errors.Is(err, os.ErrNotExist) {
			continue // purged meanwhile
		}
		if err != nil {
			k.Fatal(err)
		}
		if newest == path && stat.Size() > size+32<<10 {
			return
		}
		path, size = newest, stat.Size()
	}
}

// rest takes in what the children say for a random time below limit.
func (k *killTest) rest(limit time.Duration) {
	end := time.After(time.Duration(k.rng.Int64N(int64(limit))))
	for {
		select {
		case o := <-k.output:
			k.hear(o, false)
		case <-end:
			return
		}
	}
}

// kill kills the children of these roles and takes in the last of what they said.
func (k *killTest) kill(roles []string) {
	for _, role := range roles {
		if err := k.child[role].cmd.Process.Kill(); err != nil {
			k.Fatalf("round %d: kill %s: %v\n%s", k.round, role, err, k.describe())
		}
		k.kills[role]++
	}
	for _, role := range roles {
		c := k.child[role]
		k.await("the end of the "+role, func() bool { return c.ended })
		_ = c.cmd.Wait() // it tells of the signal
		status, ok := c.cmd.ProcessState.Sys().(syscall.WaitStatus)
		stat, err := c.stderr.Stat()
		if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL || err != nil || stat.Size() > 0 {
			k.Fatalf("round %d: the %s ended by itself: %v, %v\n%s", k.round, role, c.cmd.ProcessState, err, k.describe())
		}
		if err := errors.Join(c.stderr.Close(), os.Remove(c.stderr.Name())); err != nil {
			k.Fatal(err)
		}
	}
}

// check looks at the log while the children that are left go on.
func (k *killTest) check() {
	l, err := Open(k.dir)
	if err != nil {
		k.Fatalf("round %d: %v", k.round, err)
	}
	acked, cleared := k.acked, k.clearedNow()
	before := k.info(l)
	fresh, err := l.NewReader(0, nil)
	if err != nil {
		k.Fatalf("round %d: %v", k.round, err)
	}
	first := k.readOn(fresh, 1)
	if err := fresh.Close(); err != nil {
		k.Fatal(err)
	}
	k.auditor.queue = append(k.auditor.queue, k.readOn(k.audit, -1)...)
	after := k.info(l)
	k.await("the reason of what the auditor got", func() bool { return len(k.auditor.queue) == 0 })

	for _, u := range before.Users {
		if u.Cleared < cleared[u.ID] {
			k.Fatalf("round %d: %s has cleared %d, but %d was acknowledged", k.round, u.ID, u.Cleared, cleared[u.ID])
		}
		k.await(fmt.Sprintf("%s cleared %d", u.ID, u.Cleared), func() bool { return k.asked[u.Cleared] })
	}
	if before.Current < acked {
		k.Fatalf("round %d: the log ends at %d, but %d was acknowledged", k.round, before.Current, acked)
	}
	low, high := killFloor(before), killFloor(after)
	switch {
	case len(first) > 0 && (first[0].index <= low || first[0].index > high+1):
		k.Fatalf("round %d: the first record is %d, but %d to %d is cleared\n%s", k.round, first[0].index, low, high, k.describe())
	case len(first) == 0 && before.Current > high:
		k.Fatalf("round %d: nothing to read, but %d is there and only %d cleared\n%s", k.round, before.Current, high, k.describe())
	}
	if end := k.auditor.next - 1; end < acked && high < acked {
		k.Fatalf("round %d: reading ends at %d, but %d was acknowledged\n%s", k.round, end, acked, k.describe())
	}
	k.most = max(k.most, int(before.Records))
}

func (k *killTest) clearedNow() map[UserID]uint64 {
	now := make(map[UserID]uint64, len(k.cleared))
	for id, index := range k.cleared {
		now[id] = index
	}
	return now
}

func (k *killTest) info(l *Log) Info {
	info, err := l.Info()
	if err != nil {
		k.Fatalf("round %d: %v", k.round, err)
	}
	return info
}

// killFloor is the highest index that every user has cleared.
func killFloor(info Info) uint64 {
	st := state{Users: info.Users}
	return st.floor(info.Current)
}

// readOn reads to the end of the log, with that many reads at most unless reads
// is negative.
func (k *killTest) readOn(r *Reader, reads int) []sighting {
	var seen []sighting
	buf := make([]byte, 64<<10)
	for ; reads != 0; reads-- {
		n, err := r.Read(buf)
		if err == io.EOF {
			break
		}
		if err != nil {
			k.Fatalf("round %d: %v\n%s", k.round, err, k.describe())
		}
		s := changelog.NewScanner(buf[:n])
		s.Ordered = true
		for s.Scan() {
			rec := s.Record()
			seen = append(seen, sighting{rec.Index(), rec.Parent().Seq, killSum(rec.Bytes())})
		}
		if s.Err() != nil {
			k.Fatalf("round %d: %v", k.round, s.Err())
		}
	}
	return seen
}

// forgeTorn leaves at the end of the log what a kill in the middle of a write
// does: kills alone seldom hit a write that is large enough to be torn.
func (k *killTest) forgeTorn() {
	bases, err := listSegments(k.dir)
	if err != nil {
		k.Fatal(err)
	}
	if len(bases) == 0 || len(k.sessions) == 0 {
		return
	}
	s, err := openSegment(k.dir, k.log.id, bases[len(bases)-1], os.O_RDWR)
	if err != nil {
		k.Fatalf("round %d: %v", k.round, err)
	}
	mark := make([]byte, checkpointSize)
	if _, err := s.f.ReadAt(mark, checkpointStart); err != nil {
		k.Fatal(err)
	}
	c, _ := decodeCheckpoint(mark)
	whole, err := s.scanFrom(checkpoint{end: segmentHeader, last: s.base - 1})
	if err != nil {
		k.Fatal(err)
	}
	size, err := s.size()
	if err != nil {
		k.Fatal(err)
	}
	if !c.sealed && size == whole.end {
		if _, err := s.f.WriteAt(k.forgery(size, whole.last+1), size); err != nil {
			k.Fatal(err)
		}
		k.forged = true
	}
	if err := s.close(); err != nil {
		k.Fatal(err)
	}
}

// forgery returns the first part of what the last appender would have written at
// size for some records from index on.
func (k *killTest) forgery(size int64, index uint64) []byte {
	session := k.sessions[len(k.sessions)-1].number
	var frames []byte
	for range 1 + k.rng.IntN(4) {
		packed, err := killRecord(nil, index, session)
		if err != nil {
			k.Fatal(err)
		}
		frames = appendFrame(frames, size+int64(len(frames)), packed, index)
		k.tried = max(k.tried, index)
		index++
	}
	return frames[:1+k.rng.IntN(len(frames)-1)]
}

// checkAll stops everybody, looks at all there is, and starts them again. Before
// that the follower must reach the end by itself.
func (k *killTest) checkAll() {
	k.allChecks++
	k.kill([]string{"appender", "clearer"})
	end := k.info(k.log)
	k.await("the follower reaches the end", func() bool {
		return k.follower.next > end.Current || killFloor(end) == end.Current
	})
	k.kill([]string{"follower"})
	if n := len(k.follower.queue); n > 0 {
		k.Fatalf("round %d: the follower got what nothing explains:\n%s", k.round, k.describe())
	}
	k.checkContent(end)
	k.checkSpace(end)
	for _, role := range killRoles {
		k.start(role)
	}
}

// checkContent compares everything that can be read with the ledger.
func (k *killTest) checkContent(end Info) {
	floor := killFloor(end)
	r, err := k.log.NewReader(0, nil)
	if err != nil {
		k.Fatal(err)
	}
	all := k.readOn(r, -1)
	if err := r.Close(); err != nil {
		k.Fatal(err)
	}
	if got, want := uint64(len(all)), end.Current-floor; got != want {
		k.Fatalf("round %d: %d records can be read, %d must be: %d to %d\n%s", k.round, got, want, floor+1, end.Current, k.describe())
	}
	o := &killObserver{name: "last look", next: floor + 1, queue: all}
	k.judge(o)
	if len(o.queue) > 0 || o.jumps > 0 {
		k.Fatalf("round %d: wrong from index %d on: %+v\n%s", k.round, o.next, o.queue[:min(len(o.queue), 1)], k.describe())
	}
	if end.Current < k.acked || end.Current > k.tried {
		k.Fatalf("round %d: the log ends at %d, %d was acknowledged, %d begun", k.round, end.Current, k.acked, k.tried)
	}
	if n := uint64(len(all)); end.Records != n || n > 0 && (end.First != floor+1 || end.Last != end.Current) {
		k.Fatalf("round %d: %d records from %d to %d, but info says %+v", k.round, n, floor+1, end.Current, end)
	}
	tail, err := k.log.Tail(10)
	if err != nil {
		k.Fatal(err)
	}
	newest := all[max(0, len(all)-10):]
	same := func(rec changelog.Record, s sighting) bool {
		return rec.Index() == s.index && killSum(rec.Bytes()) == s.sum
	}
	if !slices.EqualFunc(tail, newest, same) {
		k.Fatalf("round %d: the tail is %v, not %v", k.round, tail, newest)
	}
}

// checkSpace checks that a clear, even one that changes nothing, frees what an
// earlier one was killed before it could free.
func (k *killTest) checkSpace(end Info) {
	for _, u := range end.Users {
		if u.ID == k.own && u.Cleared > 0 {
			k.clearTo(u.Cleared)
		}
	}
	bases, err := listSegments(k.dir)
	if err != nil {
		k.Fatal(err)
	}
	if floor := killFloor(end); k.cleared[k.own] > 0 && len(bases) > 1 && bases[1] <= floor+1 {
		k.Fatalf("round %d: %d is cleared, but segments are still there: %v", k.round, floor, bases[:2])
	}
}

func (k *killTest) summary() {
	k.Logf("%d rounds in %.0f s: killed %v; %d appender sessions, %d records, %d clears; torn tails cut: %d, of which %d by kills alone; "+
		"the follower got everything, with %d jumps over cleared records; at most %d records at once; %d times everything compared",
		k.round+1, time.Since(k.began).Seconds(), k.kills, len(k.sessions), k.acked, k.clears, k.torn, k.tornByKill, k.follower.jumps, k.most, k.allChecks)
}

// TestReaderMeetsEverySegment: a reader at the end of a log of many segments, in
// a directory that takes several system calls to list, misses none of those that
// appear while it lists.
func TestReaderMeetsEverySegment(t *testing.T) {
	const before, bursts, burst = 600, 200, 3
	ctx := t.Context()
	l, err := Create(filepath.Join(t.TempDir(), "log"), "roll-MDT0000")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Register(ctx, "", 0); err != nil {
		t.Fatal(err)
	}
	a, err := l.NewAppender(AppendOptions{Sync: SyncNever, SegmentSize: 1}) // one record in each
	if err != nil {
		t.Fatal(err)
	}
	packed, err := killRecord(nil, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.AppendNew(ctx, bytes.Repeat(packed, before)); err != nil {
		t.Fatal(err)
	}
	turn, appended := make(chan bool), make(chan error, 1)
	go func() {
		var err error
		for range turn {
			_, e := a.AppendNew(context.Background(), bytes.Repeat(packed, burst))
			err = cmp.Or(err, e)
		}
		appended <- errors.Join(err, a.Close())
	}()
	r, err := l.NewReader(before, nil)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, MinRead)
	for next, end := uint64(before), uint64(before); next <= before+bursts*burst; {
		if next > end {
			turn <- true
			end += burst
		}
		n, err := r.Read(buf)
		if err == io.EOF {
			continue // waiting would come too late
		}
		if err != nil {
			t.Fatal(err)
		}
		rec, _, err := changelog.Next(buf[:n])
		if err != nil {
			t.Fatal(err)
		}
		if rec.Index() != next {
			t.Fatalf("got index %d instead of %d", rec.Index(), next)
		}
		next++
	}
	close(turn)
	if err := errors.Join(<-appended, r.Close()); err != nil {
		t.Fatal(err)
	}
}
