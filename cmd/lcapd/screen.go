package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lcapd/lcapd/wire"
)

// screen shows what the demo does: on a terminal a table that is drawn again and
// again, elsewhere a line now and then. Who draws owns it.
type screen struct {
	out      io.Writer
	isLive   bool
	every    time.Duration
	lines    int // of the table that is on the terminal
	last     *wire.Status
	lastTime time.Time
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out, every: 2 * time.Second}
	if f, ok := out.(*os.File); ok {
		if _, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
			s.isLive, s.every = true, 500*time.Millisecond
		}
	}
	return s
}

func (s *screen) open(addr string) {
	fmt.Fprintf(s.out, "lcapd demo at %s; end it with ^C. In another terminal:\n", addr)
	fmt.Fprintf(s.out, "  lcapcli -s %s groups\n  lcapcli -s %s listen --count 5\n\n", addr, addr)
}

// draw shows a status.
func (s *screen) draw(status wire.Status) {
	now := time.Now()
	if s.isLive {
		table := s.table(status, now)
		if s.lines > 0 {
			fmt.Fprintf(s.out, "\x1b[%dA\x1b[J", s.lines) // back up, and clear what is below
		}
		s.lines = strings.Count(table, "\n")
		_, _ = io.WriteString(s.out, table) // a terminal that is gone ends the program anyway
	} else {
		_, _ = io.WriteString(s.out, summary(status))
	}
	s.last, s.lastTime = &status, now
}

// close shows the last status once more, as a summary.
func (s *screen) close() {
	if s.last != nil {
		fmt.Fprint(s.out, "\nended: ", summary(*s.last))
	}
}

// summary is a status in one line.
func summary(status wire.Status) string {
	var read, cleared uint64
	for _, m := range status.MDTs {
		read, cleared = read+m.Read, cleared+m.Cleared
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d records read, %d cleared", read, cleared)
	for _, g := range status.Groups {
		fmt.Fprintf(&b, "; group %s: %d acknowledged by %d members", g.Group, read-min(read, g.Lag), len(g.Members))
	}
	for _, l := range status.Listeners {
		fmt.Fprintf(&b, "; listener %s: %d records, %d gaps", l.Name, l.Records, l.Gaps)
	}
	b.WriteByte('\n')
	return b.String()
}

func (s *screen) table(status wire.Status, now time.Time) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "MDT\tREAD\tRECORDS/S\tCLEARED\tHELD BY\tKEPT")
	for i, m := range status.MDTs {
		rate := 0.0
		if s.last != nil {
			rate = float64(m.Read-s.last.MDTs[i].Read) / now.Sub(s.lastTime).Seconds()
		}
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%d\t%s\t%d KiB\n", m.MDT, m.Read, rate, m.Cleared, m.HeldBy, m.Window.Bytes>>10)
	}
	fmt.Fprintln(w, "\nGROUP\tORDER\tMEMBERS\tLAG\tIN FLIGHT\tDELIVERED TO EACH")
	for _, g := range status.Groups {
		var each []string
		for _, m := range g.Members {
			each = append(each, fmt.Sprint(m.Records))
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d KiB\t%s\n", g.Group, g.Distribution, len(g.Members), g.Lag, g.InFlight>>10, strings.Join(each, " "))
	}
	fmt.Fprintln(w, "\nLISTENER\tRECORDS\tGAPS\tMISSED")
	for _, l := range status.Listeners {
		fmt.Fprintf(w, "%s\t%d\t%d\t%d\n", l.Name, l.Records, l.Gaps, l.Missed)
	}
	_ = w.Flush() // into memory
	return b.String()
}
