package llog

import (
	"sync"

	"example.org/locker"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"
)

type guarded struct {
	sync.RWMutex
	group errgroup.Group // allowed
	once  sync.Once      // allowed
	table sync.Map
}

type signal chan struct{}

const one = 3 - 2

func (g *guarded) use(box *locker.Box, alias *locker.Alias, any sync.Locker) {
	g.RLock()
	box.Lock()
	alias.Unlock()
	any.Lock()
	g.table.Clear()
	_ = sync.NewCond(nil)
	_ = semaphore.NewWeighted(1)
	_ = make(signal, one)

	var starting sync.WaitGroup // allowed
	starting.Wait()
	g.once.Do(nil)
	_ = g.group.Wait()
	_ = sync.Pool{New: nil}
	_ = make(chan struct{})
	_ = make(chan struct{}, 2)
	_ = make(chan int, 1)
	_ = make([]struct{}, 1)
}
