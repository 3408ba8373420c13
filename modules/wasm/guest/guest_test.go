package guest

import (
	"bytes"
	"errors"
	"testing"

	"github.com/lcapd/lcapd/changelog"
)

// give does what a host does: it has room made, writes, calls, and reads.
func give(input []byte, call func() int64) string {
	alloc(int32(len(input)))
	copy(guest.input, input)
	if result := call(); int(int32(result)) != len(guest.output) {
		return "the result has another length than the output"
	}
	return string(guest.output)
}

func pack(t *testing.T, f changelog.Fields) []byte {
	t.Helper()
	packed, err := f.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	return packed
}

// The bytes are those of docs/modules.md, "The ABI". That a host understands them package wasm tests.
func TestConversation(t *testing.T) {
	if abi() != 1 {
		t.Errorf("version %d", abi())
	}
	refusal := error(nil)
	Configure(func(options []byte) error { return refusal })
	if got := give([]byte(`{}`), configure); got != "" {
		t.Errorf("options are answered by %q", got)
	}
	refusal = errors.New("no")
	if got := give([]byte(`{}`), configure); got != "no" {
		t.Errorf("refused options are answered by %q", got)
	}
	changed := pack(t, changelog.Fields{Type: changelog.TypeMtime, Index: 3})
	Handle(func(r changelog.Record) Verdict {
		switch r.Index() {
		case 1:
			return Keep
		case 2:
			return Drop
		}
		return Change(changed)
	})
	var records []byte
	for i := range uint64(3) {
		records = append(records, pack(t, changelog.Fields{Type: changelog.TypeClose, Index: i + 1})...)
	}
	want := append([]byte("\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00\x02\x00\x40\x00"), changed...)
	if got := give(records, process); !bytes.Equal([]byte(got), want) {
		t.Errorf("verdicts are %x, want %x", got, want)
	}
	if got := give(nil, process); got != "" {
		t.Errorf("no records are answered by %x", got)
	}
}
