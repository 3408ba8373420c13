package changelog

import (
	"encoding/base64"
	"strconv"
	"unicode/utf8"
)

// AppendLFS appends the line that "lfs changelog" prints for the record, with
// its newline (ABI 11). Names are printed raw, newlines and all, so the text is
// not parseable in general: programs should use JSON or the packed form.
//
// lfs prints what its library delivers: for byte equality the record must have
// been through [Record.AppendRepacked] with [FormatAll], which matters only
// where unknown extra bits are set.
func (r Record) AppendLFS(dst []byte) []byte {
	dst = append(strconv.AppendUint(dst, r.Index(), 10), ' ')
	dst = append(appendLFSType(dst, r.Type()), ' ')
	dst = append(r.Time().appendLFS(dst), " 0x"...)
	dst = strconv.AppendUint(dst, uint64(r.Flags()&FlagsPayload), 16)
	dst = r.Target().AppendTo(append(dst, " t="...))
	if jobID, _ := r.JobID(); len(jobID) > 0 {
		dst = append(append(dst, " j="...), jobID...)
	}
	dst = r.appendLFSExtra(dst)
	if parent := r.Parent(); !parent.IsZero() {
		dst = parent.AppendTo(append(dst, " p="...))
	}
	if len(r.NameArea()) > 0 {
		dst = append(append(dst, ' '), r.Name()...)
	}
	if source, _ := r.Source(); !source.IsZero() {
		parent, _ := r.SourceParent()
		name, _ := r.SourceName()
		dst = source.AppendTo(append(dst, " s="...))
		dst = parent.AppendTo(append(dst, " sp="...))
		dst = append(append(dst, ' '), name...)
	}
	return append(dst, '\n')
}

// appendLFSType appends the code in two digits and the mnemonic in five columns.
func appendLFSType(dst []byte, t Type) []byte {
	dst = appendPadded(dst, uint64(t), 2)
	name := "(null)"
	if t.Known() {
		name = typeNames[t]
	}
	dst = append(dst, name...)
	for range 5 - len(name) {
		dst = append(dst, ' ')
	}
	return dst
}

// appendLFSExtra appends the fields of the extra block.
func (r Record) appendLFSExtra(dst []byte) []byte {
	extra, ok := r.Extra()
	if !ok {
		return dst
	}
	dst = strconv.AppendUint(append(dst, " ef=0x"...), uint64(extra), 16)
	if uid, gid, ok := r.Owner(); ok {
		dst = strconv.AppendUint(append(dst, " u="...), uid, 10)
		dst = strconv.AppendUint(append(dst, ':'), gid, 10)
	}
	if nid, ok := r.NID(); ok {
		dst = nid.AppendTo(append(dst, " nid="...))
	}
	if open, ok := r.OpenMode(); ok {
		if mode := open.String(); mode != "---" {
			dst = append(append(dst, " m="...), mode...)
		}
	}
	if xattr, _ := r.XattrName(); len(xattr) > 0 {
		dst = append(append(dst, " x="...), xattr...)
	}
	return dst
}

