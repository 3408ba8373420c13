package core

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/groups"
	"github.com/lcapd/lcapd/modules"
)

var update = flag.Bool("update", false, "write what the stories tell into testdata")

// TestStories runs the stories in testdata: one group with modules, which are real, one MDT, and a disk. In
// each, a line that starts with ">" is a command, and what follows it is what comes of it:
//
//	group MODULES             in the beginning: the modules of the group
//	records TYPE FILE / ...   the next records of the MDT, about files a to z; they are read as one batch
//	join NAME    leave NAME   credit NAME N    ack #LEASE [INDEX]
//	wait D                    time passes, in steps of half a second
//	crash                     lcapd ends at once, and begins with what is on disk
func TestStories(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			story, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			told := tellStory(string(story))
			if *update {
				err = os.WriteFile(file, []byte(told), 0o644)
			} else if told != string(story) {
				t.Errorf("it goes like this (go test ./broker/core -run Stories -update):\n%s", told)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// tellStory returns the story with what its commands print now.
func tellStory(story string) string {
	b := &teller{now: time.Unix(1000, 0), disk: State{MDTs: []MDTState{{}}}}
	fresh := true // behind a command nothing is kept until the next blank line
	for line := range strings.Lines(story) {
		if command, ok := strings.CutPrefix(line, "> "); ok {
			b.out.WriteString(line)
			b.do(strings.TrimSpace(command))
			fresh = false
		} else if fresh = fresh || strings.TrimSpace(line) == ""; fresh || strings.HasPrefix(line, "#") {
			b.out.WriteString(line)
		}
	}
	return b.out.String()
}

// teller is the world around the core of a story.
type teller struct {
	core    *Core
	now     time.Time
	disk    State
	log     []byte // the records of the MDT
	last    uint64
	readers []*storyReader
	chain   *modules.Chain // of the instance at work
	id      ChainID
	held    string             // as it was told last
	names   []string           // of members, by Peer - 1
	gets    map[Peer][]Deliver // what they have
	out     strings.Builder
}

// storyReader is a reading, at the record it has delivered last.
type storyReader struct{ OpenReader }

func (b *teller) say(format string, args ...any) { fmt.Fprintf(&b.out, format+"\n", args...) }

func (b *teller) do(command string) {
	name, rest, _ := strings.Cut(command, " ")
	words := strings.Fields(rest)
	switch name {
	case "group":
		b.disk.Groups = []GroupState{{Config: groups.Config{Name: "g", Distribution: groups.ByMDT, InFlight: 1 << 40, Lease: time.Hour}, Modules: rest}}
		b.start()
	case "crash":
		b.start()
	case "records":
		b.grow(strings.Split(rest, "/"))
	case "join":
		b.names = append(b.names, words[0])
		b.core.Step(Join{Peer: Peer(len(b.names)), Group: "g", Name: words[0], Session: fmt.Sprint(len(b.names))})
	case "leave":
		b.core.Step(Down{Peer: b.peer(words[0])})
	case "credit":
		b.core.Step(Credit{Peer: b.peer(words[0]), Batches: storyNumber(words[1]), Bytes: 1 << 40})
	case "ack":
		b.ack(words)
	case "wait":
		b.wait(rest)
	default:
		panic("nothing is called " + name)
	}
	b.work()
	b.tellHeld()
}

func storyNumber(s string) int {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "#"))
	if err != nil {
		panic(err)
	}
	return n
}

// peer is the newest connection of a member.
func (b *teller) peer(name string) Peer {
	for i, n := range slices.Backward(b.names) {
		if n == name {
			return Peer(i + 1)
		}
	}
	panic("nobody is called " + name)
}

func (b *teller) start() {
	b.readers, b.chain, b.id, b.gets = nil, nil, 0, make(map[Peer][]Deliver)
	b.core = New(DefaultConfig, b.disk, b.now)
}

// grow appends records to the changelog.
func (b *teller) grow(records []string) {
	for _, text := range records {
		words := strings.Fields(text)
		kind, err := changelog.ParseType(words[0])
		if err != nil {
			panic(err)
		}
		b.last++
		f := changelog.Fields{Type: kind, Index: b.last, Format: changelog.Format{Flags: changelog.FlagVersion}, Target: changelog.FID{Seq: 0x200000400, Oid: uint32(words[1][0])}}
		if kind == changelog.TypeCreat || kind == changelog.TypeUnlnk {
			f.Parent, f.Name = changelog.FID{Seq: 0x200000007, Oid: 1}, words[1]
		}
		if kind == changelog.TypeUnlnk {
			f.Payload = changelog.FlagLastLink
		}
		if b.log, err = f.Append(b.log); err != nil {
			panic(err)
		}
	}
}

// show writes records as "index TYPE file".
func (b *teller) show(packed []byte, from, to uint64) string {
	var list []string
	for scan := changelog.NewScanner(packed); scan.Scan(); {
		if r := scan.Record(); r.Index() > from && r.Index() <= to {
			file := string(rune(r.Target().Oid))
			if r.Target().Seq == 0x200000007 {
				file = "the directory"
			}
			list = append(list, fmt.Sprintf("%d %s %s", r.Index(), r.Type(), file))
		}
	}
	return strings.Join(list, ", ")
}

