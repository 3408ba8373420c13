package serve

import (
	"bytes"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// What is refused and goes on: the error says so, names the request, and is counted.
func TestRefused(t *testing.T) {
	s := newSite(t, nil)
	s.join("there", "n", 0)
	for _, c := range []struct {
		name string
		m    wire.Message
		code wire.Code
		text string
	}{
		{"ack", &wire.Ack{Lease: 1, UpTo: 1}, wire.NotMember, "join"},
		{"nack", &wire.Nack{Lease: 1, From: 1}, wire.NotMember, "join"},
		{"credit", &wire.Credit{Batches: 1, Bytes: 1}, wire.NotMember, "join"},
		{"leave", &wire.Leave{}, wire.NotMember, "join"},
		{"unknown MDT", &wire.Join{Group: "there", Name: "m", MDTs: []string{"no-MDT0000"}}, wire.UnknownMDT, "no-MDT0000"},
		{"unknown MDT of a listener", &wire.Listen{MDTs: []string{"no-MDT0000"}}, wire.UnknownMDT, "no-MDT0000"},
		{"unknown group", &wire.Join{Group: "nowhere", Name: "m"}, wire.UnknownGroup, "lcapcli groups create nowhere"},
		{"other distribution", &wire.Join{Group: "there", Name: "m", Distribution: "mdt"}, wire.GroupExists, "round-robin, not mdt"},
		{"other start", &wire.Join{Group: "there", Name: "m", Start: "latest"}, wire.GroupExists, "earliest, not latest"},
		{"no distribution", &wire.Join{Group: "there", Name: "m", Distribution: "random"}, wire.Refused, "round-robin, mdt or fid"},
		{"no start", &wire.Join{Group: "there", Name: "m", Start: "now"}, wire.Refused, "latest or earliest"},
		{"no group", &wire.Join{Name: "m"}, wire.Refused, "group"},
		{"no name", &wire.Join{Group: "there"}, wire.Refused, "name"},
		{"a bad group", &wire.Join{Group: "a\nb", Name: "m", Create: true}, wire.Refused, `a\nb`},
		{"a name for terminals", &wire.Join{Group: "there", Name: "\x1b[2J"}, wire.Refused, `\x1b`},
		{"a listener's, too", &wire.Listen{Name: "a\nb"}, wire.Refused, `\n`},
		{"filter", &wire.Join{Group: "there", Name: "m", Filter: "type == CREAT"}, wire.BadFilter, "unknown name CREAT"},
		{"a listener's filter", &wire.Listen{Filter: "type == CREAT"}, wire.BadFilter, "unknown name CREAT, in line 1, column 9"},
		{"name in use", &wire.Join{Group: "there", Name: "n", Session: "x"}, wire.NameInUse, "n"},
		{"a server's message", &wire.Batch{MDT: mdts[0]}, wire.UnknownMessage, "batch"},
		{"another", &wire.Reply{}, wire.UnknownMessage, "reply"},
		{"an error", &wire.Error{Code: wire.Internal}, wire.UnknownMessage, "error"},
		{"unknown operation", &wire.Request{Op: "explode"}, wire.Refused, "explode"},
		{"no operation", &wire.Request{}, wire.Refused, `""`},
		{"unknown group to show", &wire.Request{Op: wire.OpGroup, Group: "nowhere"}, wire.UnknownGroup, "nowhere"},
		{"its members", &wire.Request{Op: wire.OpMembers, Group: "nowhere"}, wire.UnknownGroup, "nowhere"},
		{"unknown group to pause", &wire.Request{Op: wire.OpPause, Group: "nowhere"}, wire.UnknownGroup, "nowhere"},
		{"to delete", &wire.Request{Op: wire.OpDelete, Group: "nowhere"}, wire.UnknownGroup, "nowhere"},
		{"to seek", &wire.Request{Op: wire.OpSeek, Group: "nowhere", Start: "latest"}, wire.UnknownGroup, "nowhere"},
		{"to skip", &wire.Request{Op: wire.OpSkip, Group: "nowhere", MDT: mdts[0], Index: 1}, wire.UnknownGroup, "nowhere"},
		{"unknown MDT to seek", &wire.Request{Op: wire.OpSeek, Group: "there", MDT: "no-MDT0000", Index: 1}, wire.UnknownMDT, "no-MDT0000"},
		{"nowhere to seek", &wire.Request{Op: wire.OpSeek, Group: "there", MDT: mdts[0], Start: "now"}, wire.Refused, "latest"},
		{"no MDT to skip", &wire.Request{Op: wire.OpSkip, Group: "there", Index: 1}, wire.UnknownMDT, ""},
		{"unknown MDT to restart", &wire.Request{Op: wire.OpRestart, MDT: "no-MDT0000"}, wire.UnknownMDT, "no-MDT0000"},
		{"to be created", &wire.Request{Op: wire.OpCreate, Group: "new", MDT: mdts[0] + ",no-MDT0000"}, wire.UnknownMDT, "no-MDT0000"},
		{"there already", &wire.Request{Op: wire.OpCreate, Group: "there"}, wire.GroupExists, "there"},
		{"no name to create", &wire.Request{Op: wire.OpCreate}, wire.Refused, "name"},
		{"a filter to create", &wire.Request{Op: wire.OpCreate, Group: "new", Filter: "x"}, wire.BadFilter, `unknown name x, in line 1, column 1`},
		{"modules to create", &wire.Request{Op: wire.OpCreate, Group: "new", Modules: "[coalesce]"}, wire.BadFilter, "consumers"},
		{"members", &wire.Request{Op: wire.OpDelete, Group: "there"}, wire.Refused, "--force"},
		{"set", &wire.Request{Op: wire.OpSet, Group: "there", Filter: "uid == 0"}, wire.Refused, "members"},
		{"nothing to set", &wire.Request{Op: wire.OpSet, Group: "nowhere"}, wire.UnknownGroup, "nowhere"},
		{"modules of nobody", &wire.Request{Op: wire.OpModules, Group: "nowhere"}, wire.UnknownGroup, "nowhere"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.greet(transport.RoleAll)
			p.t = t
			req := uint64(0)
			switch m := c.m.(type) {
			case *wire.Join:
				m.Req, req = 1<<63, 1<<63
			case *wire.Listen:
				m.Req, req = 1<<63, 1<<63
			case *wire.Request:
				m.Req, req = 1<<63, 1<<63
			}
			before := s.counts()[string(c.code)]
			p.say(c.m)
			if e := p.refused(c.code); e.Req != req || !strings.Contains(e.Text, c.text) {
				t.Errorf("%+v", e)
			}
			if n := s.counts()[string(c.code)] - before; n != 1 {
				t.Errorf("it was counted %d times", n)
			}
			p.goesOn()
		})
	}
}

