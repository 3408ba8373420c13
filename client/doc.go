// Package client takes part in lcapd: it joins consumer groups, listens, and asks
// what operators ask. It needs no Lustre and no C library.
//
// A member of a group, in ten lines:
//
//	m, err := client.Join(ctx, []string{"tcp://lcapd:8189"}, "audit")
//	if err != nil {
//		return err
//	}
//	defer m.Close()
//	for rec, err := range m.Records(ctx) {
//		if err != nil {
//			return err
//		}
//		store(rec.Batch.MDT, rec.Index(), rec.Type())
//		if err := rec.Ack(); err != nil && !errors.Is(err, client.ErrLeaseLost) {
//			return err
//		}
//	}
//
// Every record reaches some member of the group at least once. So a consumer must be
// able to meet a record twice; what it has not acknowledged comes again, to it or to
// another member, when it dies, closes or loses its connection.
//
// # What it does by itself
//
// It sends heartbeats while the caller works, gives credit back as batches are taken,
// gathers acknowledgements, and connects again when a connection ends, with growing
// and random delays. A member that comes back takes over from its former self at once.
// With several addresses it is a member at each of these brokers, and what comes is one
// stream. Each broker has MDTs of its own; order holds within an MDT as the group's
// distribution says, and never between MDTs.
//
// # Which call waits for whom
//
// Next and Records wait for records, until their context ends. Acknowledging waits for
// nobody: nil means that the acknowledgement was taken and will be sent, in order. When the
// connection ends before it has arrived the records come again. Close sends what was
// acknowledged before. All methods of a [Member], [Listener] and [Operator] may be called
// from any goroutine; a [Batch] belongs to one at a time.
//
// # How long a batch is valid
//
// A [Batch] and the records in it are valid until Release, Ack or Nack is called
// with it; its memory is then used again. A record of an iterator is valid until the next
// step. [Batch.Clone] is a copy that stays. Who forgets a Release costs the garbage
// collector some work, and nothing else.
//
// # What can go wrong
//
// The error of Join, Next and Records ends a member, except for the context's and a [LostError].
// [ErrNameInUse], [ErrUnknownGroup], [ErrUnknownMDT], [ErrBadFilter], [ErrRefused], [ErrVersion] and
// [ErrProtocol] are of that kind, and [ErrStopped] after Close. What passes is tried again:
// brokers that restart, networks that fail.
//
// [ErrLeaseLost] is the answer to an acknowledgement of records that are no longer this member's:
// its connection ended since, or the server took them back. It harms nothing.
// The server may also find so after the call has returned nil: then the next call for the
// same batch returns it, and the event [LeaseLost] tells it.
//
// Records that were gone upstream before the group acknowledged them are told by the event [Lost].
// Without [OnEvent] they are an error of Next, a [LostError], once: a loss is never silent.
// The caller may go on after it.
//
// # Who owns what
//
//	link        one goroutine for each address, for the life of the member or listener. It owns all that
//	            is known of that broker: connection, leases, credit, what was received and not
//	            taken, what is to be sent. Calls are messages to it, answered at once
//	attempt     one for each connection: dials, says hello, joins, then reads. Owns the read side
//	writer      one for each connection: writes one message after the other
//
// A link never blocks. What a caller does not take stays in the link, as much as the window
// ([Window]) allows; then the attempt is not heard any more and stops reading, and the broker
// is held up by TCP: it delivers no more than the credit it has to a member, and tells a
// listener of a gap. What is to be sent is kept by lease and as sums, so it is bounded by what
// was received. While there is no connection, acknowledgements are answered with ErrLeaseLost.
package client
