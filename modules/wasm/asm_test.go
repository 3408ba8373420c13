package wasm_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

// guest is a WebAssembly module of few bytes that does one thing wrong. Its memory begins with answer at address 2048; what
// its host writes goes to 4096.
type guest struct {
	version int
	answer  []byte
	process []byte // the code of lcapd_process; nil returns the answer
	alloc   []byte // nil returns 4096
	leave   string // an export that is left out
}

// Some instructions.
const (
	opUnreachable = 0x00
	opLoop        = 0x03
	opBr          = 0x0c
	opI32Const    = 0x41
	opI64Const    = 0x42
	opMemoryGrow  = 0x40
	opDrop        = 0x1a
	opEnd         = 0x0b
	typeI32       = 0x7f
	typeI64       = 0x7e
	typeVoid      = 0x40
)

// signed encodes a signed LEB128 number.
func signed(n int64) (b []byte) {
	for {
		low := byte(n & 0x7f)
		if n >>= 7; n == 0 && low&0x40 == 0 || n == -1 && low&0x40 != 0 {
			return append(b, low)
		}
		b = append(b, low|0x80)
	}
}

// sized puts the length of bytes before them.
func sized(b ...byte) []byte { return append(binary.AppendUvarint(nil, uint64(len(b))), b...) }

// section encodes a section of a vector.
func section(id byte, elements ...[]byte) []byte {
	content := binary.AppendUvarint(nil, uint64(len(elements)))
	for _, e := range elements {
		content = append(content, e...)
	}
	return append([]byte{id}, sized(content...)...)
}

// binary encodes the module.
func (g guest) binary() []byte {
	code := func(instructions ...byte) []byte { return sized(append(append([]byte{0}, instructions...), opEnd)...) }
	abi := append([]byte{opI32Const}, signed(int64(g.version))...)
	alloc := g.alloc
	if alloc == nil {
		alloc = append([]byte{opI32Const}, signed(4096)...)
	}
	process := g.process
	if process == nil {
		process = append([]byte{opI64Const}, signed(2048<<32|int64(len(g.answer)))...)
	}
	var exports [][]byte
	for i, name := range []string{"lcapd_abi", "lcapd_alloc", "lcapd_process", "memory"} {
		kind, index := byte(0), byte(i)
		if name == "memory" {
			kind, index = 2, 0
		}
		if name != g.leave {
			exports = append(exports, append(sized([]byte(name)...), kind, index))
		}
	}
	data := append([]byte{0, opI32Const}, signed(2048)...)
	data = append(append(data, opEnd), sized(g.answer...)...)
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = append(out, section(1, []byte{0x60, 0, 1, typeI32}, []byte{0x60, 1, typeI32, 1, typeI32}, []byte{0x60, 0, 1, typeI64})...)
	out = append(out, section(3, []byte{0}, []byte{1}, []byte{2})...)
	out = append(out, section(5, []byte{0, 2})...)
	out = append(out, section(7, exports...)...)
	out = append(out, section(10, code(abi...), code(alloc...), code(process...))...)
	return append(out, section(11, data)...)
}

// file writes the module to a file.
func (g guest) file(t testing.TB) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "guest.wasm")
	if err := os.WriteFile(path, g.binary(), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}
