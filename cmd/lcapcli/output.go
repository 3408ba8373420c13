package main

import (
	"bufio"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/changelog"
)

// outputFlags are the options of commands that print records.
type outputFlags struct {
	format string
	fields []string
}

func (f *outputFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.format, "format", "lfs", "how records are written: lfs, json or raw (packed)")
	cmd.Flags().StringSliceVar(&f.fields, "fields", nil,
		"keep only these optional fields: "+strings.Join(changelog.FormatNames(), ",")+" (default: as they are)")
	complete(cmd, "format", "lfs", "json", "raw")
	complete(cmd, "fields", changelog.FormatNames()...)
}

// complete offers the values of a flag to the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag does not exist: a mistake in this program
	}
}

// printer writes records to a stream in the chosen form.
type printer struct {
	out    *bufio.Writer
	mdt    string
	want   *changelog.Format // nil: records as they are
	line   func(dst []byte, r changelog.Record, mdt string) []byte
	tail   func(dst []byte) []byte // more members of a JSON object; may be nil
	packed []byte                  // the record, repacked
	buf    []byte                  // what is written for it
}

// printer returns a printer for cmd's output. What a pitfall of the wanted fields
// spoils is said on stderr.
func (f *outputFlags) printer(cmd *cobra.Command, mdt string) (*printer, error) {
	p := &printer{out: bufio.NewWriterSize(cmd.OutOrStdout(), 64<<10), mdt: mdt}
	switch f.format {
	case "lfs":
		p.line = func(dst []byte, r changelog.Record, _ string) []byte { return r.AppendLFS(dst) }
		p.want = &changelog.FormatAll // as lfs asks of its library
	case "json":
		p.line = func(dst []byte, r changelog.Record, mdt string) []byte { return p.endJSON(r.AppendJSON(dst, mdt)) }
	case "raw":
		p.line = func(dst []byte, r changelog.Record, _ string) []byte { return append(dst, r.Bytes()...) }
	default:
		return nil, badUsage(cmd, "format %q is unknown; the formats are lfs, json and raw", f.format)
	}
	if cmd.Flags().Changed("fields") {
		want, err := changelog.ParseFormat(f.fields)
		if err != nil {
			return nil, badUsage(cmd, "--fields: %w", err)
		}
		if pitfall := want.Pitfall(); pitfall != "" {
			cmd.PrintErrf("lcapcli: warning: --fields: %s\n", pitfall)
		}
		p.want = &want
	}
	return p, nil
}

// print writes one record. Errors of the stream show at flush.
func (p *printer) print(r changelog.Record) error {
	if p.want != nil {
		p.packed = r.AppendRepacked(p.packed[:0], *p.want)
		var err error
		if r, _, err = changelog.Next(p.packed); err != nil {
			return err
		}
	}
	p.buf = p.line(p.buf[:0], r, p.mdt)
	_, err := p.out.Write(p.buf)
	return err
}

// endJSON ends a line with a JSON object, which never is an empty one.
func (p *printer) endJSON(dst []byte) []byte {
	if p.tail != nil {
		dst = append(p.tail(dst[:len(dst)-1]), '}')
	}
	return append(dst, '\n')
}

func (p *printer) flush() error { return p.out.Flush() }

// records feeds each record of r to use, until its end.
func records(r *changelog.Reader, use func(changelog.Record) error) error {
	for {
		rec, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = use(rec)
		}
		if err != nil {
			return err
		}
	}
}
