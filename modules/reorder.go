package modules

import "github.com/lcapd/lcapd/changelog"

// Reorder gathers a window of records and lets it go with the changes of names first, and the rest by object. Changes of
// names stay in their order; a record about an object never passes a change of the names of that object; the
// records about an object stay in their order. Types unknown here, and MARK, are passed by nothing.
//
// What comes out is not in the order of the indexes, so it can only be handed out and acknowledged as a whole.
func Reorder() Kind {
	return Kind{
		Name:     "reorder",
		Summary:  "lets go a window of records with names before data, and data by object",
		Holds:    true,
		Permutes: true,
		Parse: func(o *Options, use Use) (Factory, error) {
			b := o.bounds()
			var err error
			switch {
			case use.Consumers == EveryRecord:
				err = unsafeFor("the consumers need every record, and its place; state consumers: changes, or consumers: state, if that is not so")
			case !use.Whole:
				err = unsafeFor("records would be acknowledged out of order; it needs a consumer that takes and acknowledges whole batches")
			}
			return func(Start) Module { return &reorder{window: newWindow(b)} }, err
		},
	}
}

type reorder struct {
	*window
	// Of the flush under way.
	waiting map[object][]uint64 // numbers of the entries about an object that were not let go yet
	objects []object            // those that were waited for, in the order in which they came
}

// Push implements [Module].
func (m *reorder) Push(r changelog.Record, out *Out) {
	if m.head < m.tail && (m.live+1 > m.bounds.Records || m.weight+int64(r.Size())+entryWeight > m.bounds.Bytes) {
		m.Flush(out)
	}
	m.add(r, out)
}

// Tick implements [Module].
func (m *reorder) Tick(out *Out) {
	if m.head < m.tail && out.chain.elapsed-m.at(m.head).at >= m.bounds.Age {
		m.Flush(out)
	}
}

// Held implements [Module].
func (m *reorder) Held() Held { return m.held() }

// data are the types that may wait for changes of names.
var data = refresh | newestOnly | changelog.MaskOf(changelog.TypeXattr, changelog.TypeHSM,
	changelog.TypeOpen, changelog.TypeGxatr, changelog.TypeNopen)

// Flush implements [Module].
func (m *reorder) Flush(out *Out) {
	if m.waiting == nil {
		m.waiting = map[object][]uint64{}
	}
	for n := m.head; n < m.tail; n++ {
		e := m.at(n)
		switch {
		case data.Has(e.kind) && e.subjects[1] == noObject:
			o := e.subjects[0]
			if m.waiting[o] == nil {
				m.objects = append(m.objects, o)
			}
			m.waiting[o] = append(m.waiting[o], n)
			continue
		case namespace.Has(e.kind):
			m.letGo(e.subjects[0], out)
			m.letGo(e.subjects[1], out)
		default:
			m.letAllGo(out)
		}
		out.Keep(e.record)
	}
	m.letAllGo(out)
	for m.head < m.tail {
		m.pop()
	}
	m.ring, m.newest, m.arena = nil, table{}, arena{}
}

// letAllGo lets go all that waits, by object.
func (m *reorder) letAllGo(out *Out) {
	for _, o := range m.objects {
		m.letGo(o, out)
	}
	clear(m.waiting)
	m.objects = m.objects[:0]
}

// letGo lets go what waits about an object.
func (m *reorder) letGo(o object, out *Out) {
	for _, n := range m.waiting[o] {
		out.Keep(m.at(n).record)
	}
	delete(m.waiting, o)
}
