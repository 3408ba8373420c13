module example.org/house

go 1.26

require (
	example.org/locker v0.0.0
	github.com/go-zeromq/zmq4 v0.0.0
	golang.org/x/sync v0.0.0
	golang.org/x/sys v0.0.0
)

replace (
	example.org/locker => ../stubs/locker
	github.com/go-zeromq/zmq4 => ../stubs/zmq4
	golang.org/x/sync => ../stubs/sync
	golang.org/x/sys => ../stubs/sys
)
