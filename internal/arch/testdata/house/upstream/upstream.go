// Package upstream breaks no rule.
package upstream

import "example.org/house/llog"

// Last is the last record.
var Last = llog.Last
