package client_test

import _ "github.com/go-zeromq/zmq4" // an external test must not either
