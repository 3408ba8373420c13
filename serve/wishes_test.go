package serve

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// collect hears batches until so many records came, or, for a listener with a filter, until the last one
// did; it acknowledges what has a lease. Each batch must be in the form.
func (p *peer) collect(form wire.Form, enough func(records []byte, n int) bool) (records []byte, err error) {
	for n := 0; !enough(records, n); {
		m, err := p.next()
		b, ok := m.(*wire.Batch)
		if err != nil || !ok {
			return nil, fmt.Errorf("heard %T: %w", m, err)
		}
		if b.Form != form {
			return nil, fmt.Errorf("a batch in the form %#x, want %#x", b.Form, form)
		}
		records = append(records, p.payload...)
		n += int(b.N)
		if b.Lease == 0 {
			continue
		}
		for _, answer := range []wire.Message{&wire.Ack{Lease: b.Lease, UpTo: b.Last}, &wire.Credit{Batches: 1, Bytes: uint64(len(p.payload))}} {
			frames, _ := wire.Encode(answer)
			if err := p.conn.Send(transport.Message{Frames: frames}); err != nil {
				return nil, err
			}
		}
	}
	return records, nil
}

// Everybody at once over sockets: members and listeners who want records as they are, without some blocks, or only
// some of them. Each gets, byte for byte, what that comes to.
func TestEverybodyGetsWhatTheyWant(t *testing.T) {
	const records, few = 20_000, wire.Form(changelog.FlagVersion | changelog.FlagRename)
	s := newSite(t, nil)
	var all []byte // set when the plain member has everything
	isUnlink := func(r changelog.Record) bool { return r.Type() == changelog.TypeUnlnk }
	type wish struct {
		name   string
		p      *peer
		form   wire.Form
		passes func(changelog.Record) bool
	}
	join := func(name string, fields, form wire.Form, credit uint64) wish {
		p := s.greet(transport.RoleAll)
		p.say(&wire.Join{Group: name, Name: name, Start: "earliest", Create: true, Fields: fields, MDTs: mdts[:1]})
		hear[*wire.Joined](p)
		p.say(&wire.Credit{Batches: 8, Bytes: credit})
		return wish{name, p, form, nil}
	}
	listen := func(name string, m wire.Listen, form wire.Form, passes func(changelog.Record) bool) wish {
		p := s.greet(transport.RoleListen)
		m.Name = name
		p.say(&m)
		hear[*wire.Listening](p)
		return wish{name, p, form, passes}
	}
	wishes := []wish{
		join("plain", 0, 0, 8<<20), join("few", few, few, 8<<20), join("also few", 0x2000, few, 1),
		join("none", 0x1000, 0x1000, 1<<20), join("without extra", 0x1f3000, 0x3000, 1<<20),
		listen("hears all", wire.Listen{}, 0, nil), listen("hears few", wire.Listen{Fields: few}, few, nil),
	}
	for i := range 3 {
		wishes = append(wishes, listen(fmt.Sprint("unlinks ", i), wire.Listen{Filter: `type == "UNLNK"`, Fields: few}, few, isUnlink),
			listen(fmt.Sprint("unlinks by mask ", i), wire.Listen{Modules: `[{"filter": {"types": "UNLNK"}}]`}, 0, isUnlink))
	}
	s.append(0, records)
	// The last record is one that everybody is shown.
	last := changelog.Fields{Type: changelog.TypeUnlnk, Format: changelog.Format{Flags: changelog.FlagVersion}, Time: 1 << 62, Name: "the last"}
	packed, err := last.Append(nil)
	must(t, err)
	_, err = s.logs[0].AppendNew(s.ctx, packed)
	must(t, err)
	enough := func(records []byte, n int) bool { return bytes.HasSuffix(records, []byte("the last")) }
	got := make([][]byte, len(wishes))
	var hearing sync.WaitGroup
	for i, w := range wishes {
		hearing.Go(func() {
			var err error
			if got[i], err = w.p.collect(w.form, enough); err != nil {
				t.Errorf("%s: %v", w.name, err)
			}
		})
	}
	hearing.Wait()
	all = got[0]
	for i, w := range wishes {
		var want []byte
		n := 0
		for scan := changelog.NewScanner(all); scan.Scan(); n++ {
			switch r := scan.Record(); {
			case w.passes != nil && !w.passes(r):
			case w.form == 0:
				want = append(want, r.Bytes()...)
			default:
				want = r.AppendRepacked(want, w.form.Format())
			}
		}
		if n != records+1 || !bytes.Equal(got[i], want) {
			t.Errorf("%s: %d bytes, want %d of %d records", w.name, len(got[i]), len(want), n)
		}
	}
	operator := s.greet(transport.RoleOperate)
	st := ask[wire.Status](operator, wire.Request{Op: wire.OpStatus})
	unlinks := 0
	for _, l := range st.Listeners {
		if strings.HasPrefix(l.Name, "unlinks") && l.Filtered > 0 && l.Filtered+l.Records == records+1 && l.Filter+l.Modules != "" {
			unlinks++
		}
	}
	if unlinks != 6 || st.Views.Batches == 0 || st.ListenerFiltered == 0 {
		t.Errorf("%d of 6: %+v", unlinks, st.Listeners)
	}
}

