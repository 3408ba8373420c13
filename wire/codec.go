package wire

import "fmt"

// AppendHeader appends the header frame of a message to dst. It returns dst and an error when a field
// exceeds its limit, [ErrTooLong] among them, or the whole [MaxHeader].
func AppendHeader(dst []byte, m Message) ([]byte, error) {
	f := fields{out: append(dst, 0)}
	kind := m.Kind()
	name(&f, "t", &kind, MaxName)
	m.fields(&f)
	return f.finish(dst, MaxHeader)
}

// appendBody appends the body of a message to dst, as AppendHeader does the header.
func appendBody(dst []byte, m lister) ([]byte, error) {
	f := fields{out: append(dst, 0)}
	m.lists(&f)
	return f.finish(dst, MaxBody)
}

// finish writes the map's head over the byte that was left for it behind dst: no kind of message has
// more than the 15 fields that it can say.
func (f *fields) finish(dst []byte, limit int) ([]byte, error) {
	size := len(f.out) - len(dst)
	if f.err == nil && size > limit {
		f.err = fmt.Errorf("%d bytes of at most %d: %w", size, limit, ErrTooLong)
	}
	if f.err != nil {
		return dst, f.err
	}
	f.out[len(dst)] = 0x80 | byte(f.n)
	return f.out, nil
}

// Encode returns the frames of a message: the header, and the body if the message has one; a request
// has none without modules, as servers before them knew no body there. The payload
// of a batch or reply is the caller's to add. Errors are those of [AppendHeader].
func Encode(m Message) ([][]byte, error) {
	header, err := AppendHeader(nil, m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Kind(), err)
	}
	l, ok := m.(lister)
	if bare, may := m.(interface{ isBare() bool }); !ok || may && bare.isBare() {
		return [][]byte{header}, nil
	}
	body, err := appendBody(nil, l)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Kind(), err)
	}
	return [][]byte{header, body}, nil
}

// Decode reads a message from its frames. The payload is that of a batch or reply, as it is; the
// message itself keeps nothing of the frames. A message with a body may come without its frame: the
// lists are empty then.
//
// Every error is an *[Error] with [BadMessage] or [UnknownMessage], ready to be answered: where the
// header says a request's number, Req has it.
func Decode(frames [][]byte) (m Message, payload []byte, err error) {
	if len(frames) == 0 || len(frames) > 2 {
		return nil, nil, errorf(BadMessage, "%d frames; a header and at most a payload are wanted", len(frames))
	}
	f := fields{in: new(index)}
	if m, err = f.decodeHeader(frames[0]); err != nil || len(frames) == 1 {
		return m, nil, err
	}
	switch m := m.(type) {
	case *Batch, *Reply:
		return m, frames[1], nil
	case lister:
		if err := f.decodeBody(m, frames[1]); err != nil {
			return nil, nil, err
		}
		return m, nil, nil
	}
	return nil, nil, errorf(BadMessage, "%s has no payload, but a second frame came", m.Kind())
}

// decodeHeader reads a header frame.
func (f *fields) decodeHeader(header []byte) (Message, error) {
	if len(header) > MaxHeader {
		return nil, errorf(BadMessage, "the header has %d bytes, at most %d are allowed", len(header), MaxHeader)
	}
	if err := f.in.scan(header); err != nil {
		return nil, errorf(BadMessage, "header: %s", cut(err.Error()))
	}
	f.reading = true
	var kind Kind
	name(f, "t", &kind, MaxName)
	m := byKind(kind)
	switch {
	case f.err != nil:
	case kind == "":
		return nil, f.answer(BadMessage, `the header has no field "t"`)
	case m == nil:
		return nil, f.answer(UnknownMessage, fmt.Sprintf("no kind of message is called %q", kind))
	default:
		m.fields(f)
	}
	if f.err != nil {
		return nil, f.answer(BadMessage, fmt.Sprintf("%s: %s", kind, cut(f.err.Error())))
	}
	return m, nil
}

// decodeBody reads the body of a message.
func (f *fields) decodeBody(m lister, body []byte) error {
	if len(body) > MaxBody {
		return errorf(BadMessage, "the body has %d bytes, at most %d are allowed", len(body), MaxBody)
	}
	req := f.answer("", "").Req
	f.n = 0
	err := f.in.scan(body)
	if err == nil {
		m.lists(f)
		err = f.err
	}
	if err != nil {
		return &Error{Code: BadMessage, Text: fmt.Sprintf("body of %s: %s", m.Kind(), cut(err.Error())), Req: req}
	}
	return nil
}

// answer returns an error with the request's number from the header that was read, if it has one.
func (f *fields) answer(code Code, text string) *Error {
	e := &Error{Code: code, Text: text}
	f.err = nil
	num(f, "req", &e.Req)
	f.err = nil
	return e
}

// byKind returns an empty message of a kind, nil if there is no such kind.
func byKind(kind Kind) Message {
	switch kind {
	case KindHello:
		return new(Hello)
	case KindHeartbeat:
		return new(Heartbeat)
	case KindBye:
		return new(Bye)
	case KindJoin:
		return new(Join)
	case KindListen:
		return new(Listen)
	case KindCredit:
		return new(Credit)
	case KindAck:
		return new(Ack)
	case KindNack:
		return new(Nack)
	case KindLeave:
		return new(Leave)
	case KindRequest:
		return new(Request)
	case KindJoined:
		return new(Joined)
	case KindListening:
		return new(Listening)
	case KindBatch:
		return new(Batch)
	case KindGap:
		return new(Gap)
	case KindLost:
		return new(Lost)
	case KindReply:
		return new(Reply)
	case KindError:
		return new(Error)
	}
	return nil
}
