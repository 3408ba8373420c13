package arch

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"sync"
	"testing"
)

// root is the root of our module, seen from this folder.
const root = "../.."

// loadOurs loads our own module once for all rules.
var loadOurs = sync.OnceValues(func() (*house, error) { return loadHouse(root) })

// Why: rules about types need code that type-checks.
func TestHouseBuilds(t *testing.T) {
	if _, err := loadOurs(); err != nil {
		t.Fatal(err)
	}
}

// ours returns our own module.
func ours(t *testing.T) *house {
	t.Helper()
	h, err := loadOurs()
	if err != nil {
		t.Fatal("not checked, see TestHouseBuilds")
	}
	return h
}

// enforce fails the test for every violation, and says what to do instead.
func enforce(t *testing.T, instead string, found []violation) {
	t.Helper()
	for _, v := range tidy(found) {
		t.Errorf("%s\n\tInstead: %s", v, instead)
	}
}

// mayImport maps each room to the rooms of ours that it may import. Packages below a room share its
// row, unless they have one of their own. Tests may import what they like.
//
// Why: a room can be understood, tested and replaced alone only as long as it does not know who uses
// it. In particular the broker knows neither the drivers upstream nor zmq4: main plugs them in.
var mayImport = map[string][]string{
	"changelog": {},            // the record: everybody's vocabulary
	"config":    {},            // read once by main, which hands on plain values
	"llog":      {"changelog"}, // a changelog on local disk
	"groups":    {"changelog"}, // rules only
	"modules":   {"changelog"}, // records in, records out
	"wire":      {"changelog"}, // what is said, not how it travels
	"upstream":  {"changelog", "llog"},
	// The conformance suite of all drivers: it imports upstream, and only tests import it.
	"upstream/sourcetest": {"changelog", "llog", "upstream"},
	// The conformance suite of all modules: only tests import it.
	"modules/moduletest": {"changelog", "modules"},
	// Users' modules reach into a virtual machine, with deadlines, and are read from files.
	"modules/wasm": {"changelog", "modules"},
	// What users' modules in Go link, and an example of one.
	"modules/wasm/guest":   {"changelog"},
	"modules/wasm/example": {"changelog", "modules/wasm/guest"},
	// The changelog device of an MDT that is not there: what a program meets that knows none of us.
	"emulated": {"changelog", "llog", "emulated/fuse"},
	// The kernel protocol has its own row because it serves whatever it is told to.
	"emulated/fuse": {},
	// For tests; programs do not import it.
	"emulated/emulatedtest": {"changelog", "llog", "emulated", "emulated/fuse"},
	"broker":                {"changelog", "groups", "modules", "wire", "broker/core", "broker/ingest", "broker/scatter", "broker/state"},
	// The core has its own row because it must not see the goroutines around it.
	"broker/core": {"changelog", "groups", "modules", "wire"},
	// The stages before and behind the loop have rows of their own because they must not see it.
	"broker/ingest":  {"changelog", "groups", "modules", "broker/core"},
	"broker/scatter": {"changelog", "groups", "broker/core"},
	// The store has its own row because it keeps what others decide.
	"broker/state": {"changelog", "groups"},
	"transport":    {"wire"},
	// The conversation: what a connection says, done by the broker.
	"serve":  {"broker", "broker/core", "changelog", "groups", "modules", "transport", "wire"},
	"client": {"wire", "changelog", "transport"},
	// For users' tests it runs a whole lcapd; programs do not import it.
	"client/clienttest": {"broker", "broker/core", "broker/state", "changelog", "client", "groups", "serve", "transport", "upstream"},
	// Nothing imports these, so they may know everybody.
	"cmd":         {anything},
	"integration": {anything},
	"internal":    {anything},
	// It measures the whole as users meet it: processes, and members made of the client library; and the loop
	// alone, with more members than there can be processes.
	"internal/bench":    {"changelog", "client", "internal/chart", "internal/coreload", "llog", "upstream", "wire"},
	"internal/coreload": {"broker/core", "groups"},
	// Pictures know numbers and names, not what they mean.
	"internal/chart": {},
}

func TestImportsPointOneWay(t *testing.T) {
	enforce(t, "move the code to a room that may know the other, or declare a small interface for main to fill; "+
		"a new room or a new arrow goes into the table mayImport (internal/arch/arch_test.go) with its reason, and into the design",
		checkImports(ours(t), mayImport))
}

// Why: a change of the ZMTP library, or a bug in it, must touch one room.
func TestOnlyTransportImportsZMQ(t *testing.T) {
	enforce(t, "go through the package transport, also in tests; a hostile peer is a plain net.Conn",
		checkOnlyImporter(ours(t), "github.com/go-zeromq/zmq4", "transport"))
}

// Why: with one owner for every piece of state there is no lock order to keep in one's head, no
// deadlock, and every failure of the core replays from its inputs.
func TestNoLocks(t *testing.T) {
	enforce(t, "give the state to one goroutine and send it messages; sync.Once*, Pool and WaitGroup are allowed",
		checkLocks(ours(t)))
}

