package wasm

import (
	"context"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// Version is the version of the ABI that guests must have.
const Version = 1

// instance is a guest that runs.
type instance struct {
	runtime        wazero.Runtime
	memory         api.Memory
	alloc, process api.Function
}

// instantiate starts the guest: it has no argument, no environment, no file, a clock that stands still and
// randomness that is none.
func (p *program) instantiate(ctx context.Context) (*instance, error) {
	config := wazero.NewRuntimeConfig().WithCompilationCache(p.cache).
		WithMemoryLimitPages(uint32(p.memory / pageBytes)).WithCloseOnContextDone(true)
	g := &instance{runtime: wazero.NewRuntimeWithConfig(ctx, config)}
	err := g.begin(ctx, p)
	if err != nil {
		err = errors.Join(err, g.close())
		return nil, err
	}
	return g, nil
}

// begin compiles the guest, looks at what it exports, and gives it its options.
func (g *instance) begin(ctx context.Context, p *program) error {
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, g.runtime); err != nil {
		return err
	}
	compiled, err := g.runtime.CompileModule(ctx, p.code)
	if err != nil {
		return fmt.Errorf("it is not a WebAssembly module that can run here: %w", err)
	}
	guest, err := g.runtime.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions("_initialize"))
	if err != nil {
		return fmt.Errorf("it does not start: %w", err)
	}
	if g.memory = guest.ExportedMemory("memory"); g.memory == nil {
		return errors.New("it exports no memory")
	}
	abi, err := function(guest, "lcapd_abi", 0, api.ValueTypeI32)
	if err != nil {
		return err
	}
	if g.alloc, err = function(guest, "lcapd_alloc", 1, api.ValueTypeI32); err != nil {
		return err
	}
	if g.process, err = function(guest, "lcapd_process", 0, api.ValueTypeI64); err != nil {
		return err
	}
	version, err := abi.Call(ctx)
	if err != nil {
		return fmt.Errorf("lcapd_abi: %w", err)
	}
	if int32(version[0]) != Version {
		return fmt.Errorf("it speaks version %d of the ABI, this program version %d", int32(version[0]), Version)
	}
	return g.configure(ctx, guest, p.options)
}

// function returns an exported function of the guest, which must be there with so many parameters of 32 bits.
func function(guest api.Module, name string, params int, result api.ValueType) (api.Function, error) {
	f := guest.ExportedFunction(name)
	if f == nil {
		return nil, fmt.Errorf("it exports no function %s", name)
	}
	d := f.Definition()
	if len(d.ParamTypes()) != params || len(d.ResultTypes()) != 1 || d.ResultTypes()[0] != result || params == 1 && d.ParamTypes()[0] != api.ValueTypeI32 {
		return nil, fmt.Errorf("its function %s has other parameters or results than the ABI says", name)
	}
	return f, nil
}

// configure gives the guest its options, if it wants any.
func (g *instance) configure(ctx context.Context, guest api.Module, options []byte) error {
	if guest.ExportedFunction("lcapd_configure") == nil {
		if string(options) != "{}" && string(options) != "null" {
			return errors.New("it takes no options")
		}
		return nil
	}
	f, err := function(guest, "lcapd_configure", 0, api.ValueTypeI64)
	if err != nil {
		return err
	}
	answer, err := g.call(ctx, f, options)
	if err == nil && len(answer) > 0 {
		err = fmt.Errorf("it refuses its options: %.500q", answer)
	}
	return err
}

// call gives the guest an input and returns its output, which is valid until the next call.
func (g *instance) call(ctx context.Context, f api.Function, input []byte) ([]byte, error) {
	at, err := g.alloc.Call(ctx, uint64(len(input)))
	if err != nil {
		return nil, fmt.Errorf("lcapd_alloc: %w", err)
	}
	if !g.memory.Write(uint32(at[0]), input) {
		return nil, fmt.Errorf("lcapd_alloc gave %d bytes at %#x, outside of its memory", len(input), uint32(at[0]))
	}
	out, err := f.Call(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Definition().Name(), err)
	}
	answer, ok := g.memory.Read(uint32(out[0]>>32), uint32(out[0]))
	if !ok {
		return nil, fmt.Errorf("%s returned %d bytes at %#x, outside of its memory", f.Definition().Name(), uint32(out[0]), uint32(out[0]>>32))
	}
	return answer, nil
}

// close ends the guest and gives its memory back.
func (g *instance) close() error { return g.runtime.Close(context.Background()) }
