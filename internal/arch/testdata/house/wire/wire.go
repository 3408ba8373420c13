// This is package wire, which has the wrong package comment.
package wire

import "example.org/house/changelog"

// A Batch is allowed to know the record.
type Batch struct{ Records []changelog.Record }
