package modules_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/lcapd/lcapd/modules"
)

// What comes again of a group must not be the birth of an object whose death was dropped with it.
func TestCancelAndWhatComesAgain(t *testing.T) {
	for _, c := range []struct {
		again modules.Again
		chain string
		says  string // "" if it is allowed
	}{
		{modules.AgainAll, "[cancel]", ""},
		{modules.AgainObjects, "[cancel]", "parent: drop"},
		{modules.AgainObjects, "[{cancel: {parent: drop}}]", ""},
		{modules.AgainAlone, "[cancel]", "distribution mdt"},
		{modules.AgainAlone, "[{cancel: {parent: drop}}]", "distribution mdt"},
		{modules.AgainAlone, "[coalesce]", ""},
	} {
		specs, err := modules.ParseSpecs(c.chain)
		if err != nil {
			t.Fatal(err)
		}
		_, err = modules.Parse(specs, modules.Builtin(), modules.Use{Consumers: modules.State, Again: c.again})
		if c.says == "" && err != nil || c.says != "" && (!errors.Is(err, modules.ErrUnsafe) || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s, %d: %v, want an error with %q", c.chain, c.again, err, c.says)
		}
	}
}
