package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	"github.com/lcapd/lcapd/client"
	"github.com/lcapd/lcapd/wire"
)

// Why: exit codes and remedies are decided in another process than the one that has failed.
func TestFailuresKeepTheirReason(t *testing.T) {
	for _, c := range []struct {
		err  error
		code wire.Code // of the server's answer
	}{
		{err: errors.New("anything")},
		{err: fmt.Errorf("dial: %w: refused", client.ErrUnreachable)},
		{err: fmt.Errorf("join: %w", &client.Error{Addr: "a", Code: wire.UnknownGroup, Text: "no g"}), code: wire.UnknownGroup},
		{err: &client.Error{Addr: "a", Code: wire.Stopping}, code: wire.Stopping},
	} {
		data, err := json.Marshal(tally{Err: failureOf(c.err)})
		if err != nil {
			t.Fatal(err)
		}
		var heard tally
		if err := json.Unmarshal(data, &heard); err != nil {
			t.Fatal(err)
		}
		if heard.Err.Error() != c.err.Error() {
			t.Errorf("%q arrived as %q", c.err, heard.Err)
		}
		for _, reason := range []error{client.ErrUnreachable, client.ErrUnknownGroup} {
			if got, want := errors.Is(heard.Err, reason), errors.Is(c.err, reason); got != want {
				t.Errorf("%v: is %v: %t", c.err, reason, got)
			}
		}
		var answer *client.Error
		if errors.As(heard.Err, &answer) != (c.code != "") || answer != nil && answer.Code != c.code {
			t.Errorf("%v: the answer arrived as %v", c.err, answer)
		}
	}
	if f := failureOf(nil); f != nil {
		t.Errorf("no error is the failure %v", f)
	}
}
