package main

import (
	"bufio"
	"bytes"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/changelog"
)

const encodeHelp = `Make packed records from JSON: the inverse of 'decode --format json'.

FILE holds one JSON object a line, with the members that decode writes; only
record_type must be there. A record without a time gets the present one. The
packed records go to standard output, with index 0 where none is given: let
'llog append --renumber' number them.`

// longestLine is the longest line of JSON that is read, in bytes: far above what
// the largest record needs, even with every byte escaped.
const longestLine = 64 << 10

func newEncode() *cobra.Command {
	return &cobra.Command{
		Use:     "encode FILE|-",
		Short:   "Make packed records from JSON",
		Long:    encodeHelp,
		GroupID: "records",
		Example: `  echo '{"record_type":"CREAT","filename":"hello"}' | lcapcli encode - >records.bin`,
		Args:    arguments(1, 1, "one FILE, or - for standard input"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return encode(cmd, args[0])
		},
	}
}

func encode(cmd *cobra.Command, path string) (err error) {
	in, err := openInput(cmd, path)
	if err != nil {
		return err
	}
	defer joinClose(&err, in.Close)
	out := bufio.NewWriter(cmd.OutOrStdout())
	defer joinClose(&err, out.Flush)
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, longestLine)
	var packed []byte
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		if packed, err = encodeLine(packed[:0], lines.Bytes()); err != nil {
			return fmt.Errorf("encode %s: line %d: %w", path, n, err)
		}
		if _, err := out.Write(packed); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("encode %s: %w", path, err)
	}
	return nil
}

func encodeLine(dst, line []byte) ([]byte, error) {
	fields, err := changelog.ParseJSON(line)
	if err != nil {
		return dst, err
	}
	if fields.Time == 0 {
		fields.Time = changelog.TimeOf(time.Now())
	}
	return fields.Append(dst)
}
