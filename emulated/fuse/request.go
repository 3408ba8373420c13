package fuse

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// native is the byte order of all messages.
var native = binary.NativeEndian

// Sizes of the headers in bytes.
const (
	requestHeader = 40
	replyHeader   = 16
)

// opcode is what a request asks for.
type opcode uint32

const (
	opLookup      opcode = 1
	opForget      opcode = 2
	opGetattr     opcode = 3
	opOpen        opcode = 14
	opRead        opcode = 15
	opWrite       opcode = 16
	opStatfs      opcode = 17
	opRelease     opcode = 18
	opInit        opcode = 26
	opOpendir     opcode = 27
	opReaddir     opcode = 28
	opReleasedir  opcode = 29
	opInterrupt   opcode = 36
	opDestroy     opcode = 38
	opIoctl       opcode = 39
	opPoll        opcode = 40
	opBatchForget opcode = 42
	opLseek       opcode = 46
)

// ErrMalformed: the bytes are not a request.
var ErrMalformed = errors.New("malformed request")

// Request is one request of the kernel. Nothing in it refers to the buffer that it was
// decoded from.
type Request struct {
	// ID names the request in its reply.
	ID uint64
	// Node is the file that it is about: [RootNode], or what a lookup answered.
	Node uint64
	// Body is one of the types below, each with what it asks for.
	Body any
}

// RootNode is the number of the directory that was mounted.
const RootNode = 1

// The bodies of requests. Those that say so want no reply.
type (
	// Lookup asks for a name in a directory; answered by an [Attr] as entry.
	Lookup struct{ Name string }
	// Forget says that the kernel has dropped nodes; no reply.
	Forget struct{}
	// Getattr asks for the attributes of a node.
	Getattr struct{}
	// Open opens a file. Flags are those of open(2).
	Open struct{ Flags uint32 }
	// Opendir opens a directory.
	Opendir struct{}
	// Read reads at most Size bytes of an open file.
	Read struct {
		Handle uint64
		Offset uint64
		Size   uint32
		Flags  uint32 // of the open file, as fcntl(F_GETFL) shows them
	}
	// Readdir reads entries of an open directory, from the one behind Offset on.
	Readdir struct {
		Handle uint64
		Offset uint64
		Size   uint32
	}
	// Write writes to an open file.
	Write struct {
		Handle uint64
		Offset uint64
		Flags  uint32
		Data   []byte
	}
	// Ioctl is ioctl(2). OutSize is what the caller's command leaves room for; the
	// answer may be shorter.
	Ioctl struct {
		Handle  uint64
		Command uint32
		Arg     uint64
		Data    []byte
		OutSize uint32
	}
	// Poll asks what an open file is ready for. Wake names the file in [Conn.Wake].
	Poll struct {
		Handle uint64
		Wake   uint64
	}
	// Statfs asks for the file system's numbers.
	Statfs struct{}
	// Release closes an open file for the last time.
	Release struct{ Handle uint64 }
	// Releasedir closes an open directory.
	Releasedir struct{}
	// Lseek is the lseek(2) of SEEK_DATA and SEEK_HOLE; the kernel does the others alone.
	Lseek struct{ Handle uint64 }
	// Interrupt says that the caller of the request Target got a signal; no reply of
	// its own, but Target's should follow soon.
	Interrupt struct{ Target uint64 }
	// Destroy ends the conversation.
	Destroy struct{}
	// Other is any other request: its code in the header linux/fuse.h.
	Other struct{ Code uint32 }

	// start opens the conversation; Conn answers it.
	start struct {
		major, minor, readahead, flags uint32
	}
)

// fields reads the fixed fields of a body one after the other. Reading beyond the end
// gives zeros and sets short.
type fields struct {
	b     []byte
	short bool
}

func (f *fields) take(n int) []byte {
	if len(f.b) < n {
		f.b, f.short = nil, true
		return make([]byte, n)
	}
	head := f.b[:n]
	f.b = f.b[n:]
	return head
}

func (f *fields) u32() uint32 { return native.Uint32(f.take(4)) }

func (f *fields) u64() uint64 { return native.Uint64(f.take(8)) }

// data returns a copy of the next n bytes.
func (f *fields) data(n uint32) []byte {
	if uint64(n) > uint64(len(f.b)) {
		f.b, f.short = nil, true
		return nil
	}
	return bytes.Clone(f.take(int(n)))
}

// name reads a string up to its NUL.
func (f *fields) name() string {
	name, rest, ok := bytes.Cut(f.b, []byte{0})
	f.b, f.short = rest, f.short || !ok
	return string(name)
}

// decode reads one request. On error its ID is set if there was a whole header.
func decode(b []byte) (Request, error) {
	if len(b) < requestHeader {
		return Request{}, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	f := &fields{b: b}
	size, code := f.u32(), opcode(f.u32())
	r := Request{ID: f.u64(), Node: f.u64()}
	f.take(requestHeader - 24) // uid, gid, pid, and extensions that nobody asked for
	if uint64(size) != uint64(len(b)) {
		return r, fmt.Errorf("%w: it claims %d bytes and has %d", ErrMalformed, size, len(b))
	}
	r.Body = f.body(code)
	if f.short {
		r.Body = nil
		return r, fmt.Errorf("%w: opcode %d in %d bytes", ErrMalformed, code, size)
	}
	return r, nil
}

func (f *fields) body(code opcode) any {
	switch code {
	case opInit:
		return &start{major: f.u32(), minor: f.u32(), readahead: f.u32(), flags: f.u32()}
	case opLookup:
		return &Lookup{Name: f.name()}
	case opForget, opBatchForget:
		return &Forget{}
	case opGetattr:
		return &Getattr{}
	case opOpendir:
		return &Opendir{}
	case opReleasedir:
		return &Releasedir{}
	case opStatfs:
		return &Statfs{}
	case opDestroy:
		return &Destroy{}
	case opInterrupt:
		return &Interrupt{Target: f.u64()}
	case opOpen, opRead, opReaddir, opWrite, opIoctl, opPoll, opRelease, opLseek:
		return f.fileBody(code)
	}
	return &Other{Code: uint32(code)}
}

// fileBody reads the requests about open files.
func (f *fields) fileBody(code opcode) any {
	first := f.take(8) // the handle, but for open
	handle := native.Uint64(first)
	switch code {
	case opOpen:
		return &Open{Flags: native.Uint32(first)}
	case opRelease:
		return &Release{Handle: handle}
	case opLseek:
		return &Lseek{Handle: handle}
	case opPoll:
		return &Poll{Handle: handle, Wake: f.u64()}
	case opIoctl:
		f.take(4) // flags
		i := &Ioctl{Handle: handle, Command: f.u32(), Arg: f.u64()}
		inSize := f.u32()
		i.OutSize = f.u32()
		i.Data = f.data(inSize)
		return i
	}
	offset, size := f.u64(), f.u32()
	f.take(4 + 8) // flags of the request, owner of locks
	flags := f.u32()
	f.take(4)
	switch code {
	case opRead:
		return &Read{Handle: handle, Offset: offset, Size: size, Flags: flags}
	case opReaddir:
		return &Readdir{Handle: handle, Offset: offset, Size: size}
	}
	return &Write{Handle: handle, Offset: offset, Flags: flags, Data: f.data(size)}
}
