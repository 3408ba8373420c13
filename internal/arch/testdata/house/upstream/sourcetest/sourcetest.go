// Package sourcetest may import upstream; nobody may import it.
package sourcetest

import "example.org/house/upstream"

// Want is the last record.
var Want = upstream.Last
