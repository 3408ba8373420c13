package wire

// Kind returns [KindHello].
func (m *Hello) Kind() Kind { return KindHello }

func (m *Hello) fields(f *fields) {
	num(f, "v", &m.V)
	num(f, "min", &m.Min)
	name(f, "software", &m.Software, MaxName)
	list(f, "caps", &m.Caps)
	name(f, "broker", &m.Broker, MaxName)
	num(f, "heartbeat_ms", &m.HeartbeatMS)
	num(f, "max_frame", &m.MaxFrame)
}

// Kind returns [KindHeartbeat].
func (m *Heartbeat) Kind() Kind { return KindHeartbeat }

func (m *Heartbeat) fields(*fields) {}

// Kind returns [KindBye].
func (m *Bye) Kind() Kind { return KindBye }

func (m *Bye) fields(f *fields) {
	name(f, "code", &m.Code, MaxName)
	prose(f, "text", &m.Text)
}

// Kind returns [KindJoin].
func (m *Join) Kind() Kind { return KindJoin }

func (m *Join) fields(f *fields) {
	num(f, "req", &m.Req)
	name(f, "group", &m.Group, MaxName)
	name(f, "name", &m.Name, MaxName)
	name(f, "session", &m.Session, MaxName)
	name(f, "distribution", &m.Distribution, MaxName)
	name(f, "start", &m.Start, MaxName)
	toggle(f, "create", &m.Create)
	num(f, "fields", &m.Fields)
	name(f, "filter", &m.Filter, MaxFilter)
}

func (m *Join) lists(f *fields) { list(f, "mdts", &m.MDTs) }

// Kind returns [KindListen].
func (m *Listen) Kind() Kind { return KindListen }

func (m *Listen) fields(f *fields) {
	num(f, "req", &m.Req)
	name(f, "name", &m.Name, MaxName)
	num(f, "fields", &m.Fields)
	name(f, "filter", &m.Filter, MaxFilter)
	name(f, "modules", &m.Modules, MaxFilter)
}

func (m *Listen) lists(f *fields) {
	list(f, "mdts", &m.MDTs)
	list(f, "seen", &m.Seen)
}

// Kind returns [KindCredit].
func (m *Credit) Kind() Kind { return KindCredit }

func (m *Credit) fields(f *fields) {
	upTo(f, "batches", &m.Batches, 1<<31-1)
	upTo(f, "bytes", &m.Bytes, 1<<62)
}

// Kind returns [KindAck].
func (m *Ack) Kind() Kind { return KindAck }

func (m *Ack) fields(f *fields) {
	num(f, "lease", &m.Lease)
	num(f, "upto", &m.UpTo)
}

// Kind returns [KindNack].
func (m *Nack) Kind() Kind { return KindNack }

func (m *Nack) fields(f *fields) {
	num(f, "lease", &m.Lease)
	num(f, "from", &m.From)
	upTo(f, "delay_ms", &m.DelayMS, 1<<31-1)
}

// Kind returns [KindLeave].
func (m *Leave) Kind() Kind { return KindLeave }

func (m *Leave) fields(*fields) {}

// Kind returns [KindRequest].
func (m *Request) Kind() Kind { return KindRequest }

func (m *Request) fields(f *fields) {
	num(f, "req", &m.Req)
	name(f, "op", &m.Op, MaxName)
	name(f, "group", &m.Group, MaxName)
	name(f, "mdt", &m.MDT, MaxName)
	num(f, "index", &m.Index)
	name(f, "distribution", &m.Distribution, MaxName)
	name(f, "start", &m.Start, MaxName)
	name(f, "filter", &m.Filter, MaxFilter)
	name(f, "name", &m.Name, MaxName)
	toggle(f, "paused", &m.Paused)
	toggle(f, "force", &m.Force)
	num(f, "max_backlog", &m.MaxBacklog)
	num(f, "max_idle_ms", &m.MaxIdleMS)
	toggle(f, "expire", &m.Expire)
}

func (m *Request) lists(f *fields) {
	name(f, "modules", &m.Modules, MaxModules)
	name(f, "consumers", &m.Consumers, MaxName)
}

func (m *Request) isBare() bool { return m.Modules == "" && m.Consumers == "" }

// Kind returns [KindJoined].
func (m *Joined) Kind() Kind { return KindJoined }

func (m *Joined) fields(f *fields) {
	num(f, "req", &m.Req)
	name(f, "group", &m.Group, MaxName)
	name(f, "name", &m.Name, MaxName)
	name(f, "distribution", &m.Distribution, MaxName)
}

func (m *Joined) lists(f *fields) { list(f, "mdts", &m.MDTs) }

// Kind returns [KindListening].
func (m *Listening) Kind() Kind { return KindListening }

func (m *Listening) fields(f *fields) { num(f, "req", &m.Req) }

func (m *Listening) lists(f *fields) { list(f, "mdts", &m.MDTs) }

// Kind returns [KindBatch].
func (m *Batch) Kind() Kind { return KindBatch }

func (m *Batch) fields(f *fields) {
	name(f, "mdt", &m.MDT, MaxName)
	num(f, "epoch", &m.Epoch)
	num(f, "lease", &m.Lease)
	num(f, "from", &m.From)
	num(f, "to", &m.To)
	num(f, "first", &m.First)
	num(f, "last", &m.Last)
	num(f, "n", &m.N)
	num(f, "delivery", &m.Delivery)
	num(f, "form", &m.Form)
	num(f, "flags", &m.Flags)
}

// Kind returns [KindGap].
func (m *Gap) Kind() Kind { return KindGap }

func (m *Gap) fields(f *fields) {
	name(f, "mdt", &m.MDT, MaxName)
	num(f, "epoch", &m.Epoch)
	num(f, "from", &m.From)
	num(f, "to", &m.To)
	num(f, "count", &m.Count)
	toggle(f, "unknown", &m.Unknown)
	prose(f, "why", &m.Why)
}

// Kind returns [KindLost].
func (m *Lost) Kind() Kind { return KindLost }

func (m *Lost) fields(f *fields) {
	name(f, "group", &m.Group, MaxName)
	name(f, "mdt", &m.MDT, MaxName)
	num(f, "epoch", &m.Epoch)
	num(f, "from", &m.From)
	num(f, "to", &m.To)
}

// Kind returns [KindReply].
func (m *Reply) Kind() Kind { return KindReply }

func (m *Reply) fields(f *fields) { num(f, "req", &m.Req) }

// Kind returns [KindError].
func (e *Error) Kind() Kind { return KindError }

func (e *Error) fields(f *fields) {
	name(f, "code", &e.Code, MaxName)
	prose(f, "text", &e.Text)
	num(f, "req", &e.Req)
	num(f, "lease", &e.Lease)
}
