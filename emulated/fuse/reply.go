package fuse

import (
	"time"
)

// Modes of nodes, for [Attr.Mode].
const (
	ModeDir  = 0o040000
	ModeFile = 0o100000
)

// Attr describes a node.
type Attr struct {
	Node    uint64
	Mode    uint32 // type and permissions
	Links   uint32
	Changed time.Time
}

// appendTo appends the 88 bytes of the kernel's struct.
func (a Attr) appendTo(b []byte) []byte {
	seconds, nanoseconds := uint64(a.Changed.Unix()), uint32(a.Changed.Nanosecond())
	b = append64(b, a.Node, 0, 0) // node, size, blocks
	b = append64(b, seconds, seconds, seconds)
	b = append32(b, nanoseconds, nanoseconds, nanoseconds)
	return append32(b, a.Mode, a.Links, 0, 0, 0, 4096, 0) // mode, links, uid, gid, device, block size, flags
}

// AppendEntry appends the answer to a [Lookup]. The kernel keeps neither name nor
// attributes: it asks each time.
func (a Attr) AppendEntry(b []byte) []byte {
	b = append64(b, a.Node, 0, 0, 0) // node, generation, validity of name and attributes
	b = append32(b, 0, 0)
	return a.appendTo(b)
}

// AppendAttr appends the answer to a [Getattr].
func (a Attr) AppendAttr(b []byte) []byte {
	return a.appendTo(append64(b, 0, 0))
}

// openDirectIO has every read and write of the file passed on as it is.
const openDirectIO = 1

// AppendOpened appends the answer to an [Open] of a file that answers every read and
// write itself.
func AppendOpened(b []byte, handle uint64) []byte {
	return append32(append64(b, handle), openDirectIO, 0)
}

// AppendOpenedDir appends the answer to an [Opendir].
func AppendOpenedDir(b []byte) []byte { return append64(b, 0, 0) }

// AppendWritten appends the answer to a [Write] that took n bytes.
func AppendWritten(b []byte, n uint32) []byte { return append32(b, n, 0) }

// AppendIoctl appends the answer to an [Ioctl] that returns result and no data. (Data
// for an argument that is a value makes the kernel write to that value as an address.)
func AppendIoctl(b []byte, result int32) []byte { return append32(b, uint32(result), 0, 0, 0) }

// AppendPoll appends the answer to a [Poll]: events as in poll(2).
func AppendPoll(b []byte, events uint32) []byte { return append32(b, events, 0) }

// AppendStatfs appends the answer to a [Statfs] of a file system that takes no space.
func AppendStatfs(b []byte) []byte {
	b = append64(b, 0, 0, 0, 0, 0)
	b = append32(b, 4096, 255, 4096, 0) // block size, longest name, fragment size
	return append(b, make([]byte, 24)...)
}

// DirEntry is an entry of a directory.
type DirEntry struct {
	Node uint64
	Mode uint32 // its type is what counts
	Name string
}

// AppendEntries appends the answer to a [Readdir]: as many of the entries from offset on
// as fit in size bytes.
func AppendEntries(b []byte, entries []DirEntry, offset uint64, size uint32) []byte {
	start := len(b)
	for i, e := range entries {
		const head, align = 24, 8
		need := (head + len(e.Name) + align - 1) / align * align
		if uint64(i) < offset {
			continue
		}
		if len(b)-start+need > int(size) {
			break
		}
		b = append64(b, e.Node, uint64(i+1))
		b = append32(b, uint32(len(e.Name)), e.Mode>>12)
		b = append(b, e.Name...)
		b = append(b, make([]byte, need-head-len(e.Name))...)
	}
	return b
}

// The kernel's abilities that are asked for at the start.
const (
	atomicTruncate = 1 << 3  // O_TRUNC comes with open, not as a truncate of its own
	bigWrites      = 1 << 5  // a write may be larger than a page
	maxPagesField  = 1 << 22 // the answer says how many pages a read may have
)

const (
	// ourMajor and ourMinor are the version of the protocol.
	ourMajor, ourMinor = 7, 31
	// maxPages is how many pages of 4 KiB come in one read: 1 MiB, what kernels allow.
	maxPages = 256
	// maxWrite is the most bytes of one write request, in bytes.
	maxWrite = 64 << 10
)

// appendStart appends the answer to a start.
func appendStart(b []byte, in *start) []byte {
	b = append32(b, ourMajor, ourMinor, in.readahead, in.flags&(atomicTruncate|bigWrites|maxPagesField))
	b = native.AppendUint16(b, 0) // background requests and congestion: the kernel's defaults
	b = native.AppendUint16(b, 0)
	b = append32(b, maxWrite, 1) // and a granularity of time of 1 ns
	b = native.AppendUint16(b, maxPages)
	return append(b, make([]byte, 34)...)
}

func append32(b []byte, values ...uint32) []byte {
	for _, v := range values {
		b = native.AppendUint32(b, v)
	}
	return b
}

func append64(b []byte, values ...uint64) []byte {
	for _, v := range values {
		b = native.AppendUint64(b, v)
	}
	return b
}
