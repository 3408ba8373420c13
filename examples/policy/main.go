// Command policy is a policy engine in miniature, to show how one lives on lcapd: any number of
// instances are members of one group and keep one database of files and names.
//
//	policy run   -db FILE [-server ADDR,...] [-group G]   keep the database; several at once
//	policy query -db FILE -older 30d [-owner UID]         what a policy would ask
//	policy names -db FILE                                 all names
//	policy purge -db FILE -older 7d                       forget files that are gone
//
// rules.go says what a record does and why that is right, store.go how it is kept.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := command(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "policy:", err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "policy:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: policy run|query|names|purge -db FILE [options]; -help tells which")

// options are those of all commands.
type options struct {
	db, server, group, name string
	older                   age
	owner, limit            int64
	gather                  time.Duration
}

func command(ctx context.Context, args []string, out, stderr io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	var o options
	fs := flag.NewFlagSet("policy "+args[0], flag.ContinueOnError)
	fs.SetOutput(stderr)
	fs.StringVar(&o.db, "db", "policy.db", "the database: a file on a local disk")
	var do func(context.Context, *store, options, io.Writer, io.Writer) error
	switch args[0] {
	case "run":
		fs.StringVar(&o.server, "server", "tcp://127.0.0.1:8189", "addresses of lcapd, by commas")
		fs.StringVar(&o.group, "group", "robinhood", "the group; it is made if it is not there")
		fs.StringVar(&o.name, "name", "", "the member's name; default: host name and process id")
		fs.DurationVar(&o.gather, "gather", 5*time.Millisecond, "how long to wait for more records before a commit")
		do = run
	case "query":
		fs.Var(&o.older, "older", "files last changed before that: 90s, 12h, 30d")
		fs.Int64Var(&o.owner, "owner", unknown, "files of that user only")
		fs.Int64Var(&o.limit, "limit", unknown, "so many at most, the oldest first")
		do = query
	case "names":
		do = names
	case "purge":
		o.older = age(7 * leastPurge)
		fs.Var(&o.older, "older", "those gone for longer than that")
		do = purge
	default:
		return errUsage
	}
	if err := fs.Parse(args[1:]); errors.Is(err, flag.ErrHelp) {
		return err
	} else if err != nil || fs.NArg() > 0 {
		return errUsage
	}
	s, err := open(ctx, o.db)
	if err != nil {
		return err
	}
	return errors.Join(do(ctx, s, o, out, stderr), s.close())
}

func purge(ctx context.Context, s *store, o options, out, _ io.Writer) error {
	n, err := s.purge(ctx, time.Duration(o.older))
	if err == nil {
		fmt.Fprintf(out, "forgot %d files that are gone\n", n)
	}
	return err
}

// age is a duration that also takes days.
type age time.Duration

func (a *age) String() string { return time.Duration(*a).String() }

func (a *age) Set(text string) error {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		*a = age(time.Duration(n) * 24 * time.Hour)
		return err
	}
	d, err := time.ParseDuration(text)
	*a = age(d)
	return err
}
