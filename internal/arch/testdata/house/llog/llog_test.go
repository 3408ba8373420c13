package llog

import (
	"sync"
	"testing"

	"example.org/house/broker"
)

func TestLlog(t *testing.T) {
	broker.Open()
	var inTest sync.Mutex
	_ = &inTest
	_ = make(chan struct{}, 1)
}
