// Package integration tests the programs as their users run them: real
// processes, real files, what the documentation says.
package integration