func TestOneConnectionIsOneThing(t *testing.T) {
	s := newSite(t, nil)
	member := s.join("g", "n", 0)
	listener, _ := s.listen()
	for _, p := range []*peer{member, listener} {
		role := transport.RoleAll
		if p == listener {
			role = transport.RoleListen
		}
		for _, m := range []wire.Message{&wire.Join{Req: 8, Group: "g", Name: "again"}, &wire.Listen{Req: 8}} {
			p.say(m)
			want := wire.AlreadyMember
			if _, join := m.(*wire.Join); join && !role.Has(transport.RoleConsume) {
				want = wire.Role
			}
			if e := p.refused(want); e.Req != 8 {
				t.Errorf("%+v", e)
			}
		}
		p.goesOn()
	}
}

func TestCreation(t *testing.T) {
	s := newSite(t, func(o *settings) { o.broker.CreateGroups = false })
	p := s.greet(transport.RoleAll)
	join := &wire.Join{Group: "typo", Name: "n", Create: true}
	p.say(join)
	p.refused(wire.UnknownGroup)
	must(t, s.settings.serve.Broker.AllowCreation(s.ctx, true))
	p.say(join)
	hear[*wire.Joined](p)
}

// What each address allows is all that it allows.
func TestRoles(t *testing.T) {
	s := newSite(t, nil)
	join, listen := &wire.Join{Group: "g", Name: "n", Create: true}, &wire.Listen{}
	operate := &wire.Request{Op: wire.OpCreate, Group: "made"}
	for _, c := range []struct {
		role transport.Role
		bad  []wire.Message
		good wire.Message
	}{
		{transport.RoleListen, []wire.Message{join, operate}, listen},
		{transport.RoleConsume, []wire.Message{listen, operate}, join},
		{transport.RoleOperate, []wire.Message{listen, join}, operate},
	} {
		p := s.greet(c.role)
		for _, m := range c.bad {
			p.say(m)
			if e := p.refused(wire.Role); !strings.Contains(e.Text, "allow") {
				t.Errorf("%+v", e)
			}
		}
		for _, op := range []wire.Op{wire.OpSet, wire.OpDelete, wire.OpSeek, wire.OpPause, wire.OpSkip, wire.OpRestart, "unheard-of"} {
			if c.role != transport.RoleOperate {
				p.say(&wire.Request{Op: op, Group: "g", Start: "latest"})
				p.refused(wire.Role)
			}
		}
		ask[wire.Status](p, wire.Request{Op: wire.OpStatus}) // anybody may look
		p.say(c.good)
		if m, err := p.next(); err != nil || m.Kind() == wire.KindError {
			t.Errorf("%v: %+v, %v", c.role, m, err)
		}
	}
}

