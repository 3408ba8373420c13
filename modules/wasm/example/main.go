// Command example is a module for lcapd: it keeps the records of jobs whose name begins with a prefix, and cuts
// away who did it. Build it as package guest says.
package main

import (
	"bytes"
	"encoding/json"
	"errors"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/modules/wasm/guest"
)

// options are those of the configuration: options: {prefix: dd.}
var options struct {
	Prefix string `json:"prefix"`
}

var _ = guest.Configure(func(text []byte) error {
	if err := json.Unmarshal(text, &options); err != nil {
		return err
	}
	if options.Prefix == "" {
		return errors.New("prefix is missing: the beginning of the names of jobs, such as \"dd.\"")
	}
	return nil
})

// anonymous are the fields that stay.
var anonymous = changelog.Format{Flags: changelog.FlagRename | changelog.FlagJobID}

var _ = guest.Handle(func(r changelog.Record) guest.Verdict {
	if job, _ := r.JobID(); !bytes.HasPrefix(job, []byte(options.Prefix)) {
		return guest.Drop
	}
	return guest.Change(r.AppendRepacked(nil, anonymous))
})

func main() {}
