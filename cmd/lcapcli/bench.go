package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/config"
	"github.com/lcapd/lcapd/internal/bench"
)

const benchHelp = `Measure how near lcapd comes to the limit of this machine.

An lcapd is started with a state of its own, and real members that frame and
acknowledge each batch. In the same run the limit is measured: a plain program that
sends the same packed bytes over the same transport, 128 KiB at a time, from as much
memory as lcapd held, to as many plain receivers, which frame each record. Read the
ratios: rates are those of this machine at this moment. docs/performance.md explains
each line.

What it says, each as the median of --repeat runs and the least and most of them:
  records/s and MB/s, of a group and of all together; rate / limit
  CPU seconds for a million records delivered, of lcapd and of its members, each against
  the plain sender and receivers
  memory: the most that was resident, and bytes in use for a byte of buffered records
  latency, with --rate: from when the source shows a record until a member has it
  whether lcapd grows, with --batches: what it has late in the run by what it had early
  the share of the garbage collector, records in a batch, calls of read and write for a batch,
  and where perf or strace can count them, which system calls, beside the first run

Records come from:
  memory   an endless run that costs next to nothing: lcapd alone is measured
  llog     a local changelog with --records in it, written before
  device   the same through an emulated changelog device; root only

--plot draws four charts, each with the limit beside lcapd's rate: against 1 to 8
members, 1 to 8 groups, batches of 16 KiB to 1 MiB, and a backlog on disk of up to
--records. It says beforehand how long that takes; --size, --distribution, --ipc and
--memory are what all loads have in common.

--preset targets runs what lcapd is built for, shows measured beside demanded, and
ends with exit code 1 if something is missed; quick is a form of it with wide margins
that takes less than a minute. With --server nothing is started but the members, which
join the groups that --group names, and acknowledge what they get: never name groups in
use. CPU and memory of that lcapd are not measured.`

type benchOptions struct {
	bench.Options
	bench.Scenario
	preset, memory, batch, save, compare, plot string
	ipc, retained                              bool
	sweeps                                     []bench.Sweep // with --plot
}

func newBench() *cobra.Command {
	o := &benchOptions{}
	cmd := &cobra.Command{
		Use:     "bench",
		Short:   "Measure how near lcapd comes to the limit of this machine",
		Long:    benchHelp,
		GroupID: "local",
		Example: "  lcapcli bench --preset targets\n" +
			"  lcapcli bench --groups 4 --members 2 --save before.json\n" +
			"  lcapcli bench --groups 4 --members 2 --compare before.json\n" +
			"  lcapcli bench --rate 100000                # latency\n" +
			"  lcapcli bench --batch 16KiB --batches 1000000 --connections 1000 --repeat 1\n" +
			"  lcapcli bench --plot rates.svg --save rates.json\n" +
			"  lcapcli bench --upstream llog --behind 5000000   # catching up\n" +
			"  lcapcli bench --upstream llog --ipc --size 0\n" +
			"  lcapcli bench --repeat 1 --profile /tmp    # and look at /tmp/custom-0-lcapd.svg",
		Args: arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd) },
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&o.preset, "preset", "", "targets or quick, in place of a load of your own")
	f.StringVar(&o.Upstream, "upstream", "memory", "where records come from: memory, llog or device")
	f.IntVar(&o.MDTs, "mdts", 1, "MDTs, 1 to 128")
	f.IntVar(&o.Groups, "groups", 1, "groups, each of which gets all records")
	f.IntVar(&o.Members, "members", 1, "members of each group")
	f.IntVar(&o.Listeners, "listeners", 0, "listeners, in one process; with --rate, and without groups unless --groups is given")
	f.StringVar(&o.Distribution, "distribution", "round-robin", "that of the groups: round-robin, mdt or fid")
	f.IntVar(&o.Size, "size", 148, "bytes of a record, 65 to 399; 0 for the mix that a file system makes")
	f.IntVar(&o.Rate, "rate", 0, "records a second, all MDTs together; 0 for as many as go. With a rate latency is measured")
	f.BoolVar(&o.retained, "retained", false, "measure only what buffered records take")
	f.IntVar(&o.Backlog, "records", 10_000_000, "records in the changelogs of llog and device, for one run")
	f.IntVar(&o.Behind, "behind", 0, "with llog or device: measure how fast groups catch up that are so many records behind")
	f.IntVar(&o.Batches, "batches", 0, "measure whether lcapd grows while so many batches are delivered")
	f.IntVar(&o.Connections, "connections", 0, "with --batches: how many others come and go meanwhile")
	f.BoolVar(&o.ipc, "ipc", false, "Unix sockets in place of tcp over the loopback")
	f.StringVar(&o.memory, "memory", "256MiB", "lcapd's memory limit, 64MiB at least")
	f.StringVar(&o.batch, "batch", "", "the most bytes of records in a batch of lcapd, 16KiB to 4MiB (default: lcapd's own)")
	f.IntVar(&o.Repeat, "repeat", 5, "how often all is run")
	f.DurationVar(&o.WarmUp, "warm-up", 800*time.Millisecond, "how long each run goes before it is measured")
	f.DurationVar(&o.Duration, "duration", 1500*time.Millisecond, "for how long each run is measured")
	f.StringVar(&o.LCAPD, "lcapd", "", "the lcapd program (default: beside this one, else in $PATH)")
	f.StringSliceVar(&o.GroupNames, "group", nil, "with --server: the groups to join, which must exist and be for nothing else")
	f.StringVar(&o.Dir, "dir", "", "where files are written and removed again (default: $TMPDIR)")
	f.StringVar(&o.plot, "plot", "", "draw rates against members, groups, batches and backlog into this SVG file, from loads of its own; 3 times each unless --repeat is given")
	f.StringVar(&o.save, "save", "", "write the result as JSON into this file")
	f.StringVar(&o.compare, "compare", "", "show the change against a result that was saved")
	f.StringVar(&o.Profile, "profile", "", "a folder for CPU profiles of lcapd and of one member, and for pictures of them (flame graphs)")
	complete(cmd, "preset", "targets", "quick")
	complete(cmd, "upstream", "memory", "llog", "device")
	complete(cmd, "distribution", distributions...)
	return cmd
}

