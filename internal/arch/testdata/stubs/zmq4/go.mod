module github.com/go-zeromq/zmq4

go 1.26
