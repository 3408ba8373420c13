package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/lcapd/lcapd/changelog"
	"github.com/lcapd/lcapd/client"
)

// What a stream tells beside and around its records, in each format.
func TestStreamOutput(t *testing.T) {
	f := changelog.Fields{Type: changelog.TypeCreat, Format: changelog.Format{Flags: changelog.FlagVersion}, Index: 7, Name: "f"}
	packed, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	rec, _, err := changelog.Next(packed)
	if err != nil {
		t.Fatal(err)
	}
	b := &client.Batch{MDT: "MDT0", Epoch: 3, Delivery: 2, MaybeRedelivered: true, Late: true}
	for _, c := range []struct {
		format         string
		member         bool
		stdout, stderr []string
	}{
		{"json", true, []string{`"filename":"f","epoch":3,"delivery":2,"maybe_redelivered":true,"late":true}`,
			`{"lost":{"mdt":"MDT0","epoch":3,"from":1,"to":9}}`,
			`{"gap":{"mdt":"MDT0","epoch":3,"from":9,"to":12,"count":0,"why":"slow"}}`,
			`{"gap":{"mdt":"MDT0","epoch":3,"from":12,"to":15,"unknown":true}}`},
			[]string{"warning: b: connection reset; trying again in 1s", "warning: b: an acknowledgement came too late"}},
		{"json", false, []string{`"filename":"f","epoch":3,"maybe_redelivered":true,"late":true}`}, nil},
		{"lfs", true, []string{"7 01CREAT"}, []string{"records 2 to 9 (epoch 3) were gone", "gap: 0 records in (9, 12] not received: slow",
			"gap: an unknown number of records in (12, 15]"}},
		{"raw", true, []string{string(packed)}, []string{"were gone", "gap: 0 records"}},
	} {
		var stdout, stderr bytes.Buffer
		cmd := newConsume()
		cmd.SetOut(&stdout)
		cmd.SetErr(&stderr)
		o := streamOptions{output: outputFlags{format: c.format}}
		p, err := o.printer(cmd, c.member)
		if err != nil {
			t.Fatal(err)
		}
		p.event(client.Connected{Addr: "b"})
		p.event(client.Disconnected{Addr: "b", Err: errors.New("b: connection reset"), Again: time.Second})
		p.event(client.LeaseLost{Addr: "b", Lease: 4, Text: "too\nlate"})
		p.event(client.Lost{Addr: "b", MDT: "MDT0", Epoch: 3, From: 1, To: 9})
		err = errors.Join(p.record(client.Record{Record: rec, Batch: b}),
			p.gap(&client.Gap{Addr: "b", MDT: "MDT0", Epoch: 3, From: 9, To: 12, Why: "slow"}),
			p.gap(&client.Gap{Addr: "b", MDT: "MDT0", Epoch: 3, From: 12, To: 15, Unknown: true}), p.flush(), p.failed)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range c.stdout {
			if !strings.Contains(stdout.String(), want) {
				t.Errorf("%s: stdout has no %s:\n%s", c.format, want, &stdout)
			}
		}
		for _, want := range c.stderr {
			if !strings.Contains(stderr.String(), want) {
				t.Errorf("%s: stderr has no %s:\n%s", c.format, want, &stderr)
			}
		}
	}
}
