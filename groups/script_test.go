package groups

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what the scripts print into testdata")

// TestScripts runs the stories in testdata. In each, a line that starts with ">" is a
// command, and what follows it is what comes of it:
//
//	group DISTRIBUTION [in-flight=N] [max-deliveries=N] [ack-timeout=D] [lease=D]
//	mdt M [mark=N] [ceiling=N]     remove M     ceiling M N
//	records M KEY...       each the next index; KEY is a letter or, for two keys, a+b;
//	                       "/" ends a batch, "-" is a hole, "." a record that a module drops
//	join NAME [session=S] [serves=M,M]     leave NAME     credit NAME N
//	ack #LEASE [INDEX] [by=NAME]     nack #LEASE INDEX [delay=D]     wait D
//	pause     go     skip M INDEX     resume M     seek M INDEX     show
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			story, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			told := tell(string(story))
			if *update {
				err = os.WriteFile(file, []byte(told), 0o644)
			} else if told != string(story) {
				t.Errorf("it goes like this (go test ./groups -run Scripts -update):\n%s", told)
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// tell returns the story with what its commands print now.
func tell(story string) string {
	b := &scriptBroker{now: time.Unix(0, 0), leases: make(map[LeaseID]Delivery), ids: make(map[string]MemberID), mdts: make(map[MDT]*scriptMDT)}
	fresh := true // behind a command nothing is kept until the next blank line
	for line := range strings.Lines(story) {
		if command, ok := strings.CutPrefix(line, "> "); ok {
			b.out.WriteString(line)
			b.do(strings.Fields(command))
			fresh = false
		} else if fresh = fresh || strings.TrimSpace(line) == ""; fresh || strings.HasPrefix(line, "#") {
			b.out.WriteString(line)
		}
	}
	return b.out.String()
}

// scriptBroker is the broker of a story.
type scriptBroker struct {
	g      *Group
	now    time.Time
	last   MemberID
	ids    map[string]MemberID
	names  []string // by id - 1
	leases map[LeaseID]Delivery
	mdts   map[MDT]*scriptMDT
	queue  []*Stream
	idle   []*Stream // at the end of what there is
	out    strings.Builder
}

type scriptMDT struct {
	keys    map[uint64]string // of records
	batches []Piece
	last    uint64
	ceiling uint64
	mark    uint64
}

func (b *scriptBroker) say(format string, args ...any) { fmt.Fprintf(&b.out, format+"\n", args...) }

// name returns the name of a member.
func (b *scriptBroker) name(id MemberID) string {
	if id == 0 {
		return "nobody"
	}
	return b.names[id-1]
}

func number(s string) uint64 {
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "#"), 10, 64)
	if err != nil {
		panic(err)
	}
	return n
}

func duration(s string) time.Duration {
	if s == "" {
		return 0
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		panic(err)
	}
	return d
}

// do runs a command.
func (b *scriptBroker) do(words []string) {
	args, options := words[1:], make(map[string]string)
	for len(args) > 0 && strings.Contains(args[len(args)-1], "=") {
		name, value, _ := strings.Cut(args[len(args)-1], "=")
		options[name], args = value, args[:len(args)-1]
	}
	if err := b.run(words[0], args, options); err != nil {
		b.say("refused: %v", err)
	}
	b.showMarks()
	b.work()
	b.showMarks()
}

func (b *scriptBroker) showMarks() {
	for _, t := range b.g.Moved() {
		m := b.mdts[t.MDT]
		if m.mark != t.Mark() {
			b.say("MDT %d: mark %d -> %d", t.MDT, m.mark, t.Mark())
		}
		m.mark = t.Mark()
	}
}

func (b *scriptBroker) run(command string, args []string, options map[string]string) error {
	mdt := func() MDT { return MDT(number(args[0])) }
	switch command {
	case "group":
		b.g, b.queue, b.idle = New(scriptConfig(args[0], options)), nil, nil
	case "mdt":
		m := &scriptMDT{keys: make(map[uint64]string), ceiling: 1 << 60}
		if s := options["mark"]; s != "" {
			m.last = number(s)
			m.mark = m.last
		}
		if s := options["ceiling"]; s != "" {
			m.ceiling = number(s)
		}
		b.mdts[mdt()] = m
		b.g.AddMDT(mdt(), m.mark)
	case "remove":
		return b.g.RemoveMDT(mdt())
	case "records":
		b.mdts[mdt()].read(args[1:])
		b.queue, b.idle = append(b.queue, b.idle...), nil
	case "ceiling":
		b.mdts[mdt()].ceiling = number(args[1])
		b.g.Track(mdt()).CeilingRaised()
	case "pause", "go":
		b.g.Pause(command == "pause")
	case "skip":
		return b.g.Skip(mdt(), number(args[1]))
	case "resume":
		return b.g.Resume(mdt())
	case "seek":
		return b.g.Seek(mdt(), number(args[1]))
	case "show":
		b.show(b.g.Snapshot(b.now))
	case "wait":
		b.now = b.now.Add(duration(args[0]))
		b.g.Tick(b.now)
		for _, id := range b.g.Expired(b.now) {
			b.say("%s has expired", b.name(id))
		}
	default:
		return b.member(command, args, options)
	}
	return nil
}

