package bench

import (
	"errors"

	"github.com/lcapd/lcapd/client"
)

// failure is an error on its way from a peer to who has started it: its text, and what
// callers decide on, which the text alone does not carry.
type failure struct {
	Text        string        `json:"text"`
	Unreachable bool          `json:"unreachable,omitempty"` // client.ErrUnreachable
	Answer      *client.Error `json:"answer,omitempty"`      // what the server said
}

// failureOf makes a failure of err; nil of nil.
func failureOf(err error) *failure {
	if err == nil {
		return nil
	}
	f := &failure{Text: err.Error(), Unreachable: errors.Is(err, client.ErrUnreachable)}
	errors.As(err, &f.Answer)
	return f
}

// Error returns the text of the error.
func (f *failure) Error() string { return f.Text }

// Unwrap returns what was in the error's chain.
func (f *failure) Unwrap() (chain []error) {
	if f.Unreachable {
		chain = append(chain, client.ErrUnreachable)
	}
	if f.Answer != nil {
		chain = append(chain, f.Answer)
	}
	return chain
}
