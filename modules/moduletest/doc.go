// Package moduletest checks modules: [Run] is the conformance suite that every module passes. It also has what tests of modules
// need: random histories of a file system over several MDTs ([NewHistory]), and a consumer that keeps a
// database of it ([Consumer]), to compare what two streams lead to.
package moduletest