// wakeUps are the files that make a chan struct{} of size one, with what it is if not a mutex: as a
// rule a wake-up signal, which one side only sends and the other only receives.
var wakeUps = []exception{
	{"llog/bell.go", "a wake-up: the bell sends, the reader that waits receives; one that is pending is enough"},
}

// Why: a channel used as a mutex is a mutex.
func TestNoChannelIsAMutex(t *testing.T) {
	enforce(t, "give the state to one goroutine; a file with a wake-up signal goes into the table wakeUps (internal/arch/arch_test.go)",
		checkTokens(ours(t), wakeUps))
}

// atomicFiles are the files that may use sync/atomic, tests included, with the reason.
var atomicFiles = []exception{
	{"transport/accounts.go", "room in a peer's queue, the bytes all peers may be sending, counters: whoever changes them must wait for nobody"},
	{"broker/history.go", "batches that listeners may still see are taken away by the loop, which must wait for no listener; counts that operators look at"},
	{"broker/views.go", "views that listeners may still find are taken away by the loop, which must wait for no listener; counts that operators look at"},
}

// Why: an atomic is state with two owners. Few places need one, and each must argue its case.
func TestAtomicsAreExceptions(t *testing.T) {
	enforce(t, "give the state to one goroutine, or put the file into the table atomicFiles (internal/arch/arch_test.go) with the reason",
		checkAtomics(ours(t), atomicFiles))
}

// pureRooms compute and nothing else.
var pureRooms = []string{"changelog", "groups", "modules", "wire", "broker/core"}

// notPure are the rooms below those that are not.
var notPure = []string{"modules/wasm"}

// Why: what has time and events as inputs runs whole clusters with thousands of failures in
// milliseconds, and replays any of them from its seed.
func TestPureRooms(t *testing.T) {
	enforce(t, "take time, bytes and events as arguments and return what is to be done; the caller outside the room does it",
		checkPure(ours(t), pureRooms, notPure))
}

// Why: who cannot say which goroutine owns what, and when it ends, cannot do without locks.
func TestGoroutinesHaveOwners(t *testing.T) {
	readme, err := os.ReadFile(root + "/README.md")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	enforce(t, "keep the table under \""+ownerHeading+"\" of README.md, column \""+ownerColumn+"\", in step with the code",
		checkGoroutines(ours(t), string(readme)))
}

// Why: the package comment is where a newcomer starts.
func TestPackagesAreDocumented(t *testing.T) {
	enforce(t, "keep exactly one package comment, as a rule in doc.go, beginning with \"Package name\" or \"Command name\"",
		checkPackageDocs(ours(t)))
}

// Why: who uses a package reads its documentation, not its code.
func TestExportedNamesAreDocumented(t *testing.T) {
	enforce(t, "say in a doc comment what it is, or make it unexported",
		checkDocs(ours(t)))
}

// Why: what does not fit on a screen does not fit in a head.
func TestFunctionsAreShort(t *testing.T) {
	enforce(t, "split it into functions of at most 80 lines along what they are about",
		checkLength(ours(t), 80))
}

// Why: nobody comes back for them.
func TestNoMarkers(t *testing.T) {
	enforce(t, "do it now, or describe the limit where its users will read it",
		checkMarkers(ours(t)))
}

// Why: who sleeps guesses how long something takes, and hears nobody meanwhile.
func TestNoSleep(t *testing.T) {
	enforce(t, "wait for the event, or for a timer in a select that also ends with the context",
		checkSleep(ours(t)))
}

// Why: what happens before main cannot be configured, tested or left out.
func TestNoInit(t *testing.T) {
	enforce(t, "call it from main, or initialise the variable where it is declared",
		checkInit(ours(t)))
}

// hiddenFiles are the files that are only built elsewhere, with the reason.
var hiddenFiles = []exception{
	{"broker/spoil_race.go", "only programs with the race detector overwrite memory before it is used again; it has no state"},
}

// Why: a build constraint or a nested module would get around every other rule.
func TestEveryFileIsSeen(t *testing.T) {
	enforce(t, "drop the build constraint, or put the file into the table hiddenFiles (internal/arch/arch_test.go) with the reason",
		checkSeen(ours(t), hiddenFiles))
}

// Why: every third-party module is code that we answer for and do not read. Each needs a reason.
func TestModulesAreListed(t *testing.T) {
	linked, err := linkedModules(root, ours(t).module)
	if err != nil {
		t.Fatal(err)
	}
	list, err := os.ReadFile("deps.txt")
	if err != nil {
		t.Fatal(err)
	}
	enforce(t, "do without the module, or keep internal/arch/deps.txt in step, with the reason for each module",
		checkModules(linked, "internal/arch/deps.txt", string(list)))
}

// Why: a table row without a reason is a rule that nobody can ever lift.
func TestExceptionsHaveReasons(t *testing.T) {
	for _, table := range [][]exception{wakeUps, atomicFiles, hiddenFiles} {
		for _, row := range table {
			if strings.TrimSpace(row.why) == "" {
				t.Errorf("%s is excused without a reason", row.file)
			}
		}
	}
}
