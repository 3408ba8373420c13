package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/changelog"
)

const decodeHelp = `Print packed changelog records as text.

FILE holds records as the changelog device of a Lustre client delivers them,
back to back; - stands for standard input. The text is what "lfs changelog"
prints. With --fields the records are first cut down to the named optional
fields, as Lustre's client library does it for its callers.

Decoding stops at the first bytes that are not a record, and says where. What
came before is printed.`

func newDecode() *cobra.Command {
	var output outputFlags
	var mdt string
	cmd := &cobra.Command{
		Use:     "decode FILE|-",
		Short:   "Print packed records as text, JSON, or packed again",
		Long:    decodeHelp,
		GroupID: "records",
		Example: "  lcapcli decode records.bin\n" +
			"  lcapcli decode --format json --mdt lustre-MDT0000 records.bin\n" +
			"  lcapcli decode --format raw --fields jobid,extra,uidgid records.bin >cut.bin",
		Args: arguments(1, 1, "one FILE, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return decode(cmd, args[0], mdt, &output)
		},
	}
	output.add(cmd)
	cmd.Flags().StringVar(&mdt, "mdt", "", "the name of the MDT, for JSON")
	return cmd
}

func decode(cmd *cobra.Command, path, mdt string, output *outputFlags) (err error) {
	p, err := output.printer(cmd, mdt)
	if err != nil {
		return err
	}
	in, err := openInput(cmd, path)
	if err != nil {
		return err
	}
	defer joinClose(&err, in.Close)
	defer joinClose(&err, p.flush)
	if err := records(changelog.NewReader(in), p.print); err != nil {
		return fmt.Errorf("decode %s: %w", path, err)
	}
	return nil
}

// openInput opens a file of records, or standard input for "-".
func openInput(cmd *cobra.Command, path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		joinClose(&err, f.Close)
		return nil, fmt.Errorf("%s is a directory; 'lcapcli changelog DIR' reads a local changelog", path)
	}
	return f, nil
}
