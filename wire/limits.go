package wire

// The limits of what this package reads and writes. Exceeding one is [BadMessage] when reading, and
// [ErrTooLong] when writing.
const (
	// MaxHeader is the largest header frame, in bytes.
	MaxHeader = 4096
	// MaxBody is the largest body, in bytes. It bounds no other payload: see [Hello.MaxFrame].
	MaxBody = 1 << 20
	// MaxDepth is how deep maps and arrays nest, the outermost counted.
	MaxDepth = 8
	// MaxFields is how many fields a header or body has, unknown ones included.
	MaxFields = 32
	// MaxItems is how many elements an array or an inner map has.
	MaxItems = 4096
	// MaxName is the longest name of a group, member, session, MDT, broker, software or operation,
	// in bytes.
	MaxName = 255
	// MaxText is the longest text for humans, in bytes. Longer ones are cut when written.
	MaxText = 1024
	// MaxFilter is the longest filter expression, and the longest chain of modules, in bytes. Both are in one
	// header: see [MaxHeader].
	MaxFilter = 2048
	// MaxModules is the longest list of modules, as text, in bytes.
	MaxModules = 64 << 10
)

// The most [Credit] that a server keeps for a member. What is given beyond it is ignored.
const (
	MaxCreditBatches = 256
	MaxCreditBytes   = 16 << 20
)
