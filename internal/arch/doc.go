// Package arch holds the house rules of lcapd as Go tests. It has no code of its own: run it with
//
//	go test ./internal/arch
//
// The rules, each with its reason beside its test in arch_test.go:
//
//   - Imports point one way, along a table of the rooms.
//   - Only transport knows zmq4.
//   - No locks: one owner for every piece of state. Neither a mutex, nor a channel used as one, nor
//     atomics outside the files that a table names.
//   - The pure rooms (changelog, groups, modules, wire, broker/core) have no goroutine, no channel,
//     no clock, no network and no operating system.
//   - A goroutine starts only where the table "Who owns what" of README.md says so.
//   - Every package and every exported identifier is documented.
//   - No function is longer than 80 lines; no to-do markers; no time.Sleep and no init function
//     outside tests.
//   - deps.txt lists every third-party module that is linked into our commands, with its reason.
//   - Every Go file is seen by these rules: none hides behind a build constraint or a nested module.
//
// The rules look at types, not at text, so neither an alias nor an embedded field gets around them.
// What they cannot see: locks inside the Go runtime and inside third-party modules, a value passed
// back and forth over a channel as a token, and code that is only built for another system.
//
// A rule that is in the way is changed here, in the same commit and with the reason, never worked
// around. Each rule is itself tested in fixture_test.go against testdata/house, a small module that
// breaks it.
package arch
