package groups

// tries remembers how often the ranges ahead of a cursor were delivered already:
// ascending ends, each with a count that holds from the end before it.
type tries []try

// try is a part of what lies ahead of a cursor. n counts deliveries; those up to
// pardon do not count towards max_deliveries, because an operator said so.
type try struct {
	to        uint64
	n, pardon int
}

// spent tells whether the part may not be delivered again: most is max_deliveries,
// 0 for no limit.
func (x try) spent(most int) bool { return most > 0 && x.n-x.pardon >= most }

// at returns how often what follows cursor was delivered, and up to where that
// holds: for new records never, and without end.
func (t tries) at(cursor uint64) try {
	for _, x := range t {
		if x.to > cursor {
			return x
		}
	}
	return try{to: ^uint64(0)}
}

// after drops what lies at or below cursor.
func (t tries) after(cursor uint64) tries {
	for len(t) > 0 && t[0].to <= cursor {
		t = t[1:]
	}
	return t
}

// before returns a copy of what lies at or below end.
func (t tries) before(end uint64) tries {
	var cut tries
	for _, x := range t {
		cut = cut.push(try{min(x.to, end), x.n, x.pardon})
		if x.to >= end {
			break
		}
	}
	return cut
}

// push appends a part, unless it is covered already; a count that stays the same
// extends the last one.
func (t tries) push(x try) tries {
	last := len(t) - 1
	switch {
	case last >= 0 && t[last].to >= x.to:
		return t
	case last >= 0 && t[last].n == x.n && t[last].pardon == x.pardon:
		t[last].to = x.to
		return t
	}
	return append(t, x)
}

// end returns up to where there are counts; 0 if there are none.
func (t tries) end() uint64 {
	if len(t) == 0 {
		return 0
	}
	return t[len(t)-1].to
}

// forgive lets the parts that may not be delivered again start anew.
func (t tries) forgive(most int) {
	for i := range t {
		if t[i].spent(most) {
			t[i].pardon = t[i].n
		}
	}
}