// Why: an address on ipc that allows everything does so for root and our own user only.
func TestCredentials(t *testing.T) {
	if !isRoot() {
		t.Skip("only root can be somebody else")
	}
	dir, err := os.MkdirTemp("", "lcapd")
	must(t, err)
	defer os.RemoveAll(dir)
	must(t, os.Chmod(dir, 0o755))
	s := newSite(t, func(o *settings) { o.dir = dir })
	must(t, os.Chmod(filepath.Join(dir, transport.RoleAll.String()), 0o666))
	dialed := make(chan *peer)
	go func() { // the thread is another user from here on, and ends with its goroutine
		defer close(dialed)
		runtime.LockOSThread()
		const nobody = 65534
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			t.Error(errno)
			return
		}
		dialed <- s.dial(transport.RoleAll)
	}()
	p := <-dialed
	if p == nil {
		t.FailNow()
	}
	p.say(&wire.Hello{V: 1, Min: 1})
	hear[*wire.Hello](p)
	p.say(&wire.Request{Op: wire.OpCreate, Group: "g"})
	p.refused(wire.Role)
	p.say(&wire.Listen{})
	hear[*wire.Listening](p)
	root := s.greet(transport.RoleAll)
	ask[wire.Done](root, wire.Request{Op: wire.OpCreate, Group: "g"})
}

