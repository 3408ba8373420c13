// Package sourcetest is the conformance suite of sources: what package upstream
// promises of a [upstream.Source], as tests that every implementation runs.
//
// A test of a driver calls [Run] with a function that makes a fresh source, and the
// means to do to its changelog what somebody else would do: see [Harness].
package sourcetest