// member runs what members do.
func (b *scriptBroker) member(command string, args []string, options map[string]string) error {
	switch command {
	case "join":
		b.last++
		b.names = append(b.names, args[0])
		var serves []MDT
		for s := range strings.SplitSeq(options["serves"], ",") {
			if s != "" {
				serves = append(serves, MDT(number(s)))
			}
		}
		if err := b.g.Join(b.last, args[0], options["session"], serves, b.now); err != nil {
			return err
		}
		b.ids[args[0]] = b.last
	case "leave":
		return b.g.Leave(b.ids[args[0]])
	case "credit":
		return b.g.Credit(b.ids[args[0]], int(number(args[1])), 1<<20, b.now)
	case "ack":
		d := b.leases[LeaseID(number(args[0]))]
		upTo, by := d.To, d.Member
		if len(args) > 1 {
			upTo = number(args[1])
		}
		if options["by"] != "" {
			by = b.ids[options["by"]]
		}
		return b.g.Ack(by, LeaseID(number(args[0])), upTo, b.now)
	case "nack":
		d := b.leases[LeaseID(number(args[0]))]
		return b.g.Nack(d.Member, d.Lease, number(args[1]), duration(options["delay"]), b.now)
	default:
		panic("no such command: " + command)
	}
	return nil
}

func scriptConfig(distribution string, options map[string]string) Config {
	c := Config{Name: "g", Lease: duration(options["lease"]), AckTimeout: duration(options["ack-timeout"])}
	for i, name := range distributionNames {
		if name == distribution {
			c.Distribution = Distribution(i)
		}
	}
	if s := options["in-flight"]; s != "" {
		c.InFlight = int64(number(s))
	}
	if s := options["max-deliveries"]; s != "" {
		c.MaxDeliveries = int(number(s))
	}
	return c
}

// scriptSlot returns the slot of a letter: those up to n are in the lower half.
func scriptSlot(key string) Slot { return Slot(key[0]-'a') * 157 }

// read takes in records, of one byte each.
func (m *scriptMDT) read(words []string) {
	p := Piece{From: m.last, To: m.last, Slots: &Slots{}}
	for _, word := range words {
		if word == "/" {
			m.batches = append(m.batches, p)
			p = Piece{From: p.To, To: p.To, Slots: &Slots{}}
			continue
		}
		if p.To++; word == "-" || word == "." {
			continue
		}
		m.keys[p.To] = word
		p.Bytes++
		home, other, two := strings.Cut(word, "+")
		if p.Slots.Add(scriptSlot(home)); two {
			p.Slots.Add(scriptSlot(other))
			p.Pairs = append(p.Pairs, Pair{p.To, scriptSlot(home), scriptSlot(other)})
		}
	}
	m.batches = append(m.batches, p)
	m.last = p.To
}

// work lets streams hand out until none can.
func (b *scriptBroker) work() {
	for {
		b.queue = append(b.queue, b.g.Woken()...)
		if len(b.queue) == 0 {
			return
		}
		s := b.queue[0]
		b.queue = b.queue[1:]
		from, why := s.Need(b.now)
		if why != Ready {
			continue
		}
		m := b.mdts[s.Track().MDT]
		if from >= m.last {
			b.idle = append(b.idle, s)
			continue
		}
		for _, p := range m.batches {
			if !p.covers(from) {
				continue
			}
			d, why := s.Take(p, m.ceiling, b.now)
			if d.Lease != 0 {
				b.deliver(m, d)
			}
			if why == Ready {
				b.queue = append(b.queue, s)
			}
			break
		}
	}
}

func (b *scriptBroker) deliver(m *scriptMDT, d Delivery) {
	b.leases[d.Lease] = d
	var bytes int64
	var last uint64
	var list strings.Builder
	for i := d.From + 1; i <= d.To; i++ {
		if key := m.keys[i]; key != "" && (d.Slots == nil || d.Slots.Has(scriptSlot(key))) {
			fmt.Fprintf(&list, " %d%s", i, key)
			bytes, last = bytes+1, i
		}
	}
	if b.g.Measured(d, bytes, last, b.now); bytes == 0 {
		return
	}
	again := ""
	if d.Count > 1 {
		again = fmt.Sprintf(", delivery %d", d.Count)
	}
	b.say("%s gets #%d: MDT %d (%d,%d]%s%s", b.name(d.Member), d.Lease, d.MDT, d.From, d.To, list.String(), again)
}

// show prints who waits for whom.
func (b *scriptBroker) show(snap Snapshot) {
	for _, m := range snap.Members {
		b.say("%s: credit %d, %d lanes, %d leases of %d bytes, idle %s", m.Name, m.Batches, m.Lanes, m.Leases, m.InFlight, m.Idle)
	}
	for _, t := range snap.Tracks {
		b.say("MDT %d: mark %d, frontier %d, %d bytes ahead", t.MDT, t.Mark, t.Frontier, t.Ahead)
		if l := t.Oldest; l.ID != 0 {
			b.say("  oldest: #%d of %s (%d,%d] acked %d, %s old", l.ID, b.name(l.Member), l.From, l.To, l.Acked, l.Age)
		}
		for _, s := range t.Streams {
			waits := ""
			if w := s.WaitsFor; w.Stream != 0 {
				waits = fmt.Sprintf(", waits for stream %d of %s to be at %d", w.Stream, b.name(w.Member), w.Mark)
			} else if w.Member != 0 {
				waits = ", waits for " + b.name(w.Member)
			}
			if s.Delay != 0 {
				waits = fmt.Sprintf(", waits %s", s.Delay)
			}
			if s.MoveTo != 0 {
				waits += ", moves to " + b.name(s.MoveTo)
			}
			b.say("  stream %d of %s: %d slots, cursor %d, mark %d: %s%s", s.ID, b.name(s.Owner), s.Keys, s.Cursor, s.Mark, s.Blocked, waits)
		}
		for _, p := range t.Poisoned {
			b.say("  poisoned: (%d,%d] in stream %d, delivered %d times", p.From, p.To, p.Stream, p.Count)
		}
		if len(t.Skips) > 0 {
			b.say("  skips: %v", t.Skips)
		}
	}
}
