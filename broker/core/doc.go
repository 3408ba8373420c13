// Package core decides what the broker does: which batches are kept, who gets
// what, what is written to the state, what is cleared. It is pure: events go in
// through Step, outputs come out, and nothing else happens, so whole clusters with
// thousands of failures run in a moment, and every failure replays from its seed.
package core
