package watch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// event is what fanotify reports at once of one inode, by one process: one change, or
// several that were merged while they waited to be read.
type event struct {
	mask uint64 // FAN_CREATE and others
	pid  int32  // who did it, 0 if that is in a container that we cannot see

	dir   handle // the directory of name; of a rename, that where it was
	name  string // "" if the event has none, "." if it is about dir itself
	toDir handle // of a rename: where it is now
	to    string
	child handle // what it is about, if that is not dir itself
}

// Sizes of the kernel's structures, in bytes.
const (
	infoHeader   = 4
	fsidSize     = 8
	handleHeader = 8
)

// errEvent: the kernel's bytes are not what this version expects.
var errEvent = errors.New("fanotify reports in a form that is not known")

// nextEvent takes the first event off b.
func nextEvent(b []byte) (e event, rest []byte, err error) {
	if len(b) < unix.FAN_EVENT_METADATA_LEN {
		return e, nil, fmt.Errorf("%w: %d bytes are left, an event has %d", errEvent, len(b), unix.FAN_EVENT_METADATA_LEN)
	}
	size := int(binary.NativeEndian.Uint32(b))
	version, metadata := b[4], int(binary.NativeEndian.Uint16(b[6:]))
	if size < metadata || metadata < unix.FAN_EVENT_METADATA_LEN || size > len(b) {
		return e, nil, fmt.Errorf("%w: an event of %d bytes, %d of them its head, in %d", errEvent, size, metadata, len(b))
	}
	if version != unix.FANOTIFY_METADATA_VERSION {
		return e, nil, fmt.Errorf("%w: version %d, not %d", errEvent, version, unix.FANOTIFY_METADATA_VERSION)
	}
	e.mask = binary.NativeEndian.Uint64(b[8:])
	e.pid = int32(binary.NativeEndian.Uint32(b[20:]))
	for info := b[metadata:size]; len(info) > 0; {
		if info, err = e.takeInfo(info); err != nil {
			return e, nil, err
		}
	}
	return e, b[size:], nil
}

// takeInfo takes the first information record off b. Those of a kind that we have not
// asked for are passed over.
func (e *event) takeInfo(b []byte) (rest []byte, err error) {
	if len(b) < infoHeader {
		return nil, fmt.Errorf("%w: %d bytes for an information record", errEvent, len(b))
	}
	kind, size := b[0], int(binary.NativeEndian.Uint16(b[2:]))
	if size < infoHeader || size > len(b) {
		return nil, fmt.Errorf("%w: an information record of %d bytes in %d", errEvent, size, len(b))
	}
	body, rest := b[infoHeader:size], b[size:]
	h, name := &e.child, (*string)(nil)
	switch kind {
	case unix.FAN_EVENT_INFO_TYPE_DFID_NAME, unix.FAN_EVENT_INFO_TYPE_OLD_DFID_NAME, unix.FAN_EVENT_INFO_TYPE_DFID:
		h, name = &e.dir, &e.name
	case unix.FAN_EVENT_INFO_TYPE_NEW_DFID_NAME:
		h, name = &e.toDir, &e.to
	case unix.FAN_EVENT_INFO_TYPE_FID:
	default:
		return rest, nil
	}
	if len(body) < fsidSize+handleHeader {
		return nil, fmt.Errorf("%w: %d bytes for a file handle", errEvent, len(body))
	}
	body = body[fsidSize:]
	length := binary.NativeEndian.Uint32(body)
	h.kind = int32(binary.NativeEndian.Uint32(body[4:]))
	body = body[handleHeader:]
	if uint64(length) > uint64(len(body)) {
		return nil, fmt.Errorf("%w: a file handle of %d bytes in %d", errEvent, length, len(body))
	}
	h.bytes = string(body[:length])
	if name != nil {
		text, _, _ := bytes.Cut(body[length:], []byte{0})
		*name = string(text)
	}
	return rest, nil
}
