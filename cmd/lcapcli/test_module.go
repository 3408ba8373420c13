package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/tetratelabs/wazero"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/modules/wasm"
)

const testModuleHelp = `Run a chain of modules over packed records, and show what happens to each record.

The chain is the text of a configuration, or @ and the name of a file with it:

  [{filter: {types: "CREAT CLOSE UNLNK"}}, {coalesce: {age: 5s}}, cancel]

FILE holds the records of one MDT, in order; - stands for standard input. Records
come at their own times, so a window that looks 5s back does so here.

For each record there is a line:

  keep     it passes as it is
  change   it passes, but not as it came
  drop     it does not; the reason follows as MODULE:RULE, and <INDEX if another
           record is the cause
  +MODULE  before that, it was held by the module

The modules are:
`

// testModule is what the command was told.
type testModule struct {
	chain, consumers, scope, format, mdt string
	oneMDT, whole, summary               bool
	after, ceiling                       uint64
}

func newTestModule() *cobra.Command {
	var o testModule
	cmd := &cobra.Command{
		Use:     "test-module --chain CHAIN FILE|-",
		Short:   "Show what a chain of modules does with records",
		Long:    testModuleHelp + moduleList(),
		GroupID: "records",
		Example: "  lcapcli test-module --chain '[{filter: {where: \"uid == 0\"}}]' records.bin\n" +
			"  lcapcli test-module --chain @chain.yaml --consumers state --format json records.bin",
		Args: arguments(1, 1, "one FILE, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, args[0]) },
	}
	f := cmd.Flags()
	f.StringVar(&o.chain, "chain", "", "the chain, or @FILE")
	f.StringVar(&o.consumers, "consumers", modules.Changes.String(), "what the consumers need: every-record, changes or state")
	f.StringVar(&o.scope, "for", "group", "who gets the records: group, listeners or all")
	f.BoolVar(&o.oneMDT, "one-mdt", false, "the file system has one MDT")
	f.BoolVar(&o.whole, "whole-batches", false, "the consumers take and acknowledge whole batches")
	f.Uint64Var(&o.ceiling, "ceiling", 0, "records up to this index may have been handed out before")
	f.StringVar(&o.format, "format", "lfs", "how records are written: lfs or json")
	f.StringVar(&o.mdt, "mdt", "", "the name of the MDT, for JSON")
	f.BoolVar(&o.summary, "summary", false, "only count")
	complete(cmd, "consumers", "every-record", "changes", "state")
	complete(cmd, "for", "group", "listeners", "all")
	complete(cmd, "format", "lfs", "json")
	return cmd
}

// moduleKinds are all modules that there are. What is compiled of WebAssembly is kept until the program ends.
func moduleKinds(cache wazero.CompilationCache) []modules.Kind {
	return append(modules.Builtin(), wasm.Kind(cache))
}

// moduleList describes them for the help.
func moduleList() string {
	var text strings.Builder
	for _, k := range moduleKinds(nil) {
		fmt.Fprintf(&text, "\n  %-9s%s", k.Name, k.Summary)
	}
	return text.String()
}

// plan compiles the chain.
func (o *testModule) plan(cmd *cobra.Command) (*modules.Plan, error) {
	scopes := map[string]modules.Scope{"group": modules.ForGroup, "listeners": modules.ForListeners, "all": modules.ForAll}
	scope, ok := scopes[o.scope]
	consumers, err := modules.ParseConsumers(o.consumers)
	switch {
	case !cmd.Flags().Changed("chain"):
		return nil, badUsage(cmd, "--chain is missing: a list of modules such as [{filter: {types: CREAT}}], or @FILE")
	case !ok:
		return nil, badUsage(cmd, "--for %q is unknown; it may be group, listeners or all", o.scope)
	case err != nil:
		return nil, badUsage(cmd, "--consumers: %w", err)
	case o.format != "lfs" && o.format != "json":
		return nil, badUsage(cmd, "format %q is unknown; the formats are lfs and json", o.format)
	}
	text, err := chainText(o.chain)
	if err != nil {
		return nil, err
	}
	specs, err := modules.ParseSpecs(text)
	if err != nil {
		return nil, badUsage(cmd, "%w", err)
	}
	plan, err := modules.Parse(specs, moduleKinds(wazero.NewCompilationCache()), modules.Use{Scope: scope, Consumers: consumers, OneMDT: o.oneMDT, Whole: o.whole})
	if err != nil {
		return nil, badUsage(cmd, "%w", err)
	}
	return plan, nil
}

// chainText returns the text of a chain, which may be in a file: @FILE.
func chainText(text string) (string, error) {
	file, ok := strings.CutPrefix(text, "@")
	if !ok {
		return text, nil
	}
	b, err := os.ReadFile(file)
	return string(b), err
}

func (o *testModule) run(cmd *cobra.Command, path string) (err error) {
	plan, err := o.plan(cmd)
	if err != nil {
		return err
	}
	in, err := openInput(cmd, path)
	if err != nil {
		return err
	}
	defer joinClose(&err, in.Close)
	x := &explainer{testModule: o, out: bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10), permutes: plan.Permutes(), fates: map[uint64]*fate{}}
	defer joinClose(&err, x.out.Flush)
	if err := x.all(plan, changelog.NewReader(in)); err != nil {
		hint := ""
		if errors.Is(err, changelog.ErrIndexOrder) {
			hint = "; records that 'lcapcli encode' made have indexes if each line of its JSON has one, such as \"index\":1"
		}
		return fmt.Errorf("test-module %s: %w%s", path, err, hint)
	}
	return nil
}

