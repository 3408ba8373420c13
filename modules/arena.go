package modules

import "github.com/lcapd/lcapd/changelog"

// arena keeps copies of records that are released in the order in which they were copied. Blocks are used again.
type arena struct {
	blocks []block
	spare  []byte
}

// block is memory of the arena with the number of records in it that were not released.
type block struct {
	bytes   []byte
	records int
}

// The size of blocks: of the first one, and at most.
const firstBlock, lastBlock = 4 << 10, 64 << 10

// copy returns the record over bytes of the arena.
func (a *arena) copy(r changelog.Record) changelog.Record {
	if n := len(a.blocks); n == 0 || cap(a.blocks[n-1].bytes)-len(a.blocks[n-1].bytes) < r.Size() {
		a.extend()
	}
	b := &a.blocks[len(a.blocks)-1]
	from := len(b.bytes)
	b.bytes = append(b.bytes, r.Bytes()...)
	b.records++
	held, _, err := changelog.Next(b.bytes[from:])
	if err != nil {
		panic(err) // a copy of a record is a record
	}
	return held
}

// extend adds an empty block. Any record fits into one.
func (a *arena) extend() {
	next := a.spare
	a.spare = nil
	if next == nil {
		next = make([]byte, 0, min(lastBlock, firstBlock<<min(len(a.blocks), 8)))
	}
	a.blocks = append(a.blocks, block{bytes: next})
}

// release lets the oldest record go.
func (a *arena) release() {
	b := &a.blocks[0]
	b.records--
	switch {
	case b.records > 0:
	case len(a.blocks) == 1:
		b.bytes = b.bytes[:0]
	default:
		if cap(b.bytes) == lastBlock {
			a.spare = b.bytes[:0]
		}
		a.blocks = a.blocks[:copy(a.blocks, a.blocks[1:])]
	}
}
