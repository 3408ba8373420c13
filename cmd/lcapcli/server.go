package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/transport"
)

// Where the server is when nobody says it: the socket if it is there.
const (
	localSocket  = "/run/lcapd/lcapd.sock"
	localAddress = "tcp://127.0.0.1:8189"
	// serverVariable is the environment variable that says it.
	serverVariable = "LCAPCLI_SERVER"
)

// answerTime is how long a server may take to answer a request.
const answerTime = 30 * time.Second

// addServerFlags adds the flags that all commands share which talk to a server.
func addServerFlags(root *cobra.Command) {
	root.PersistentFlags().StringP("server", "s", "",
		"the server: tcp://host:8189 or ipc:///path (default: $"+serverVariable+", else the local one)")
	root.PersistentFlags().StringP("output", "o", "table", "what servers answer as table, json or yaml")
	err := root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions([]string{"table", "json", "yaml"}, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag does not exist: a mistake in this program
	}
}

// serverOf returns the address of the server that cmd is to talk to.
func serverOf(cmd *cobra.Command) (string, error) {
	addr := cmd.Flag("server").Value.String()
	if addr == "" {
		addr = os.Getenv(serverVariable)
	}
	if addr == "" {
		addr = localAddress
		if _, err := os.Stat(localSocket); err == nil {
			addr = "ipc://" + localSocket
		}
	}
	if !strings.HasPrefix(addr, "tcp://") && !strings.HasPrefix(addr, "ipc://") {
		return "", badUsage(cmd, "server %q is neither tcp://host:port nor ipc:///path", addr)
	}
	return addr, nil
}

// ask has use ask the server.
func ask(cmd *cobra.Command, use func(ctx context.Context, o *client.Operator) error) error {
	addr, err := serverOf(cmd)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), answerTime)
	defer cancel()
	o, err := client.Operate(ctx, addr)
	if err != nil {
		return err
	}
	defer o.Close()
	return use(ctx, o)
}

// show asks the server for something and prints it.
func show[T any](cmd *cobra.Command, get func(ctx context.Context, o *client.Operator) (T, error), print func(w io.Writer, v T, now time.Time) error) error {
	form := cmd.Flag("output").Value.String()
	if form != "table" && form != "json" && form != "yaml" {
		return badUsage(cmd, "output %q is unknown: table, json or yaml", form)
	}
	return ask(cmd, func(ctx context.Context, o *client.Operator) error {
		v, err := get(ctx, o)
		if err != nil {
			return err
		}
		switch form {
		case "json":
			enc := json.NewEncoder(cmd.OutOrStdout())
			enc.SetIndent("", "  ")
			return enc.Encode(v)
		case "yaml":
			return writeYAML(cmd.OutOrStdout(), v)
		}
		return print(cmd.OutOrStdout(), v, time.Now())
	})
}

// writeYAML writes v with the names and the order of its JSON.
func writeYAML(w io.Writer, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(data, &doc); err != nil { // JSON is YAML
		return err
	}
	plain(&doc)
	enc := yaml.NewEncoder(w)
	enc.SetIndent(2)
	return errors.Join(enc.Encode(&doc), enc.Close())
}

// plain drops what looks of JSON.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, child := range n.Content {
		plain(child)
	}
}

// serverCode is the exit code of an error that has to do with a server, if it has.
func serverCode(err error) (code int, ok bool) {
	var answer *client.Error
	switch {
	case errors.Is(err, transport.ErrBadAddress):
		return exitUsage, true
	case errors.As(err, &answer) && answer.Unwrap() == nil:
		return exitUnreached, true // it stops, or has no room
	case errors.As(err, &answer), errors.Is(err, client.ErrRefused), errors.Is(err, client.ErrVersion):
		return exitRefused, true
	case errors.Is(err, client.ErrUnreachable), errors.Is(err, transport.ErrPeerGone),
		errors.Is(err, context.DeadlineExceeded):
		return exitUnreached, true
	}
	return 0, false
}

// withRemedy adds what may be done about an error of a server.
func withRemedy(err error) error {
	remedy := ""
	switch {
	case errors.Is(err, os.ErrPermission) && errors.As(err, new(*net.OpError)):
		remedy = "that socket is for others: ask its owner, or name another server with -s"
	case errors.Is(err, client.ErrUnreachable):
		remedy = "is lcapd running there? -s names another server"
	case errors.Is(err, client.ErrUnknownGroup):
		remedy = "'lcapcli groups' lists them, 'lcapcli groups create NAME' makes one"
	case errors.Is(err, client.ErrUnknownMDT):
		remedy = "'lcapcli mdts' lists them"
	case errors.Is(err, client.ErrGroupExists):
		remedy = "'lcapcli groups show NAME' shows it"
	case errors.Is(err, client.ErrNameInUse):
		remedy = "choose another one with --name; 'lcapcli members' lists them"
	case errors.Is(err, context.DeadlineExceeded):
		remedy = fmt.Sprintf("%s have passed, and it may still be done: 'lcapcli status' and the server's log say what keeps it", answerTime)
	default:
		return err
	}
	return fmt.Errorf("%w; %s", err, remedy)
}
