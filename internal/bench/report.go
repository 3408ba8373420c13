package bench

import (
	"fmt"
	"io"
	"math"
	"text/tabwriter"
)

// Write writes the report for humans. earlier, if not nil, is a report to compare with.
func (r *Report) Write(w io.Writer, earlier *Report) error {
	if len(r.Targets) > 0 {
		if err := r.writeTargets(w); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if len(r.Sweeps) > 0 {
		if err := r.writeSweeps(w, earlier); err != nil {
			return err
		}
	} else if err := r.writeResults(w, earlier); err != nil {
		return err
	}
	lcapd := fmt.Sprintf("lcapd's memory limit %d MiB", r.Memory>>20)
	if r.Server != "" {
		lcapd = "lcapd ran before"
	}
	_, err := fmt.Fprintf(w, "\n%d CPUs, %s, %s, %s. Compare ratios: rates are those of this machine at this moment.\n",
		r.CPUs, r.Go, r.Network, lcapd)
	if err == nil && r.NoSyscalls != "" {
		_, err = fmt.Fprintf(w, "System calls are not counted by kind: %s.\n", r.NoSyscalls)
	}
	return err
}

func (r *Report) writeResults(w io.Writer, earlier *Report) error {
	for i, result := range r.Results {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := result.write(w, r.Server, earlier.find(result.Name)); err != nil {
			return err
		}
	}
	return nil
}

// find returns the result of a scenario, nil for none.
func (r *Report) find(name string) *Result {
	if r == nil {
		return nil
	}
	for _, result := range r.Results {
		if result.Name == name {
			return result
		}
	}
	return nil
}

func (r *Report) writeTargets(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "TARGET\tDEMANDED\tMEASURED\tLEAST .. MOST\t")
	for _, v := range r.Targets {
		verdict := "met"
		if !v.Met {
			verdict = "MISSED"
		}
		fmt.Fprintf(t, "%s\t%s\t%.2f\t%.2f .. %.2f\t%s\n", v.Name, v.text(), v.Value.Median, v.Value.Least, v.Value.Most, verdict)
	}
	return t.Flush()
}

// write writes a result, with the change against an earlier one. server is that of [Report].
func (r *Result) write(w io.Writer, server string, earlier *Result) error {
	what := r.describe()
	if server != "" {
		what = fmt.Sprintf("%s, %d groups x %d members; the limit with %s", server, r.Groups, r.Members, r.sizes())
	}
	fmt.Fprintf(w, "%s: %s\n", r.Name, what)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, m := range metrics {
		v, ok := r.Values[m.Metric]
		if !ok {
			continue
		}
		fmt.Fprintf(t, "  %s\t%s\t%s .. %s\t%s\t%s\t\n", padded(m.title), number(v.Median), number(v.Least), number(v.Most), m.unit,
			change(v, earlier, m.Metric, m.lessIsGood))
	}
	if err := t.Flush(); err != nil || r.Syscalls == nil {
		return err
	}
	_, err := fmt.Fprintf(w, "    %s\n", r.Syscalls.text())
	return err
}

// titleWidth is that of the column of what was measured.
const titleWidth = 38

// padded makes a title as wide as all: the columns of numbers are aligned on the right.
func padded(title string) string { return fmt.Sprintf("%-*s", titleWidth, title) }

// sizes says how large the records are.
func (s *Scenario) sizes() string {
	if s.Size == 0 {
		return "a mix of records"
	}
	return fmt.Sprintf("records of %d bytes", s.Size)
}

// describe says what was run.
func (s *Scenario) describe() string {
	text := fmt.Sprintf("%s, %d MDTs, %d groups x %d members (%s), %s", s.Upstream, s.MDTs, s.Groups, s.Members, s.Distribution, s.sizes())
	if s.Steps {
		return fmt.Sprintf("the loop alone, %d MDTs, %d groups, %d members", s.MDTs, s.Groups, s.Groups*s.Members)
	}
	if s.Listeners > 0 {
		text = fmt.Sprintf("%s, %d MDTs, %d listeners, %s", s.Upstream, s.MDTs, s.Listeners, s.sizes())
	}
	if s.Batch > 0 {
		text += fmt.Sprintf(", batches of %s", bytesText(s.Batch))
	}
	if s.Behind > 0 {
		text += fmt.Sprintf(", %d behind", s.Behind)
	}
	if s.Batches > 0 {
		text += fmt.Sprintf(", %d batches, %d connections", s.Batches, s.Connections)
	}
	switch {
	case s.Rate > 0:
		text += fmt.Sprintf(", %d records/s", s.Rate)
	case s.Rate < 0:
		text += fmt.Sprintf(", at %d %% of what the first scenario reaches", -s.Rate)
	}
	return text
}

// bytesText is a number of bytes with a unit that divides it.
func bytesText(n int64) string {
	switch {
	case n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}

// number is a value with three digits that count.
func number(v float64) string {
	if v == 0 {
		return "0"
	}
	digits := max(2-int(math.Floor(math.Log10(math.Abs(v)))), 0)
	return fmt.Sprintf("%.*f", digits, v)
}

// change is by how much a value has changed. One that lies within what both have spread
// says nothing.
func change(now Value, earlier *Result, m Metric, lessIsGood bool) string {
	if earlier == nil {
		return ""
	}
	was, ok := earlier.Values[m]
	if !ok || was.Median == 0 {
		return ""
	}
	text := fmt.Sprintf("%+.0f %%", 100*(now.Median/was.Median-1))
	const enough = 4 // fewer runs lie apart by chance
	switch {
	case min(len(now.Runs), len(was.Runs)) < enough:
		return text + ", too few runs to tell"
	case now.Least <= was.Most && was.Least <= now.Most:
		return text + " within the spread"
	case now.Median < was.Median == lessIsGood:
		return text + " better"
	}
	return text + " WORSE"
}