// explainer runs a chain and tells what it does. The records of which not all is known yet are in line, by index; what is known about
// them is in fates. Both are as small as the windows of the chain.
type explainer struct {
	*testModule
	out   *bufio.Writer
	chain *modules.Chain
	line  []changelog.Record
	fates map[uint64]*fate
	// left are the records that came out, if the chain may change their order.
	left     []uint64
	permutes bool
	buf      []byte
}

// fate is what became of a record.
type fate struct {
	events []modules.Event
	out    changelog.Record // what came out, if something did
}

// all runs the chain over all records.
func (x *explainer) all(plan *modules.Plan, in *changelog.Reader) (err error) {
	in.Ordered = true
	var now time.Time
	err = records(in, func(r changelog.Record) error {
		if x.chain == nil {
			x.after = r.Index() - 1
			x.start(plan)
		}
		if t := r.Time().Time(); t.After(now) {
			now = t
		}
		r = r.Clone()
		x.line = append(x.line, r)
		x.fates[r.Index()] = &fate{}
		b, err := x.chain.Push(now, modules.Batch{From: x.after, To: r.Index(), Records: r.Bytes(), Count: 1})
		x.after = r.Index()
		return x.take(b, err)
	})
	if x.chain == nil {
		x.start(plan)
	}
	defer joinClose(&err, x.chain.Close)
	if err == nil {
		b, failed := x.chain.Flush(now)
		err = x.take(b, failed)
	}
	return errors.Join(err, x.sum())
}

// start makes the chain when it is known where the records begin.
func (x *explainer) start(plan *modules.Plan) {
	x.chain = plan.New(modules.Start{After: x.after, Ceiling: x.ceiling})
	x.chain.Trace(func(e modules.Event) {
		f := x.fates[e.Index]
		f.events = append(f.events, e)
	})
}

// take prints the records at the front of the line of which all is known.
func (x *explainer) take(b modules.Batch, err error) error {
	if err != nil {
		return err
	}
	for scan := changelog.NewScanner(b.Records); scan.Scan(); {
		x.fates[scan.Last].out = scan.Record()
		if x.permutes {
			x.left = append(x.left, scan.Last)
		}
	}
	for len(x.line) > 0 && x.line[0].Index() <= b.To {
		r := x.line[0]
		x.line = x.line[1:]
		if !x.summary {
			x.print(r, x.fates[r.Index()])
		}
		delete(x.fates, r.Index())
	}
	return nil
}

