// Package client must not import zmq4.
package client

import (
	"example.org/house/transport"
	"github.com/go-zeromq/zmq4"
)

// Last is the last message.
var Last zmq4.Msg = transport.Last
