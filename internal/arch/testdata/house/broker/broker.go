// Package broker starts goroutines, some of them without an owner.
package broker

import (
	"context"
	"sync"
	"time"

	"example.org/house/broker/core"
	"golang.org/x/sync/errgroup"
)

// A Broker is owned by the goroutine that Open starts.
type Broker struct{ core core.Core }

// A Ring shows that type parameters do not count.
type Ring[T any] struct{}

// Open is in the table.
func Open() *Broker {
	b := &Broker{}
	go func() { b.help() }()
	return b
}

func (b *Broker) help() { // in the table
	var g sync.WaitGroup
	g.Go(func() {})
}

func (r Ring[T]) feed() { go r.feed() } // in the table

func (b *Broker) gone() {} // in the table, but starts nothing

func unowned(ctx context.Context) {
	go Open()
	var workers sync.WaitGroup
	workers.Go(func() {})
	var g errgroup.Group
	g.Go(nil)
	g.TryGo(nil)
	context.AfterFunc(ctx, func() {})
	_ = time.AfterFunc
}

var started = func() int { go Open(); return 1 }()
