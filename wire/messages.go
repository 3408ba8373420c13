package wire

// Kind names a kind of message: the value of the field "t".
type Kind string

// The kinds.
const (
	KindHello     Kind = "hello"
	KindHeartbeat Kind = "heartbeat"
	KindBye       Kind = "bye"
	KindJoin      Kind = "join"
	KindListen    Kind = "listen"
	KindCredit    Kind = "credit"
	KindAck       Kind = "ack"
	KindNack      Kind = "nack"
	KindLeave     Kind = "leave"
	KindRequest   Kind = "request"
	KindJoined    Kind = "joined"
	KindListening Kind = "listening"
	KindBatch     Kind = "batch"
	KindGap       Kind = "gap"
	KindLost      Kind = "lost"
	KindReply     Kind = "reply"
	KindError     Kind = "error"
)

// A Message is one of the structs of this package, by pointer. No other package can add one.
type Message interface {
	// Kind returns the message's kind.
	Kind() Kind
	// fields visits the fields of the header, "t" left out, in the order of the manual.
	fields(f *fields)
}

// A lister is a message with a body.
type lister interface {
	Message
	// lists visits the fields of the body.
	lists(f *fields)
}

// What both sides say.
type (
	// Hello is the first message of each side; the client speaks first.
	Hello struct {
		V        uint64   // the newest version that the side speaks, from 1
		Min      uint64   // the oldest, 1..V
		Software string   // name and version of the program, for humans
		Caps     []string // abilities beyond the version; unknown ones are ignored
		Broker   string   // server: the id of the state directory; clients leave it empty
		// HeartbeatMS is after how many milliseconds without another message the client sends a
		// heartbeat; the server does the same. Set by the server, 0 for never.
		HeartbeatMS uint64
		MaxFrame    uint64 // the largest frame that the side accepts, in bytes; 0 for no word on it
	}
	// Heartbeat says that the side is alive. It keeps leases.
	Heartbeat struct{}
	// Bye announces the end of the connection. Nothing follows it.
	Bye struct {
		Code Code   // why, or empty for a plain end
		Text string // for humans
	}
)

// What clients say.
type (
	// Join makes the connection a member of a group. Answered by [Joined] or [Error].
	Join struct {
		Req          uint64   // chosen by the client, comes back in the answer
		Group        string   // not empty
		Name         string   // the member's name, unique in the group, not empty
		Session      string   // the same name with the same session takes over at once
		MDTs         []string // body: those it serves; empty for all
		Distribution string   // round-robin, mdt or fid; empty for whatever the group has
		Start        string   // latest or earliest; empty for whatever the group has
		Create       bool     // make the group if it does not exist, and the server allows it
		Fields       Form     // the record blocks it wants; 0 for all
		Filter       string   // the group's filter; empty for whatever the group has
	}
	// Listen makes the connection a listener. Answered by [Listening] or [Error].
	Listen struct {
		Req    uint64   // chosen by the client, comes back in the answer
		Name   string   // shown to operators; need not be unique
		MDTs   []string // body: those it wants; empty for all
		Fields Form     // the record blocks it wants; 0 for all
		Filter string   // records that do not match are not sent; an expression of docs/modules.md
		// Modules are what its records pass besides, behind the filter: the text of a chain, as JSON.
		Modules string
		Seen    []Position // body: the last record seen in each MDT, to learn of the gap since then
	}
	// Credit lets the server send more to a member. It adds to what is left.
	Credit struct {
		Batches uint64 // how many more batches, at most 2^31-1
		Bytes   uint64 // how many more bytes of payload, at most 2^62
	}
	// Ack acknowledges the records of a lease up to and with an index.
	Ack struct {
		Lease uint64 // from the batch, never 0
		UpTo  uint64 // a record index
	}
	// Nack gives back the records of a lease from an index on, to be delivered again.
	Nack struct {
		Lease   uint64 // from the batch, never 0
		From    uint64 // a record index
		DelayMS uint64 // not before so many milliseconds
	}
	// Leave ends the membership: what was not acknowledged goes to others. Answered by [Bye].
	Leave struct{}
	// Request is an operator's. Answered by [Reply] or [Error]. Which fields count depends on Op; see
	// [Op].
	Request struct {
		Req          uint64 // chosen by the client, comes back in the answer
		Op           Op     // what is wanted
		Group        string // the group it is about
		MDT          string // the MDT it is about
		Index        uint64 // a record index
		Distribution string // of a group to be made
		Start        string // of a group to be made: latest or earliest
		Filter       string // of a group to be made or set
		Name         string // a member
		Paused       bool   // pause, as opposed to resume
		Force        bool   // do it although something is lost by it
		MaxBacklog   uint64 // of a group to be made or limited: indexes of an MDT; 0 for no limit
		MaxIdleMS    uint64 // of a group to be made or limited: milliseconds; 0 for no limit
		Expire       bool   // of a group to be made or limited: it gives up its hold beyond its limits
		Modules      string // body: of a group to be made or set, a list of modules as YAML or JSON
		Consumers    string // body: of a group to be made or set, what its consumers need
	}
)

