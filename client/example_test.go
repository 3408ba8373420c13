package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/lcapd/lcapd/client"
)

// exampleSite runs a broker for an example.
func exampleSite() (s *site, stop func()) {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		log.Fatal(err)
	}
	if s, err = startSite(dir, "demo-MDT0000"); err != nil {
		log.Fatal(err)
	}
	return s, func() { s.stop(); os.RemoveAll(dir) }
}

func ExampleJoin() {
	s, stop := exampleSite() // elsewhere this is lcapd
	defer stop()
	ctx := context.Background()
	m, err := client.Join(ctx, []string{s.addr}, "audit", client.CreateGroup(), client.Start("earliest"))
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	if err := s.append("demo-MDT0000", 3); err != nil { // elsewhere this is the file system
		log.Fatal(err)
	}
	for rec, err := range m.Records(ctx) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(rec.Batch.MDT, rec.Index(), rec.Type(), string(rec.Name()))
		if err := rec.Ack(); err != nil && !errors.Is(err, client.ErrLeaseLost) {
			log.Fatal(err)
		}
		if rec.Index() == 3 {
			break
		}
	}
	// Output:
	// demo-MDT0000 1 CREAT f0
	// demo-MDT0000 2 CREAT f1
	// demo-MDT0000 3 CREAT f2
}

// Batches let a consumer do several records at once, and give back what failed.
func ExampleMember_Next() {
	s, stop := exampleSite()
	defer stop()
	ctx := context.Background()
	m, err := client.Join(ctx, []string{s.addr}, "audit", client.CreateGroup(), client.Start("earliest"))
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	if err := s.append("demo-MDT0000", 3); err != nil {
		log.Fatal(err)
	}
	store := func(b *client.Batch) error { // the first time the data base is away
		if b.Delivery == 1 {
			return errors.New("away")
		}
		return nil
	}
	for done := false; !done; {
		b, err := m.Next(ctx)
		if err != nil {
			log.Fatal(err)
		}
		last, failure := b.Last, store(b)
		if failure != nil {
			fmt.Println("failed:", failure)
			err = m.Nack(b, b.First, 0)
		} else {
			err = m.Ack(b)
			fmt.Println("stored up to", last)
			done = last == 3
		}
		if err != nil && !errors.Is(err, client.ErrLeaseLost) {
			log.Fatal(err)
		}
	}
	// Output:
	// failed: away
	// stored up to 3
}

func ExampleListen() {
	s, stop := exampleSite()
	defer stop()
	ctx := context.Background()
	l, err := client.Listen(ctx, []string{s.addr})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	if err := s.append("demo-MDT0000", 2); err != nil {
		log.Fatal(err)
	}
	for rec, err := range l.Records(ctx) {
		if gap, ok := client.IsGap(err); ok {
			fmt.Println("forget what you know of", gap.MDT)
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("changed:", rec.Target())
		if rec.Index() == 2 {
			break
		}
	}
	// Output:
	// changed: [0x200000400:0x1:0x0]
	// changed: [0x200000400:0x2:0x0]
}

func ExampleOperate() {
	s, stop := exampleSite()
	defer stop()
	ctx := context.Background()
	o, err := client.Operate(ctx, s.addr)
	if err != nil {
		log.Fatal(err)
	}
	defer o.Close()
	if err := o.Create(ctx, "audit", client.GroupSpec{Distribution: "fid", Start: "earliest"}); err != nil {
		log.Fatal(err)
	}
	g, err := o.Group(ctx, "audit")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(g.Group, g.Distribution, g.Lag, len(g.Members))
	// Output:
	// audit fid 0 0
}