func (b *teller) ack(words []string) {
	lease := groups.LeaseID(storyNumber(words[0]))
	for id, list := range b.gets {
		for _, d := range list {
			if d.Lease == lease {
				to := d.To
				if len(words) > 1 {
					to = uint64(storyNumber(words[1]))
				}
				b.core.Step(Ack{Peer: id, Lease: lease, UpTo: to})
			}
		}
	}
}

func (b *teller) wait(how string) {
	d, err := time.ParseDuration(how)
	if err != nil {
		panic(err)
	}
	for end := b.now.Add(d); b.now.Before(end); {
		b.now = b.now.Add(500 * time.Millisecond)
		b.core.Step(Tick{Now: b.now})
		if b.chain != nil {
			if due, ok := b.chain.Due(); ok && !due.After(b.now) {
				b.processed(false, b.chain.Tick)
			}
		}
		b.work()
	}
}

// work has everybody do what he can.
func (b *teller) work() {
	for more := true; more; {
		more = b.core.Work(1)
		for _, o := range b.core.Outputs() {
			more = true
			b.output(o)
		}
		for _, r := range b.readers {
			more = b.read(r) || more
		}
	}
}

func (b *teller) read(r *storyReader) bool {
	to := b.last
	if r.Until != 0 {
		to = r.Until
	}
	if to <= r.From {
		return false
	}
	batch := &Batch{From: r.From, To: to}
	for scan := changelog.NewScanner(b.log); scan.Scan(); {
		if scan.Last > r.From && scan.Last <= to {
			batch.Records = append(batch.Records, scan.Record().Bytes()...)
			batch.Count++
		}
	}
	r.From = to
	b.core.Step(BatchRead{Reader: r.Reader, Batch: batch})
	if r.Until != 0 {
		b.core.Step(ReaderEnded{Reader: r.Reader})
	}
	return true
}

func (b *teller) output(o Output) {
	switch o := o.(type) {
	case OpenReader:
		b.readers = append(b.readers, &storyReader{o})
	case CloseReader:
		b.readers = slices.DeleteFunc(b.readers, func(r *storyReader) bool { return r.Reader == o.Reader })
	case OpenChain:
		b.say("the modules begin behind %d; up to %d somebody may have got records", o.After, o.Ceiling)
		b.id, b.chain = o.Chain, planOf(b.disk.Groups[0].Modules).New(modules.Start{After: o.After, Ceiling: o.Ceiling})
	case CloseChain:
		b.say("the modules end")
		b.id, b.chain = 0, nil
	case Process:
		if o.Chain == b.id {
			in := modules.Batch{From: o.After, To: o.Batch.To, Records: o.Batch.Records, Count: o.Batch.Count}
			b.processed(true, func(now time.Time) (modules.Batch, error) { return b.chain.Push(now, in) })
		}
	case Deliver:
		again := ""
		if o.MaybeRedelivered {
			again = " maybe again"
		}
		b.gets[o.Member] = append(b.gets[o.Member], o)
		b.say("%s gets #%d%s: (%d,%d] %s", b.names[o.Member-1], o.Lease, again, o.From, o.To, b.show(o.Batch.Records, o.From, o.To))
		b.core.Step(Sent{Peer: o.Member, Batch: o.Batch})
	case Persist:
		b.persist(o)
	case Clear:
		b.say("%d is cleared", o.Index)
		b.core.Step(Cleared{Index: o.Index})
	case Alarm:
		b.say("alarm: %s", o.Text)
	}
}

func (b *teller) persist(o Persist) {
	for _, m := range o.Update.MDTs {
		b.disk.MDTs = []MDTState{m}
	}
	for _, m := range o.Update.Marks {
		b.disk.Marks = []MarkState{m}
	}
	b.core.Step(Persisted{Seq: o.Seq})
}

// processed tells the core what the modules have made.
func (b *teller) processed(taken bool, do func(time.Time) (modules.Batch, error)) {
	out, err := do(b.now)
	ev := Processed{Chain: b.id, Taken: taken, Err: err}
	if out.To > out.From {
		ev.Batches = []*Batch{{From: out.From, To: out.To, Records: out.Records, Count: out.Count}}
		b.say("the modules let go (%d,%d]: %s", out.From, out.To, cmp.Or(b.show(out.Records, 0, out.To), "nothing"))
	}
	for _, s := range b.chain.Stats() {
		ev.Held.Records += s.Held.Records
		ev.Held.Bytes += s.Held.Bytes
		if h := s.Held; h.Records > 0 && (ev.Held.Oldest == 0 || h.Oldest < ev.Held.Oldest) {
			ev.Held.Oldest, ev.Held.Since = h.Oldest, h.Since
		}
	}
	b.core.Step(ev)
}

// tellHeld says what the core knows to be held, if that is news.
func (b *teller) tellHeld() {
	held := "nothing is held"
	for _, t := range b.core.tracks {
		if x := t.chain; x != nil && x.held.Records > 0 {
			held = fmt.Sprintf("held: %d records, from %d on", x.held.Records, x.held.Oldest)
		}
	}
	if held != b.held && b.held != "" || b.held == "" && held != "nothing is held" {
		b.say("%s", held)
	}
	b.held = held
}
