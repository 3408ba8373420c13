// Package modules pre-processes the stream of one MDT, for one group, for listeners or for
// everybody: it drops, merges, changes and reorders records, and accounts for every index
// that it took, so that the acknowledged mark stays exact and a crash loses nothing.
//
// A [Chain] is a row of modules. Batches go in ([Chain.Push]), derived batches come out: a
// derived batch covers a range of indexes, and every index in it was either dropped or is a
// record of the batch. What a module still holds is never covered, so the mark of a group
// stays below it, and after a crash it is read again. Time goes in too ([Chain.Tick]):
// the package is pure, it has no goroutine, no clock and no file.
//
// A chain is configured by [Spec] values, a list of names with options ([ParseSpecs]).
// [Parse] checks them against the modules that exist ([Builtin], and what the caller adds),
// against what the consumers said of themselves ([Use]), and against each other. It compiles
// what is to be compiled once; the [Plan] then makes any number of chains.
//
// # The modules
//
//   - filter keeps the records of some types, or those that an expression is true of.
//   - coalesce drops a refresh (CLOSE, SATTR and their like) when a newer one follows.
//   - cancel drops the birth and the death of an object that nobody saw.
//   - reorder puts names before data inside a window.
//   - project cuts away optional fields.
//   - sample and rate thin out the stream of listeners.
//
// docs/modules.md says when to use which, and how to write another one: a type with the
// methods of [Module], a [Kind] in the list of [Builtin], a test with package moduletest.
//
// # Why expr parses the expressions
//
// The expressions of filter are parsed and type-checked by github.com/expr-lang/expr (MIT, no
// dependency of its own, released in 2026), which names the place of a mistake. cel-go
// (Apache-2.0) does as well and bounds the cost of an evaluation, but brings seven modules,
// among them antlr and protobuf. Either one evaluates `type == "CREAT" && uid == 1000` in 80 to
// 190 ns with an allocation for each number, where a test by hand takes 10 ns; so the checked
// tree is evaluated here, by functions made for the fields of a record. That also bounds the cost: the
// language has no loop, so an evaluation visits each node once at most, and regular
// expressions take linear time.
package modules