// AppendJSON appends the record as one JSON object without a newline. mdt is
// left out when empty. Keys, in this order:
//
//	mdt, index, prev, record_type (mnemonic, or the code as a string),
//	time (RFC 3339 with nanoseconds), flags (the whole word), target_fid,
//	parent_fid, filename, source_name, source_fid, source_parent_fid, job_id,
//	extra_flags, uid, gid, client_nid, open_flags (as stored), xattr_name,
//	marker_flags
//
// What the record does not have is absent: a block that is missing, a zero
// parent or source FID, the target FID of a MARK record, an empty name (but not
// that of a rename), the source name of a rename without a second name. Byte strings that are not UTF-8 appear in base64 under their
// key with _b64 behind it. Numbers go up to 2^64-1: readers must not put them
// into floating point.
func (r Record) AppendJSON(dst []byte, mdt string) []byte {
	o := jsonObject{append(dst, '{')}
	if mdt != "" {
		o.text("mdt", []byte(mdt))
	}
	o.number("index", r.Index())
	o.number("prev", r.Prev())
	o.plain("record_type", r.Type().appendTo)
	o.plain("time", r.Time().appendRFC3339)
	o.number("flags", uint64(r.Flags()))
	marker, isMark := r.Marker()
	if !isMark {
		o.plain("target_fid", r.Target().AppendTo)
	}
	o.fid("parent_fid", r.Parent())
	if len(r.NameArea()) > 0 {
		o.text("filename", r.Name())
	}
	r.jsonSource(&o)
	if jobID, ok := r.JobID(); ok {
		o.text("job_id", jobID)
	}
	r.jsonExtra(&o)
	if isMark {
		o.number("marker_flags", uint64(marker))
	}
	return append(o.b, '}')
}

func (r Record) jsonSource(o *jsonObject) {
	source, ok := r.Source()
	if !ok {
		return
	}
	if name, _ := r.SourceName(); name != nil {
		o.text("source_name", name)
	}
	o.fid("source_fid", source)
	parent, _ := r.SourceParent()
	o.fid("source_parent_fid", parent)
}

func (r Record) jsonExtra(o *jsonObject) {
	extra, ok := r.Extra()
	if !ok {
		return
	}
	o.number("extra_flags", uint64(extra))
	if uid, gid, ok := r.Owner(); ok {
		o.number("uid", uid)
		o.number("gid", gid)
	}
	if nid, ok := r.NID(); ok {
		o.plain("client_nid", nid.AppendTo)
	}
	if open, ok := r.OpenMode(); ok {
		o.number("open_flags", uint64(open))
	}
	if xattr, ok := r.XattrName(); ok {
		o.text("xattr_name", xattr)
	}
}

// jsonObject appends the members of one JSON object. Keys need no escaping.
type jsonObject struct{ b []byte }

func (o *jsonObject) key(name, suffix string) {
	if o.b[len(o.b)-1] != '{' {
		o.b = append(o.b, ',')
	}
	o.b = append(append(append(append(o.b, '"'), name...), suffix...), `":`...)
}

func (o *jsonObject) number(name string, v uint64) {
	o.key(name, "")
	o.b = strconv.AppendUint(o.b, v, 10)
}

// plain appends a string that needs no escaping.
func (o *jsonObject) plain(name string, value func([]byte) []byte) {
	o.key(name, "")
	o.b = append(value(append(o.b, '"')), '"')
}

func (o *jsonObject) fid(name string, f FID) {
	if !f.IsZero() {
		o.plain(name, f.AppendTo)
	}
}

// text appends a byte string: escaped if it is UTF-8, else in base64.
func (o *jsonObject) text(name string, s []byte) {
	if !utf8.Valid(s) {
		o.key(name, "_b64")
		o.b = append(base64.StdEncoding.AppendEncode(append(o.b, '"'), s), '"')
		return
	}
	o.key(name, "")
	o.b = appendJSONString(o.b, s)
}

// appendJSONString quotes valid UTF-8. Besides what JSON demands it escapes DEL
// and the two line separators that break lines in some readers.
func appendJSONString(dst, s []byte) []byte {
	const hexDigits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				dst = append(dst, '\\', c)
			case c < ' ' || c == 0x7f:
				dst = append(dst, `\u00`...)
				dst = append(dst, hexDigits[c>>4], hexDigits[c&15])
			default:
				dst = append(dst, c)
			}
			i++
			continue
		}
		r, n := utf8.DecodeRune(s[i:])
		if r == '\u2028' || r == '\u2029' {
			dst = append(dst, `\u202`...)
			dst = append(dst, hexDigits[r&15])
		} else {
			dst = append(dst, s[i:i+n]...)
		}
		i += n
	}
	return append(dst, '"')
}
