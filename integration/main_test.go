package integration

import (
	"testing"

	"github.com/lcapd/lcapd/emulated/emulatedtest"
)

// The tests are the servers of their emulated MDTs too.
func TestMain(m *testing.M) { emulatedtest.Main(m) }
