// Package bench measures how near lcapd comes to the limit of the machine.
//
// A [Scenario] is a load: so many MDTs, groups, members. It is run several times. Each
// time a real lcapd process serves real member processes, written with the client
// library as a user would, and right before or after it the limit is measured: a plain
// process sends the same packed bytes over the same transport, 128 KiB with each write, to
// as many plain processes as there are members, which frame each record. What is
// reported are medians over the runs, and ratios of the two, which say the same on
// another machine or a busy one.
//
//	scenario.go  what is run           metrics.go  what is measured, and its summary
//	run.go       one run of a scenario targets.go  what is demanded; presets
//	daemon.go    the lcapd process     report.go   table, comparison
//	profile.go   profiles, drawn          behind.go  members that catch up
//	syscalls.go  perf, strace          endure.go   does lcapd grow?
//	step.go      the loop alone
//	sweep.go     many scenarios, drawn
//	peer.go      the other processes: member.go, plain.go, echo.go
//
// The program that calls [Run] must, when it is called with [PeerCommand], call
// [RunPeer]: it is started again as each of the other processes.
package bench