// What servers say.
type (
	// Joined answers a [Join]. The group and the start are on the server's disk.
	Joined struct {
		Req          uint64 // that of the join
		Group        string // the group
		Name         string // the member
		Distribution string // what the group has
		MDTs         []Mark // body: where the group stands in each MDT
	}
	// Listening answers a [Listen].
	Listening struct {
		Req  uint64     // that of the listen
		MDTs []Position // body: the last record before those that are going to be sent
	}
	// Batch carries records: its payload. They are those of the MDT within (From, To] that are meant
	// for this peer, in index order.
	Batch struct {
		MDT   string // the MDT
		Epoch Epoch  // of its indexes
		Lease uint64 // to be acknowledged; 0 for a listener
		// From and To are the range (From, To] of indexes that is covered.
		From, To uint64
		// First and Last are the indexes of the first and last record of the payload.
		First, Last uint64
		N           uint64 // the number of records
		Delivery    uint64 // how often these were delivered, this one counted, since the server started
		Form        Form   // the blocks that were kept; 0 for all
		Flags       BatchFlags
	}
	// Gap tells a listener that records of an MDT within (From, To] were not sent to it. It comes before
	// the next record of the MDT.
	Gap struct {
		MDT      string // the MDT
		Epoch    Epoch  // of its indexes
		From, To uint64 // the range (From, To]
		Count    uint64 // records read and not delivered; without meaning when Unknown
		Unknown  bool   // how many records were there cannot be known
		Why      string // for humans
	}
	// Lost tells a member that records of its group were gone upstream before they were acknowledged.
	Lost struct {
		Group    string // the group
		MDT      string // the MDT
		Epoch    Epoch  // of its indexes
		From, To uint64 // the range (From, To]
	}
	// Reply answers a [Request]. Its payload is JSON.
	Reply struct {
		Req uint64 // that of the request
	}
)

// Position is a place in an MDT: behind the record with the index.
type Position struct {
	MDT   string `msgpack:"mdt"`   // the MDT's name
	Epoch Epoch  `msgpack:"epoch"` // of its indexes
	Index uint64 `msgpack:"index"` // 0 for before the first
}

// Mark is where a group stands in an MDT.
type Mark struct {
	MDT   string `msgpack:"mdt"`   // the MDT's name
	Epoch Epoch  `msgpack:"epoch"` // of its indexes
	Mark  uint64 `msgpack:"mark"`  // the group has acknowledged everything at or below this index
}

// BatchFlags are the bits of [Batch.Flags]. Unknown ones are ignored.
type BatchFlags uint32

// The flags of a batch.
const (
	// MaybeRedelivered: an earlier run of the server may have delivered these records.
	MaybeRedelivered BatchFlags = 1 << iota
	// Late: the records appeared behind others of a higher index that were delivered before.
	Late
)
