package modules_test

import (
	"testing"
	"time"

	"github.com/lcapd/lcapd/modules"
	"github.com/lcapd/lcapd/modules/moduletest"
)

// Every module passes the conformance suite, alone and with others.
func TestConformance(t *testing.T) {
	const window = "{records: 20, bytes: 64KiB, age: 3s}"
	group := modules.Use{Consumers: modules.Changes}
	state := modules.Use{Consumers: modules.State, OneMDT: true, Whole: true}
	listeners := modules.Use{Scope: modules.ForListeners}
	for _, c := range []struct {
		name, chain string
		use         modules.Use
		windows     int
	}{
		{"nothing", ``, group, 0},
		{"filter types", `[{filter: {types: CREAT UNLNK RENME}}]`, group, 0},
		{"filter where", `[{filter: {where: 'uid == 1 || jobid startsWith "job.2"'}}]`, group, 0},
		{"coalesce", `[{coalesce: ` + window + `}]`, group, 1},
		{"coalesce state", `[{coalesce: ` + window + `}]`, state, 1},
		{"cancel", `[{cancel: ` + window + `}]`, group, 1},
		{"cancel state", `[{cancel: {records: 20, bytes: 64KiB, age: 3s, parent: drop}}]`, state, 1},
		{"reorder", `[{reorder: ` + window + `}]`, state, 1},
		{"project", `[{project: {fields: [rename]}}]`, group, 0},
		{"sample", `[{sample: {one_in: 3}}]`, listeners, 0},
		{"sample records", `[{sample: {one_in: 3, by: record}}]`, listeners, 0},
		{"rate", `[{rate: {records: 20, burst: 30}}]`, listeners, 0},
		{"all", `[{filter: {types: -OPEN}}, {cancel: ` + window + `}, {coalesce: ` + window + `}, {filter: {where: 'uid != 2'}}, {reorder: ` + window + `}, {project: {fields: [rename]}}]`, state, 3},
		{"coalesce first", `[{coalesce: ` + window + `}, {cancel: ` + window + `}]`, state, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			moduletest.Run(t, moduletest.Case{
				Chain: c.chain, Use: c.use, Records: 20 * c.windows, Bytes: int64(64<<10) * int64(c.windows), Age: 3 * time.Second * time.Duration(c.windows),
			})
		})
	}
}

// A window that is bounded by bytes alone.
func TestConformanceOfBytes(t *testing.T) {
	for _, module := range []string{"coalesce", "cancel", "reorder"} {
		moduletest.Run(t, moduletest.Case{
			Chain: `[{` + module + `: {records: 100000, bytes: 64KiB, age: 1h}}]`, Use: modules.Use{Consumers: modules.State, Whole: true},
			Records: 100_000, Bytes: 64 << 10, Age: time.Hour, Seeds: 20,
		})
	}
}
