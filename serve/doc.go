// Package serve holds the conversation with peers: it hears what a connection says in
// the native protocol (docs/protocol.md), has the broker do it, and says what came of
// it. It decides nothing but who may do what.
//
// # Who owns what
//
//	session    the goroutine that serves a connection: reads, and owns what the
//	           connection is: nothing yet, a member, a listener
//	feeder     of a listener: sends what it is shown, at the listener's own pace
//	heartbeat  of a connection: says that we are alive
//	farewell   of a member that the broker sends away: waits for the last word to be
//	           written, then ends the connection
//
// The broker's loop calls a member's connection; that never waits: what does not fit
// into the connection's queue ends the membership. Everybody else may wait for the loop,
// which is short, and for his own peer, which harms nobody but that peer.
package serve
