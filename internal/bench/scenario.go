package bench

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Scenario is a load.
type Scenario struct {
	// Name tells it from the others of a run.
	Name string `json:"name"`
	// Upstream is where records come from: memory, llog or device.
	Upstream string `json:"upstream"`
	// MDTs is how many there are, Groups how many groups read all of them, Members how
	// many members each has, Listeners how many listen besides.
	MDTs      int `json:"mdts"`
	Groups    int `json:"groups"`
	Members   int `json:"members"`
	Listeners int `json:"listeners,omitempty"`
	// Distribution is that of the groups: round-robin, mdt or fid.
	Distribution string `json:"distribution,omitempty"`
	// Size is that of a record in bytes, 0 for a mix.
	Size int `json:"size"`
	// Batch is how large lcapd's batches may be, in bytes; 0 for its default.
	Batch int64 `json:"batch,omitempty"`
	// Rate is how many records a second come, all MDTs together; 0 for as many as are
	// taken. A negative one is the part, in percent, of what the first scenario reaches.
	// With a rate latency is measured, without one the limit.
	Rate int `json:"rate,omitempty"`
	// Retained measures what buffered records take: nobody reads them.
	Retained bool `json:"retained,omitempty"`
	// Behind, if above 0, is how many records the groups are behind when their members come; how
	// fast they catch up is measured.
	Behind int `json:"behind,omitempty"`
	// Batches, if above 0, is how many are delivered to members while it is measured whether lcapd grows, and
	// Connections how many others come and go meanwhile.
	Batches     int `json:"batches,omitempty"`
	Connections int `json:"connections,omitempty"`
	// Steps measures only what a step of lcapd's loop costs with so many groups, MDTs and members.
	Steps bool `json:"steps,omitempty"`
	// Once: it is run the first time only, as it takes long.
	Once bool `json:"once,omitempty"`
	// Longer is by how much the time of measuring is multiplied: for what is rare; 0 for 1.
	Longer int `json:"longer,omitempty"`
}

// Options say how scenarios are run.
type Options struct {
	// LCAPD is the program. Server, if not empty, is the address of an lcapd that runs,
	// and GroupNames are its groups to be joined.
	LCAPD      string
	Server     string
	GroupNames []string
	// Dir is a folder for all that is written, records of llogs among it; it must be there.
	Dir string
	// Network is tcp or ipc.
	Network string
	// Memory is the limit of lcapd, in bytes.
	Memory int64
	// Backlog is how many records an llog, or the one behind a device, holds for a run.
	Backlog int
	// Repeat is how often each scenario is run; WarmUp how long before it is measured,
	// and Duration how long that takes.
	Repeat           int
	WarmUp, Duration time.Duration
	// Profile, if not empty, is a folder for profiles of lcapd and of the first member.
	Profile string
	// Syscalls has the system calls of lcapd counted, beside the first run of each scenario.
	Syscalls bool
	// Progress, if not nil, is told what is done.
	Progress func(text string)
}

// ErrScenario: a scenario that cannot be.
var ErrScenario = errors.New("cannot be run")

// Check says what is wrong with a scenario.
func (s *Scenario) Check() error {
	no := func(format string, args ...any) error {
		return fmt.Errorf("%w: "+format, append([]any{ErrScenario}, args...)...)
	}
	switch {
	case !slices.Contains([]string{"memory", "llog", "device"}, s.Upstream):
		return no("upstream %q: memory, llog or device", s.Upstream)
	case !slices.Contains([]string{"round-robin", "mdt", "fid"}, s.Distribution):
		return no("distribution %q: round-robin, mdt or fid", s.Distribution)
	case s.MDTs < 1 || s.MDTs > 128:
		return no("%d MDTs: from 1 to 128", s.MDTs)
	case s.Groups < 0 || s.Members < 0 || s.Listeners < 0 || s.Groups > 64 || s.Members > 256 || s.Listeners > 4000:
		return no("at most 64 groups, 256 members of each and 4000 listeners")
	case s.Groups*s.Members+s.Listeners == 0:
		return no("nobody reads: at least one member or listener")
	case s.Rate > 0 && s.Upstream != "memory":
		return no("a rate goes with the upstream memory only")
	case s.Listeners > 0 && s.Rate == 0:
		return no("listeners go with a rate: without one they only miss records")
	case s.Behind < 0 || s.Behind > 0 && (s.Upstream == "memory" || s.Groups*s.Members == 0 || s.Listeners > 0):
		return no("members of groups catch up, with the upstream llog or device, and %d records are no backlog otherwise", s.Behind)
	case s.Batches < 0 || s.Connections < 0:
		return no("%d batches and %d connections: neither may be below 0", s.Batches, s.Connections)
	case s.Batches == 0 && s.Connections > 0:
		return no("connections come and go while batches are delivered: say how many with --batches")
	case s.Batches > 0 && s.Upstream != "memory":
		return no("batches are counted with the upstream memory only: the others have an end")
	case s.Batches > 0 && (s.Groups*s.Members == 0 || s.Listeners > 0 || s.Behind > 0 || s.Rate < 0 || s.Retained):
		return no("batches are counted by members of groups, and with them only whether lcapd grows")
	}
	_, err := template(s.Size)
	if err != nil {
		return no("%w", err)
	}
	return nil
}

// fix takes the place of what was left out.
func (s *Scenario) fix() {
	if s.Distribution == "" {
		s.Distribution = "round-robin"
	}
	if s.Upstream == "" {
		s.Upstream = "memory"
	}
	s.Longer = max(s.Longer, 1)
}
