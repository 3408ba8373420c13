package client

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/transport"
	"github.com/lcapd/lcapd/wire"
)

// A JoinOption is an option of [Join].
type JoinOption interface{ joining(*settings) }

// A ListenOption is an option of [Listen].
type ListenOption interface{ listening(*settings) }

// An Option is one of both.
type Option interface {
	JoinOption
	ListenOption
}

type joinOption func(*settings)

func (o joinOption) joining(s *settings) { o(s) }

type listenOption func(*settings)

func (o listenOption) listening(s *settings) { o(s) }

type option func(*settings)

func (o option) joining(s *settings)   { o(s) }
func (o option) listening(s *settings) { o(s) }

// settings are what the options set.
type settings struct {
	group        string
	name         string
	session      string
	distribution string
	start        string
	create       bool
	mdts         []string
	fields       wire.Form
	filter       string
	modules      string
	batches      int // the window
	bytes        int
	patient      bool
	least, most  time.Duration // of the delay before connecting again
	onEvent      func(Event)
	pipe         *transport.Pipe
}

func defaults() settings {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return settings{name: fmt.Sprintf("%s-%d", host, os.Getpid()), session: rand.Text(),
		batches: 16, bytes: 8 << 20, least: 50 * time.Millisecond, most: 10 * time.Second}
}

func (s *settings) check(addrs []string) error {
	switch {
	case len(addrs) == 0:
		return errors.New("client: no address")
	case s.name == "":
		return errors.New("client: the name is empty")
	case s.session == "":
		return errors.New("client: the session is empty")
	case s.batches < 1 || s.bytes < 1:
		return fmt.Errorf("client: a window of %d batches and %d bytes lets nothing through", s.batches, s.bytes)
	case s.least <= 0 || s.most < s.least:
		return fmt.Errorf("client: delays from %v to %v are none", s.least, s.most)
	}
	return nil
}

// Through connects to a broker inside the process, whatever the address says: see package
// clienttest.
func Through(p *transport.Pipe) Option { return option(func(s *settings) { s.pipe = p }) }

// Name is the member's name, unique in its group, or how operators see a listener.
// Default: host name and process id.
func Name(name string) Option { return option(func(s *settings) { s.name = name }) }

// MDTs are those whose records are wanted. A broker refuses a name that it does not have, so with several
// brokers, each with MDTs of its own, leave this out, or join each by itself. Default: all.
func MDTs(names ...string) Option { return option(func(s *settings) { s.mdts = names }) }

// Fields has the broker cut off all optional blocks of the records but those of f. Default: records as
// they are.
func Fields(f changelog.Format) Option {
	return option(func(s *settings) { s.fields = wire.FormOf(f.Repacking()) }) // not 0, which stands for all
}

// Filter is an expression that records must match, as docs/modules.md has it; the broker compiles it:
// [ErrBadFilter]. A member's must be that of its group.
func Filter(expression string) Option { return option(func(s *settings) { s.filter = expression }) }

// Modules are what a listener's records pass at the broker behind its filter: a chain of docs/modules.md, as JSON, of
// filter, sample, rate and project. The broker compiles it: [ErrBadFilter].
func Modules(chain string) ListenOption { return listenOption(func(s *settings) { s.modules = chain }) }

// Window is how much is received ahead of the caller, from each broker. Larger ones bridge
// longer delays, and leave less to other members. A member has 256 batches and 16 MiB at most, whatever
// it asks for. Default: 16 batches, 8 MiB.
func Window(batches, bytes int) Option {
	return option(func(s *settings) { s.batches, s.bytes = batches, bytes })
}

// Patient has Join and Listen return at once, and the brokers' first answers be waited for like later
// ones, for ever. Without it they return when all brokers have let us in, or fail when one does not.
func Patient() Option { return option(func(s *settings) { s.patient = true }) }

// Retry bounds the delay before connecting again. It doubles from least to most; half of it is random.
// Default: 50 ms, 10 s.
func Retry(least, most time.Duration) Option {
	return option(func(s *settings) { s.least, s.most = least, most })
}

// OnEvent has f called with every [Event], by Next and Records in the goroutine that calls
// them, in order with what they return.
func OnEvent(f func(Event)) Option { return option(func(s *settings) { s.onEvent = f }) }

// Session is the identity with which a member takes over from itself, also from an earlier
// process. It must never be in use twice at a time. Default: random.
func Session(id string) JoinOption { return joinOption(func(s *settings) { s.session = id }) }

// Distribution is what the group must have, or is created with: round-robin, mdt or fid.
// Default: whatever it has.
func Distribution(name string) JoinOption {
	return joinOption(func(s *settings) { s.distribution = name })
}

// Start is where the group must have begun, or is created at: earliest or latest.
// Default: whatever it has.
func Start(at string) JoinOption { return joinOption(func(s *settings) { s.start = at }) }

// CreateGroup has the broker make the group if it is not there. Brokers may refuse. A member that
// comes back does not make it again: then somebody has deleted it.
func CreateGroup() JoinOption { return joinOption(func(s *settings) { s.create = true }) }