// What is wrong with a filter the peer is told, with its place, and may try again.
func TestBadFilters(t *testing.T) {
	s := newSite(t, nil)
	goesOn := s.bystander()
	p := s.greet(transport.RoleListen)
	for _, c := range []struct {
		filter, modules, want string
	}{
		{`type == "CREATE"`, "", `modules[0] (filter): where: record type "CREATE" is unknown; the types are`},
		{`uid >= "root"`, "", `in line 1, column 5, at ">= \"root\""`},
		{"uid == 0 and\nnam == 1", "", `unknown name nam, in line 2, column 1`},
		{`uid`, "", `expected bool, but got int`},
		{strings.Repeat("(", 2000), "", `modules[0] (filter): where: `},
		{`name matches ".{999}"`, "", `too many steps`},
		{"", `[{"sample": {"one_in": 0}}]`, `modules[0] (sample): one_in: 0 is out of range`},
		{"uid == 0", `["sample"]`, `modules[1] (sample): one_in: sample needs the N`},
		{"", `[{sample: {one_in: 10}}]`, `the text of a chain is JSON here`},
		{"", `[coalesce]`, `the text of a chain is JSON here`},
		{"", `["coalesce"]`, `it holds records back`},
		{"", `["cancel"]`, `it holds records back`},
		{"", `["reorder"]`, `it holds records back`},
		{"", `[{"wasm": {"file": "/etc/passwd"}}]`, `programs of users run only where the operator's configuration names them`},
		{"", `{"filter": 1}`, `want a list of modules`},
		{"", `[{"rate": {"records": 1}}, {"rate": {"records": 1}}, {"rate": {"records": 1}}, {"rate": {"records": 1}}, {"rate": {"records": 1}}]`, `at most 4 are allowed`},
		{"", strings.Repeat("[", 2048), `JSON`},
		{"", strings.Repeat("[", 1024) + strings.Repeat("]", 1024), `modules`},
	} {
		p.say(&wire.Listen{Req: 5, Filter: c.filter, Modules: c.modules})
		if e := p.refused(wire.BadFilter); e.Req != 5 || !strings.Contains(e.Text, c.want) || strings.Contains(e.Text, "\n") {
			t.Errorf("%.60q %.60q: %+v, want %q", c.filter, c.modules, e, c.want)
		}
	}
	p.say(&wire.Listen{Filter: `not (uid == 4294967295)`, Modules: `[{"sample": {"one_in": 3}}, {"rate": {"records": 100}}]`})
	hear[*wire.Listening](p)
	hear[*wire.Batch](p)
	goesOn()
}

// stopper is a module that fails at a type of records.
type stopper struct{ modules.Stateless }

func (stopper) Push(r changelog.Record, out *modules.Out) {
	if r.Type() == changelog.TypeUnlnk {
		out.Fail(errors.New("unlinks are too much"))
		return
	}
	out.Keep(r)
}

// Why: a listener whose modules fail must know that it hears nothing any more, and why.
func TestFailingModules(t *testing.T) {
	s := newSite(t, func(o *settings) {
		o.serve.Modules = append(modules.Builtin(), modules.Kind{Name: "stopper", Parse: func(*modules.Options, modules.Use) (modules.Factory, error) {
			return func(modules.Start) modules.Module { return stopper{} }, nil
		}})
	})
	goesOn := s.bystander()
	p := s.greet(transport.RoleListen)
	p.say(&wire.Listen{Name: "broken", Modules: `["stopper"]`})
	hear[*wire.Listening](p)
	for {
		m, err := p.next()
		must(t, err)
		if e, ok := m.(*wire.Error); ok {
			if e.Code != wire.Internal || !strings.Contains(e.Text, "modules[0] (stopper): unlinks are too much") || !strings.Contains(e.Text, mdts[0]) {
				t.Errorf("%+v", e)
			}
			break
		}
	}
	p.closed()
	goesOn()
}
