package guest

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"github.com/lcapd/lcapd/changelog"
)

// Version is the version of the ABI.
const Version = 1

// A Verdict is what becomes of a record.
type Verdict struct {
	code   byte
	packed []byte
}

// Keep passes a record on as it is, Drop drops it.
var (
	Keep = Verdict{code: 0}
	Drop = Verdict{code: 1}
)

// Change passes on packed instead of the record: one record with the same index.
func Change(packed []byte) Verdict { return Verdict{code: 2, packed: packed} }

// guest is the state of the module. Its host calls one function at a time.
var guest struct {
	decide    func(changelog.Record) Verdict
	configure func(options []byte) error
	input     []byte // what the host writes
	output    []byte // what the host reads
}

// Handle has every record given to decide. The verdict must depend on the record alone: the module is
// started anew at any time, and records are given in any number at once. It returns true, so that it can be called where a
// variable is declared: lcapd never calls main.
func Handle(decide func(r changelog.Record) Verdict) bool {
	guest.decide = decide
	return true
}

// Configure has the options of the configuration given to f, as a JSON object, before any record. If it returns an error
// lcapd refuses the configuration with it.
func Configure(f func(options []byte) error) bool {
	guest.configure = f
	return true
}

// abi tells the host the version.
//
//go:wasmexport lcapd_abi
func abi() int32 { return Version }

// alloc makes room for what the host writes next.
//
//go:wasmexport lcapd_alloc
func alloc(size int32) int32 {
	if int(size) > cap(guest.input) {
		guest.input = make([]byte, size)
	}
	guest.input = guest.input[:size]
	return address(guest.input)
}

// configure takes the options, and returns an error's text.
//
//go:wasmexport lcapd_configure
func configure() int64 {
	guest.output = guest.output[:0]
	if guest.configure != nil {
		if err := guest.configure(guest.input); err != nil {
			guest.output = append(guest.output, err.Error()...)
		}
	}
	return result()
}

// process takes packed records, and returns the verdicts.
//
//go:wasmexport lcapd_process
func process() int64 {
	guest.output = guest.output[:0]
	for rest := guest.input; len(rest) > 0; {
		r, next, err := changelog.Next(rest)
		if err != nil {
			panic(err) // the host frames records
		}
		rest = next
		v := Keep
		if guest.decide != nil {
			v = guest.decide(r)
		}
		if len(v.packed) > changelog.MaxRecordSize {
			panic(errors.New("a record was changed into one that is too large"))
		}
		guest.output = binary.LittleEndian.AppendUint64(guest.output, r.Index())
		guest.output = append(guest.output, v.code, 0)
		guest.output = binary.LittleEndian.AppendUint16(guest.output, uint16(len(v.packed)))
		guest.output = append(guest.output, v.packed...)
	}
	return result()
}

// result tells the host where the output is.
func result() int64 { return int64(address(guest.output))<<32 | int64(len(guest.output)) }

// address returns where bytes are in the memory that the host sees, which has 32 bits.
func address(b []byte) int32 {
	return int32(uintptr(unsafe.Pointer(unsafe.SliceData(b))))
}
