// Command member is a member of a group, or a listener, that keeps a ledger. A member's has a
// line for each record, "MDT epoch index time type target at late", written before the record is
// acknowledged: at is when, in nanoseconds, late whether the record was delivered as such. A listener's
// has one for each range that it was shown or missed, "range MDT epoch from to count late" and "gap MDT epoch
// from to count unknown". It is killed by tests at any moment, and the ledger tells what it had done by then.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/lcapd/lcapd/client"
)

func main() {
	var servers, group, name, ledger string
	flag.StringVar(&servers, "servers", "", "addresses, by commas")
	flag.StringVar(&group, "group", "", "the group; none listens")
	flag.StringVar(&name, "name", "", "the member's name")
	flag.StringVar(&ledger, "ledger", "", "the file to append to")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, strings.Split(servers, ","), group, name, ledger); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "member:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, servers []string, group, name, ledger string) error {
	to, err := os.OpenFile(ledger, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer to.Close()
	if group == "" {
		return listen(ctx, servers, name, to)
	}
	// A test kills lcapd as often as it likes: be patient.
	m, err := client.Join(ctx, servers, group, client.Name(name), client.Session(name), client.Patient(), client.OnEvent(sayTrouble))
	if err != nil {
		return err
	}
	defer m.Close()
	for {
		b, err := m.Next(ctx)
		if err != nil {
			return err
		}
		if _, err := to.Write(lines(b)); err != nil {
			return err
		}
		err = m.Ack(b)
		if err != nil && !errors.Is(err, client.ErrLeaseLost) {
			return err
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "member:", err)
		}
	}
}

// sayTrouble says what went wrong with a connection or a lease.
func sayTrouble(e client.Event) {
	switch e := e.(type) {
	case client.Disconnected:
		fmt.Fprintln(os.Stderr, "member: disconnected:", e.Err)
	case client.LeaseLost:
		fmt.Fprintf(os.Stderr, "member: lease %d is lost: %s\n", e.Lease, e.Text)
	}
}

func listen(ctx context.Context, servers []string, name string, to *os.File) error {
	l, err := client.Listen(ctx, servers, client.Name(name), client.Patient(), client.OnEvent(sayTrouble))
	if err != nil {
		return err
	}
	defer l.Close()
	for {
		b, gap, err := l.Next(ctx)
		if err != nil {
			return err
		}
		if gap != nil {
			_, err = fmt.Fprintf(to, "gap %s %d %d %d %d %t\n", gap.MDT, gap.Epoch, gap.From, gap.To, gap.Count, gap.Unknown)
		} else {
			_, err = fmt.Fprintf(to, "range %s %d %d %d %d %t\n", b.MDT, b.Epoch, b.From, b.To, b.Count, b.Late)
			b.Release()
		}
		if err != nil {
			return err
		}
	}
}

func lines(b *client.Batch) []byte {
	var out bytes.Buffer
	at := time.Now().UnixNano()
	for r := range b.Records() {
		fmt.Fprintf(&out, "%s %d %d %d %d %v %d %t\n", b.MDT, b.Epoch, r.Index(), r.Time(), r.Type(), r.Target(), at, b.Late)
	}
	return out.Bytes()
}
