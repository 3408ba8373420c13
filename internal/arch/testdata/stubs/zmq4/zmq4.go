package zmq4

type Msg struct{}
