package main

import (
	"encoding/json"
	"time"

	"github.com/spf13/cobra"

	"github.com/lcapd/lcapd/llog"
)

// llogInfo is the JSON of 'llog info'. Its names are stable.
type llogInfo struct {
	MDT     string     `json:"mdt"`
	First   uint64     `json:"first"`
	Last    uint64     `json:"last"`
	Current uint64     `json:"current"`
	Records uint64     `json:"records"`
	Bytes   int64      `json:"bytes"`
	Users   []llogUser `json:"users"`
}

type llogUser struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Mask    string    `json:"mask"`
	Cleared uint64    `json:"cleared"`
	Touched time.Time `json:"touched"`
}

const infoHelp = `Describe a changelog in JSON:

  mdt       name of the MDT
  first     index of the oldest record that can be read, 0 without records
  last      index of the newest record that can be read, 0 without records
  current   last index issued, even if its record is gone
  records   how many records can be read
  bytes     what the files take on disk
  users     id, name, mask ("" for everything), cleared: the last index
            cleared, touched: time of the last clear or of the registration`

func newLlogInfo() *cobra.Command {
	return &cobra.Command{
		Use:     "info DIR",
		Short:   "Describe a changelog in JSON",
		Long:    infoHelp,
		Example: "  lcapcli llog info /tmp/log",
		Args:    arguments(1, 1, "one DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			log, err := llog.Open(args[0])
			if err != nil {
				return err
			}
			info, err := log.Info()
			if err != nil {
				return err
			}
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(describeInfo(info))
		},
	}
}

func describeInfo(info llog.Info) llogInfo {
	out := llogInfo{
		MDT: info.MDT, First: info.First, Last: info.Last, Current: info.Current,
		Records: info.Records, Bytes: info.Bytes, Users: []llogUser{},
	}
	for _, u := range info.Users {
		out.Users = append(out.Users, llogUser{
			ID: u.ID.String(), Name: u.Name, Mask: u.Mask.Join(","), Cleared: u.Cleared, Touched: u.Touched,
		})
	}
	return out
}
