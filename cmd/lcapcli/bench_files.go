package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/internal/bench"
)

// swept are the flags of what --plot runs, or that go with something else.
var swept = []string{"preset", "upstream", "mdts", "groups", "members", "listeners", "rate", "retained", "batch", "behind", "profile"}

// choosePlot returns what is to be run for a picture.
func (o *benchOptions) choosePlot(cmd *cobra.Command) (p bench.Preset, err error) {
	if cmd.Flag("server").Changed {
		return p, badUsage(cmd, "--plot starts an lcapd of its own for each point: leave out --server; of one that runs, "+
			"measure a few numbers of members, one after the other: --server ADDR --group NAME --members N --save FILE")
	}
	if !strings.HasSuffix(o.plot, ".svg") {
		return p, badUsage(cmd, "--plot %q: a file whose name ends in .svg, which is what is written", o.plot)
	}
	for _, name := range swept {
		if cmd.Flag(name).Changed {
			return p, badUsage(cmd, "--plot runs loads of its own: leave out --%s", name)
		}
	}
	if !cmd.Flag("repeat").Changed {
		o.Repeat = 3
	}
	o.sweeps, p.Scenarios = bench.Sweeps(o.Scenario, o.Backlog)
	return p, o.chooseServer(cmd)
}

// announce says how long it takes to measure for a picture.
func (o *benchOptions) announce(cmd *cobra.Command, scenarios []bench.Scenario) {
	if o.plot != "" {
		cmd.PrintErrf("%d loads, each %s: about %s\n", len(scenarios), times(o.Repeat), about(o.Takes(scenarios)))
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// about is a duration as one tells it beforehand.
func about(d time.Duration) string {
	if d < 90*time.Second {
		return d.Round(time.Second).String()
	}
	return fmt.Sprintf("%d minutes", int(d.Round(time.Minute).Minutes()))
}

// checkFiles finds out before anything is run whether what is measured can be written.
func (o *benchOptions) checkFiles() error {
	var wrong []error
	for _, f := range []struct{ flag, file string }{{"plot", o.plot}, {"save", o.save}} {
		if f.file == "" {
			continue
		}
		if err := writable(f.file); err != nil {
			wrong = append(wrong, fmt.Errorf("--%s: %w", f.flag, err))
		}
	}
	if o.Profile != "" {
		probe, err := os.CreateTemp(o.Profile, ".lcapcli-bench-*")
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--profile: a folder that is there, and can be written to: %w", err))
		} else {
			wrong = append(wrong, probe.Close(), os.Remove(probe.Name()))
		}
	}
	return errors.Join(wrong...)
}

// writable tells why a file cannot be written. What is in it stays, and one that was not there is not
// there afterwards.
func writable(file string) error {
	_, err := os.Stat(file)
	isNew := errors.Is(err, fs.ErrNotExist)
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	err = f.Close()
	if isNew {
		err = errors.Join(err, os.Remove(file))
	}
	return err
}

// write writes the files that were asked for.
func (o *benchOptions) write(report *bench.Report) error {
	if o.save != "" {
		err := writeFile(o.save, func(w io.Writer) error { return encodeReport(w, report) })
		if err != nil {
			return err
		}
	}
	if o.plot != "" {
		return writeFile(o.plot, report.Plot)
	}
	return nil
}

func writeFile(file string, write func(io.Writer) error) (err error) {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	defer joinClose(&err, f.Close)
	return write(f)
}

// encodeReport writes a report as JSON.
func encodeReport(w io.Writer, report *bench.Report) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(report)
}

func readReport(file string) (*bench.Report, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	report := new(bench.Report)
	if err := json.Unmarshal(data, report); err != nil || len(report.Results) == 0 {
		return nil, fmt.Errorf("%s is no result of lcapcli bench --save", file)
	}
	return report, nil
}
