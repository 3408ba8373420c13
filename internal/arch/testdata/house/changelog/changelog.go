// Package changelog breaks no rule.
package changelog

// A Record is one record.
type Record struct{}
