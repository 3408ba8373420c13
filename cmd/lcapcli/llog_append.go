package main

import (
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/llog"
)

const appendHelp = `Append packed records to a changelog.

FILE holds records back to back, as 'lcapcli decode --format raw' writes them;
- stands for standard input. They keep their indexes, which must increase and lie
above the last one in the log; with --renumber they get the next ones instead.

Records are stored in the order of the file. At the first one that cannot be
stored the command stops and says what was stored before it.`

// appendBatch is how many bytes are appended at once.
const appendBatch = 1 << 20

type appendOptions struct {
	renumber bool
	sync     string
}

func newLlogAppend() *cobra.Command {
	var o appendOptions
	cmd := &cobra.Command{
		Use:     "append DIR FILE|-",
		Short:   "Append packed records",
		Long:    appendHelp,
		Example: "  lcapcli llog append /tmp/log records.bin\n  lcapcli llog append --renumber /tmp/log - <records.bin",
		Args:    arguments(2, 2, "DIR and FILE, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return o.run(cmd, args[0], args[1])
		},
	}
	cmd.Flags().BoolVar(&o.renumber, "renumber", false, "give the records the next indexes of the log")
	cmd.Flags().StringVar(&o.sync, "sync", "each", "when to force records to disk: each (every MiB), never, or a time such as 1s")
	complete(cmd, "sync", "each", "never", "1s")
	return cmd
}

func parseSync(s string) (llog.SyncPolicy, error) {
	switch s {
	case "each":
		return llog.SyncEach, nil
	case "never":
		return llog.SyncNever, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 {
		return 0, fmt.Errorf("%q is neither each, never nor a time such as 1s", s)
	}
	return llog.SyncEvery(d), nil
}

func (o *appendOptions) run(cmd *cobra.Command, dir, path string) (err error) {
	policy, err := parseSync(o.sync)
	if err != nil {
		return badUsage(cmd, "--sync %w", err)
	}
	in, err := openInput(cmd, path)
	if err != nil {
		return err
	}
	defer joinClose(&err, in.Close)
	log, err := llog.Open(dir)
	if err != nil {
		return err
	}
	appender, err := log.NewAppender(llog.AppendOptions{Sync: policy})
	if err != nil {
		return err
	}
	if torn := appender.TornTail(); torn != nil {
		cmd.PrintErrf("lcapcli: warning: %s ended in a record that was not written whole; %d bytes behind index %d were cut\n", torn.File, torn.Bytes, torn.After)
	}
	total := llog.Appended{}
	err = o.copyIn(cmd, appender, changelog.NewReader(in), &total)
	joinClose(&err, appender.Close)
	if err != nil {
		hint := ""
		if errors.Is(err, changelog.ErrIndexOrder) {
			hint = " (--renumber gives them new ones)"
		}
		return fmt.Errorf("%s: %w%s; stored before: %s", path, err, hint, describe(total))
	}
	fmt.Fprintf(cmd.OutOrStdout(), "stored %s\n", describe(total))
	return nil
}

func describe(a llog.Appended) string {
	text := fmt.Sprintf("%d records", a.Records)
	if a.Records > 0 {
		text += fmt.Sprintf(", index %d to %d", a.First, a.Last)
	}
	if a.Masked > 0 {
		text += fmt.Sprintf("; left out %d whose type no user wants", a.Masked)
	}
	return text
}

// copyIn appends the records of in, a batch at a time. What precedes a bad record
// is appended.
func (o *appendOptions) copyIn(cmd *cobra.Command, appender *llog.Appender, in *changelog.Reader, total *llog.Appended) error {
	batch := make([]byte, 0, appendBatch+changelog.MaxRecordSize)
	flush := func() error {
		add := appender.Append
		if o.renumber {
			add = appender.AppendNew
		}
		done, err := add(cmd.Context(), batch)
		batch = batch[:0]
		addUp(total, done)
		return err
	}
	err := records(in, func(r changelog.Record) error {
		batch = append(batch, r.Bytes()...)
		if len(batch) < appendBatch {
			return nil
		}
		return flush()
	})
	if flushErr := flush(); flushErr != nil {
		return flushErr
	}
	return err
}

func addUp(total *llog.Appended, a llog.Appended) {
	if total.Records == 0 {
		total.First = a.First
	}
	if a.Records > 0 {
		total.Last = a.Last
	}
	total.Records += a.Records
	total.Masked += a.Masked
}
