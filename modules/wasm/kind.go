package wasm

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tetratelabs/wazero"

	"github.com/lcapd/lcapd/modules"
)

// Limits of the options.
const (
	maxFile = 64 << 20 // of a guest

	pageBytes                              = 64 << 10
	defaultMemory, minMemory, maxMemory    = 64 << 20, 1 << 20, 1 << 30
	defaultTimeout, minTimeout, maxTimeout = time.Second, time.Millisecond, time.Minute
	defaultGather, minGather, maxGather    = 1 << 20, 4 << 10, 16 << 20
	startTimeout                           = 30 * time.Second
	onFailurePass, onFailureStop           = "pass", "stop"
)

// Kind is the module "wasm". What is compiled is kept in cache, so that the guests of all streams share it; whoever made the cache
// closes it after all chains.
func Kind(cache wazero.CompilationCache) modules.Kind {
	return modules.Kind{
		Name:    "wasm",
		Summary: "asks a WebAssembly module of yours about each record",
		Rules:   []string{"guest"},
		Parse: func(o *modules.Options, use modules.Use) (modules.Factory, error) {
			g := &program{cache: cache}
			g.file = o.String("file", "")
			g.memory = o.Bytes("memory", defaultMemory, minMemory, maxMemory)
			g.timeout = o.Duration("timeout", defaultTimeout, minTimeout, maxTimeout)
			g.gather = o.Bytes("call", defaultGather, minGather, maxGather)
			g.stop = o.OneOf("on_failure", onFailurePass, onFailureStop) == onFailureStop
			var err error
			if g.options, err = json.Marshal(o.Map("options")); err != nil {
				o.Errorf("options", "%v", err)
			}
			if use.Consumers == modules.EveryRecord && use.Scope != modules.ForListeners {
				return nil, fmt.Errorf("%w: the consumers need every record, and nobody knows what the guest drops; state consumers: changes, or consumers: state, if that is not so", modules.ErrUnsafe)
			}
			if err := g.load(); err != nil {
				o.Errorf("file", "%v", err)
			}
			return g.start, nil
		},
	}
}

// program is a guest that was checked.
type program struct {
	cache   wazero.CompilationCache
	file    string
	code    []byte
	memory  int64
	timeout time.Duration
	gather  int64
	stop    bool
	options []byte
}

// load reads the guest and starts it once, so that what cannot work is refused when the configuration is read.
func (p *program) load() error {
	if p.file == "" {
		return errors.New("the module's .wasm file is missing")
	}
	info, err := os.Stat(p.file)
	switch {
	case err != nil:
		return err
	case info.Size() > maxFile || !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a file of at most %d bytes", p.file, maxFile)
	}
	if p.code, err = os.ReadFile(p.file); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	g, err := p.instantiate(ctx)
	if err != nil {
		return fmt.Errorf("%s: %w", p.file, err)
	}
	return g.close()
}

// start makes the guest of a stream. If it cannot be made, it is one that failed.
func (p *program) start(modules.Start) modules.Module {
	m := &module{program: p}
	ctx, cancel := context.WithTimeout(context.Background(), startTimeout)
	defer cancel()
	g, err := p.instantiate(ctx)
	if err != nil {
		m.fault = &Fault{File: p.file, Reason: err}
	}
	m.guest = g
	return m
}
