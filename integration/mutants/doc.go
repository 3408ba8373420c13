// Package mutants holds plausible bugs of groups and the broker's core, as patches, and the test
// that a simulation, or another test of the room, finds each of them.
package mutants
