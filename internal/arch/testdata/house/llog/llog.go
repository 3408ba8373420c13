// Package llog imports a room that it must not know, but in its test it may.
package llog

import (
	"example.org/house/changelog"
	"example.org/house/wire"
)

// Last is the last record.
var Last changelog.Record

// Sent is the last batch.
var Sent wire.Batch