// What ends the connection: the error says so and nothing follows it.
func TestBadMessages(t *testing.T) {
	s := newSite(t, nil)
	goesOn := s.bystander()
	hello := []byte("\x83\xa1t\xa5hello\xa1v\x01\xa3min\x01")
	deep := bytes.Repeat([]byte{0x91}, 4000)
	bomb := []byte("\xdd\xff\xff\xff\xff")
	with := func(head string, rest ...[]byte) []byte { return append([]byte(head), bytes.Join(rest, nil)...) }
	join := []byte("\x83\xa1t\xa4join\xa5group\xa1g\xa4name\xa1n")
	for _, c := range []struct {
		name   string
		before [][]byte // what is said first, in one frame each
		frames [][]byte
		code   wire.Code
	}{
		{"no version in common", nil, [][]byte{[]byte("\x83\xa1t\xa5hello\xa1v\x09\xa3min\x09")}, wire.Version},
		{"version 0", nil, [][]byte{[]byte("\x83\xa1t\xa5hello\xa1v\x00\xa3min\x00")}, wire.Version},
		{"versions upside down", nil, [][]byte{[]byte("\x83\xa1t\xa5hello\xa1v\x01\xa3min\x02")}, wire.Version},
		{"no hello", nil, [][]byte{join}, wire.BadMessage},
		{"a heartbeat first", nil, [][]byte{[]byte("\x81\xa1t\xa9heartbeat")}, wire.BadMessage},
		{"a bomb first", nil, [][]byte{bomb}, wire.BadMessage},
		{"hello twice", [][]byte{hello}, [][]byte{hello}, wire.BadMessage},
		{"three frames", [][]byte{hello}, [][]byte{join, nil, nil}, wire.BadMessage},
		{"empty", [][]byte{hello}, [][]byte{nil}, wire.BadMessage},
		{"noise", [][]byte{hello}, [][]byte{[]byte("GET / HTTP/1.1\r\n\r\n")}, wire.BadMessage},
		{"JSON", [][]byte{hello}, [][]byte{[]byte(`{"t":"join"}`)}, wire.BadMessage},
		{"no kind", [][]byte{hello}, [][]byte{{0x80}}, wire.BadMessage},
		{"a kind that is a number", [][]byte{hello}, [][]byte{[]byte("\x81\xa1t\x07")}, wire.BadMessage},
		{"a bomb", [][]byte{hello}, [][]byte{bomb}, wire.BadMessage},
		{"a bomb of maps", [][]byte{hello}, [][]byte{[]byte("\xdf\xff\xff\xff\xff")}, wire.BadMessage},
		{"a bomb in a field", [][]byte{hello}, [][]byte{with("\x82\xa1t\xa4join\xa5group", bomb)}, wire.BadMessage},
		{"a bomb in an unknown field", [][]byte{hello}, [][]byte{with("\x82\xa1t\xa4join\xa1x", bomb)}, wire.BadMessage},
		{"a string of 4 GiB", [][]byte{hello}, [][]byte{[]byte("\x82\xa1t\xa4join\xa5group\xdb\xff\xff\xff\xff")}, wire.BadMessage},
		{"depth", [][]byte{hello}, [][]byte{deep}, wire.BadMessage},
		{"depth in an unknown field", [][]byte{hello}, [][]byte{with("\x82\xa1t\xa4join\xa1x", deep)}, wire.BadMessage},
		{"a long header", [][]byte{hello}, [][]byte{bytes.Repeat([]byte{0x80}, wire.MaxHeader+1)}, wire.BadMessage},
		{"a bomb as a body", [][]byte{hello}, [][]byte{join, bomb}, wire.BadMessage},
		{"a bomb in a body", [][]byte{hello}, [][]byte{join, with("\x81\xa4mdts", bomb)}, wire.BadMessage},
		{"depth in a body", [][]byte{hello}, [][]byte{join, with("\x81\xa4mdts", bytes.Repeat([]byte{0x91}, 1<<20-6))}, wire.BadMessage},
		{"a large body", [][]byte{hello}, [][]byte{join, make([]byte, wire.MaxBody+1)}, wire.BadMessage},
		{"5000 MDTs", [][]byte{hello}, [][]byte{join, with("\x81\xa4mdts\xdc\x13\x88", bytes.Repeat([]byte("\xa1x"), 5000))}, wire.BadMessage},
		{"a payload where none belongs", [][]byte{hello}, [][]byte{[]byte("\x83\xa1t\xa3ack\xa5lease\x07\xa4upto\x01"), []byte("x")}, wire.BadMessage},
		{"the same field twice", [][]byte{hello}, [][]byte{[]byte("\x83\xa1t\xa5leave\xa1t\xa5leave")}, wire.BadMessage},
		{"a negative number", [][]byte{hello}, [][]byte{[]byte("\x83\xa1t\xa3ack\xa5lease\xff\xa4upto\x01")}, wire.BadMessage},
		{"a name of 300 bytes", [][]byte{hello}, [][]byte{with("\x83\xa1t\xa4join\xa5group\xda\x01\x2c", bytes.Repeat([]byte{'x'}, 300), []byte("\xa4name\xa1n"))}, wire.BadMessage},
		{"not UTF-8", [][]byte{hello}, [][]byte{[]byte("\x83\xa1t\xa4join\xa5group\xa1\xff\xa4name\xa1n")}, wire.BadMessage},
		{"credit of 2^31", [][]byte{hello}, [][]byte{[]byte("\x82\xa1t\xa6credit\xa7batches\xce\x80\x00\x00\x00")}, wire.BadMessage},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := s.dial(transport.RoleAll)
			p.t = t
			for _, frame := range c.before {
				p.sayRaw(frame)
				hear[*wire.Hello](p)
			}
			before := s.counts()[string(c.code)]
			p.sayRaw(c.frames...)
			p.refused(c.code)
			p.closed()
			if n := s.counts()[string(c.code)] - before; n != 1 {
				t.Errorf("it was counted %d times", n)
			}
			goesOn()
		})
	}
}

