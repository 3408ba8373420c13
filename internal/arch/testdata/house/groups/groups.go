// Package groups does everything that a pure room must not do.
package groups

import (
	"context"
	_ "io/ioutil"
	_ "net"
	_ "os"
	_ "syscall"
	"time"

	_ "golang.org/x/sys/unix"
)

type group struct {
	events chan int
	timer  *time.Timer
	lease  time.Duration // allowed
	joined time.Time     // allowed
}

func (g *group) run(ctx context.Context) {
	go g.run(ctx)
	<-ctx.Done()
	g.joined = time.Now()
	g.timer.Stop()
	clock := time.Since
	_ = clock(g.joined)
	_, _ = context.WithTimeout(ctx, g.lease)
	if g.joined.After(g.joined) { // allowed
		close(g.events)
	}
}