func (o *benchOptions) run(cmd *cobra.Command) error {
	preset, err := o.choose(cmd)
	if err != nil {
		return err
	}
	var earlier *bench.Report
	if o.compare != "" {
		if earlier, err = readReport(o.compare); err != nil {
			return err
		}
	}
	if err := o.checkFiles(); err != nil {
		return err
	}
	o.announce(cmd, preset.Scenarios)
	o.progress(cmd)
	report, err := o.measure(cmd, preset.Scenarios)
	if errors.Is(err, bench.ErrScenario) {
		return badUsage(cmd, "%w", err)
	}
	if err != nil {
		return err
	}
	met := report.Judge(preset.Targets)
	report.Sweeps = o.sweeps
	if err := o.write(report); err != nil {
		return err
	}
	if err := o.print(cmd, report, earlier); err != nil {
		return err
	}
	if !met {
		return errors.New("a target is missed: see the table")
	}
	return nil
}

// measure runs scenarios. When it returns, nothing that they have written is left.
func (o *benchOptions) measure(cmd *cobra.Command, scenarios []bench.Scenario) (_ *bench.Report, err error) {
	if o.Dir, err = os.MkdirTemp(o.Dir, "lcapcli-bench-"); err != nil {
		return nil, err
	}
	defer joinClose(&err, func() error { return os.RemoveAll(o.Dir) })
	return bench.Run(cmd.Context(), o.Options, scenarios)
}

