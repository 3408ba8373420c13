// Package wire is what lcapd and its native peers say to each other: the messages, their bytes, the
// versions and the error codes. docs/protocol.md describes the same for writers of other clients.
//
// The package is pure: no socket, no clock, no goroutine. Package transport carries what it makes.
//
// # A message
//
//	frame 1  header   one msgpack map, at most MaxHeader bytes; key "t" names the kind of message
//	frame 2  payload  only with some kinds: packed records, JSON, or a body
//
// A body is a second msgpack map, at most MaxBody bytes. The lists of MDTs in join, listen, joined and
// listening travel there and nowhere else, so that a header is small however many MDTs there are.
//
// # Rules
//
//   - A field that is absent, or nil, has its zero value. Unknown fields are ignored. A field of the
//     wrong type, or out of its range, makes the message bad: [BadMessage].
//   - An unknown kind is answered by [UnknownMessage]; the connection goes on.
//   - Numbers are integers from 0 up; negative ones, fractions and msgpack extensions are refused.
//   - Every frame is checked as a whole before anything is made of it: lengths fit, nesting is at most
//     MaxDepth deep, keys are strings and come once, strings are UTF-8, nothing follows the map. The
//     check allocates nothing. Decoding allocates a small multiple of the frame's size at most.
//
// # The types
//
// [Message] is any of the structs in this package that name themselves so. [Encode], [AppendHeader] and
// [Decode] turn them into frames and back. [Error] is both the message "error" and a Go error, with a
// [Code] to decide by. [Meet] finds the version that two sides speak.
package wire
