package llog

import "sync/atomic"

var total atomic.Int64

var wake = make(chan struct{}, 1)