// choose returns what is to be run, and completes the options.
func (o *benchOptions) choose(cmd *cobra.Command) (p bench.Preset, err error) {
	o.Network = "tcp"
	if o.ipc {
		o.Network = "ipc"
	}
	if o.Memory, err = sizeOf(o.memory); err != nil || o.Memory < 64<<20 {
		return p, badUsage(cmd, "--memory %q: a size such as 256MiB, of 64MiB at least", o.memory)
	}
	if o.batch != "" {
		if o.Batch, err = sizeOf(o.batch); err != nil || o.Batch < config.MinBatch || o.Batch > config.MaxBatch {
			return p, badUsage(cmd, "--batch %q: a size from 16KiB to 4MiB", o.batch)
		}
	}
	if o.Repeat < 1 || o.Duration <= 0 || o.WarmUp < 0 || o.Backlog < 1 {
		return p, badUsage(cmd, "--repeat, --duration and --records must be above 0, and --warm-up not below")
	}
	if o.plot != "" {
		return o.choosePlot(cmd)
	}
	o.Syscalls = true
	if err := o.chooseServer(cmd); err != nil {
		return p, err
	}
	switch o.preset {
	case "targets":
		return o.batched(bench.Targets()), nil
	case "quick":
		if !cmd.Flags().Changed("repeat") {
			o.Repeat = 2
		}
		return o.batched(bench.Quick()), nil
	case "":
		o.Name, o.Scenario.Retained = "custom", o.retained
		if o.Listeners > 0 && !cmd.Flags().Changed("groups") {
			o.Groups = 0
		}
		return bench.Preset{Scenarios: []bench.Scenario{o.Scenario}}, nil
	}
	return p, badUsage(cmd, "preset %q is unknown: targets or quick", o.preset)
}

// batched gives the scenarios of a preset the batches that were asked for.
func (o *benchOptions) batched(p bench.Preset) bench.Preset {
	for i := range p.Scenarios {
		if o.Batch > 0 {
			p.Scenarios[i].Batch = o.Batch
		}
	}
	return p
}

// chooseServer finds the program, or the server that runs.
func (o *benchOptions) chooseServer(cmd *cobra.Command) (err error) {
	if cmd.Flag("server").Changed {
		switch {
		case o.preset != "" || o.Rate != 0 || o.Listeners > 0 || o.Upstream != "memory" || o.retained || o.batch != "" || o.Behind != 0 || o.Batches != 0 || o.Connections != 0:
			return badUsage(cmd, "with --server the load is what that lcapd has: leave out --preset, --upstream, --rate, --retained, --batch, --batches, --connections, --behind and --listeners")
		case len(o.GroupNames) == 0:
			return badUsage(cmd, "--server needs --group, the groups to join; what they are handed is acknowledged")
		}
		o.Groups = len(o.GroupNames)
		o.Server, err = serverOf(cmd)
		return err
	}
	if len(o.GroupNames) > 0 {
		return badUsage(cmd, "--group goes with --server")
	}
	if o.LCAPD != "" {
		return nil
	}
	if self, err := os.Executable(); err == nil {
		o.LCAPD = filepath.Join(filepath.Dir(self), "lcapd")
		if _, err := os.Stat(o.LCAPD); err == nil {
			return nil
		}
	}
	if o.LCAPD, err = exec.LookPath("lcapd"); err != nil {
		return fmt.Errorf("there is no lcapd beside lcapcli, nor in $PATH: name it with --lcapd")
	}
	return nil
}

// progress shows on a terminal what is done.
func (o *benchOptions) progress(cmd *cobra.Command) {
	if info, err := os.Stderr.Stat(); err != nil || info.Mode()&os.ModeCharDevice == 0 || cmd.ErrOrStderr() != os.Stderr {
		return
	}
	o.Progress = func(text string) { cmd.PrintErrf("\r\x1b[K%s", text) }
}

func (o *benchOptions) print(cmd *cobra.Command, report, earlier *bench.Report) error {
	switch form := cmd.Flag("output").Value.String(); form {
	case "table":
		return report.Write(cmd.OutOrStdout(), earlier)
	case "json":
		return encodeReport(cmd.OutOrStdout(), report)
	default:
		return badUsage(cmd, "output %q is unknown here: table or json", form)
	}
}

// sizeOf reads a number of bytes such as 256MiB.
func sizeOf(text string) (int64, error) {
	number, factor := text, int64(1)
	for i, unit := range []string{"KiB", "MiB", "GiB"} {
		if head, ok := strings.CutSuffix(text, unit); ok {
			number, factor = head, 1<<(10*(i+1))
		}
	}
	n, err := strconv.ParseInt(number, 10, 32)
	return n * factor, err
}

// newBenchPeer is what newBench starts this program again as.
func newBenchPeer() *cobra.Command {
	return &cobra.Command{
		Use:    bench.PeerCommand,
		Short:  "A process of lcapcli bench",
		Hidden: true,
		Args:   arguments(0, 0, "no argument"),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return bench.RunPeer(cmd.Context(), cmd.InOrStdin(), cmd.OutOrStdout())
		},
	}
}
