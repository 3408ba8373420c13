package integration

import (
	"flag"
	"testing"

	"github.com/lcapd/lcapd/emulated/emulatedtest"
)

// The tests are the servers of their emulated MDTs too. Those that run side by side wait more than they
// work, so there may be more of them than there are cores.
func TestMain(m *testing.M) {
	const sideBySide = "8"
	flag.Parse()
	isSet := false
	flag.Visit(func(f *flag.Flag) { isSet = isSet || f.Name == "test.parallel" })
	if !isSet {
		_ = flag.Set("test.parallel", sideBySide) // it is a number
	}
	emulatedtest.Main(m)
}