// print tells what became of a record.
func (x *explainer) print(r changelog.Record, f *fate) {
	verdict, reason := "keep", ""
	var held []string
	end := modules.Event{}
	for _, e := range f.events {
		switch e.Verdict {
		case modules.Holding:
			held = append(held, e.Name)
		case modules.Changed:
			verdict, reason, end = "change", e.Name, e
			r = f.out
		case modules.Dropped:
			verdict, reason, end = "drop", e.Name+":"+e.Rule, e
			if e.Because != 0 {
				reason += fmt.Sprintf(" <%d", e.Because)
			}
		}
	}
	if x.format == "json" {
		x.printJSON(r, verdict, held, end)
		return
	}
	for _, name := range held {
		reason = strings.TrimSpace("+" + name + " " + reason)
	}
	x.buf = fmt.Appendf(x.buf[:0], "%-7s %-40s ", verdict, reason)
	x.buf = r.AppendLFS(x.buf)
	x.out.Write(x.buf) // its errors show at the end
}

// printJSON tells what became of a record, as members of its object.
func (x *explainer) printJSON(r changelog.Record, verdict string, held []string, e modules.Event) {
	x.buf = r.AppendJSON(x.buf[:0], x.mdt)
	more, err := json.Marshal(struct {
		Verdict string   `json:"verdict"`
		Held    []string `json:"held_by,omitempty"`
		Module  string   `json:"module,omitempty"`
		Rule    string   `json:"rule,omitempty"`
		Because uint64   `json:"because,omitempty"`
	}{verdict, held, e.Name, e.Rule, e.Because})
	if err != nil {
		panic(err) // texts and numbers can always be written
	}
	x.buf = append(append(x.buf[:len(x.buf)-1], ','), more[1:]...)
	x.out.Write(append(x.buf, '\n'))
}

// sum prints the counters.
func (x *explainer) sum() error {
	if x.format == "json" {
		return json.NewEncoder(x.out).Encode(map[string]any{"summary": summaries(x.chain.Stats())})
	}
	if !x.summary {
		fmt.Fprintln(x.out)
	}
	for _, s := range x.chain.Stats() {
		fmt.Fprintf(x.out, "modules[%d] %s: in %d, kept %d", s.Module, s.Name, s.In, s.Kept)
		if s.Changed > 0 {
			fmt.Fprintf(x.out, " (%d changed)", s.Changed)
		}
		for _, rule := range s.Dropped {
			if rule.Records > 0 {
				fmt.Fprintf(x.out, ", dropped by %s %d", rule.Rule, rule.Records)
			}
		}
		if s.Held.Records > 0 {
			fmt.Fprintf(x.out, ", held %d from index %d on", s.Held.Records, s.Held.Oldest)
		}
		fmt.Fprintln(x.out)
		if s.Health != nil {
			fmt.Fprintf(x.out, "modules[%d] %s: %s\n", s.Module, s.Name, oneLine(s.Health.Error()))
		}
	}
	if len(x.left) > 0 {
		fmt.Fprintf(x.out, "order: %s\n", strings.Trim(fmt.Sprint(x.left), "[]"))
	}
	return nil
}

// summaries are the counters as JSON has them.
func summaries(stats []modules.Stats) []any {
	all := []any{}
	for _, s := range stats {
		dropped := map[string]uint64{}
		for _, rule := range s.Dropped {
			dropped[rule.Rule] = rule.Records
		}
		m := map[string]any{"module": s.Name, "in": s.In, "kept": s.Kept, "changed": s.Changed, "dropped": dropped, "held": s.Held.Records}
		if s.Health != nil {
			m["failed"] = s.Health.Error()
		}
		all = append(all, m)
	}
	return all
}