// Why: newer clients say more than we know.
func TestUnknownIsIgnored(t *testing.T) {
	s := newSite(t, nil)
	p := s.greet(transport.RoleAll)
	p.sayRaw([]byte("\x82\xa1t\xa7stretch\xa3req\x2a"), []byte("with a payload"))
	if e := p.refused(wire.UnknownMessage); e.Req != 42 {
		t.Errorf("%+v", e)
	}
	p.sayRaw([]byte("\x85\xa1t\xa4join\xa5group\xa1g\xa4name\xa1n\xa6create\xc3\xa3new\x93\x01\xc0\x81\xa1k\xcb\x00\x00\x00\x00\x00\x00\x00\x00"))
	if m, err := p.next(); err != nil || m.Kind() != wire.KindError { // a fraction is refused everywhere
		t.Errorf("%+v, %v", m, err)
	}
	p.closed()
	p = s.greet(transport.RoleAll)
	p.sayRaw([]byte("\x85\xa1t\xa4join\xa5group\xa1g\xa4name\xa1n\xa6create\xc3\xa3new\x93\x01\xc0\x81\xa1k\xc4\x01z"))
	hear[*wire.Joined](p)
}

// Why: REQ and SUB peers are not served yet, and must be told from strangers.
func TestOtherSockets(t *testing.T) {
	s := newSite(t, nil)
	raw, err := net.Dial("unix", strings.TrimPrefix(s.addrs[transport.RoleAll], "ipc://"))
	must(t, err)
	defer raw.Close()
	greeting := append([]byte{0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0x7f, 3, 0}, append([]byte("NULL"), make([]byte, 48)...)...)
	_, err = raw.Write(append(greeting, "\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03REQ"...))
	must(t, err)
	eventually(t, "the count", func() bool { return s.server.Stats().Ended["bad-socket-type"] == 1 })
	eventually(t, "the end", func() bool { return s.server.Stats().Open == 0 })
}

// Why: who asks and does not listen must cost one answer, not all of them.
func TestOperatorWhoDoesNotRead(t *testing.T) {
	s := newSite(t, nil)
	goesOn := s.bystander()
	p := s.greet(transport.RoleListen)
	frames, err := wire.Encode(&wire.Request{Op: wire.OpStatus})
	must(t, err)
	sent := 0
	for ; sent < 20_000; sent++ {
		if p.conn.Send(transport.Message{Frames: frames}) != nil {
			break // what it sends waits with it
		}
	}
	goesOn()
	if st := s.server.Stats(); st.Open != 2 {
		t.Errorf("%+v", st)
	}
	hear[*wire.Reply](p)
}

// Who makes the handshake and is then alive without saying anything is cut.
func TestNoHello(t *testing.T) {
	s := newSite(t, func(x *settings) { x.serve.Hello = 300 * time.Millisecond })
	bystander := s.greet(transport.RoleConsume)
	raw, err := net.Dial("unix", strings.TrimPrefix(s.addrs[transport.RoleConsume], "ipc://"))
	must(t, err)
	defer raw.Close()
	must(t, raw.SetDeadline(time.Now().Add(patience)))
	greeting := "\xff" + strings.Repeat("\x00", 8) + "\x7f\x03\x00NULL" + strings.Repeat("\x00", 48)
	ready := "\x05READY\x0bSocket-Type\x00\x00\x00\x06DEALER"
	_, err = raw.Write([]byte(greeting + "\x04" + string(rune(len(ready))) + ready))
	must(t, err)
	ended := make(chan struct{})
	go func() { defer close(ended); _, _ = io.Copy(io.Discard, raw) }() // its end is what counts
	for pings := 0; ; pings++ {
		select {
		case <-time.After(10 * time.Millisecond):
			_, _ = raw.Write([]byte("\x04\x07\x04PING\x00\x00")) // it may be cut by now
			continue
		case <-ended:
		}
		if pings < 2 {
			t.Errorf("it was cut after %d signs of life", pings)
		}
		break
	}
	eventually(t, "the count", func() bool { return s.server.Stats().Ended["handshake-timeout"] == 1 })
	bystander.say(&wire.Request{Op: wire.OpMDTs})
	hear[*wire.Reply](bystander)
}
