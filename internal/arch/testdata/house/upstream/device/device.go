// Package device inherits the row of upstream.
package device

import (
	"example.org/house/broker"
	"example.org/house/changelog"
	"example.org/house/internal/form"
	"example.org/house/upstream"
	"example.org/house/upstream/sourcetest"
)

// These are three arrows too many.
var (
	Broker = broker.Open
	Form   = form.Fits
	Want   = sourcetest.Want

	Last changelog.Record = upstream.Last
)
