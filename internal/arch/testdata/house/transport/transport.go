// Package transport may import zmq4.
package transport

import "github.com/go-zeromq/zmq4"

// Last is the last message.
var Last zmq4.Msg
