package scatter

import (
	"fmt"

	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
)

// Repack returns b with only the wanted blocks of its records, as Lustre's client library
// cuts them (ABI 7.1): the same range, the same records, never more bytes. It is b itself
// if there is nothing to cut.
func Repack(b *core.Batch, want changelog.Format) *core.Batch {
	size, isSame := 0, true
	walk(b, func(r changelog.Record) {
		n, same := r.RepackedSize(want)
		size += n
		isSame = isSame && same
	})
	if isSame {
		return b
	}
	cut := *b
	cut.Records = make([]byte, 0, size)
	walk(b, func(r changelog.Record) { cut.Records = r.AppendRepacked(cut.Records, want) })
	return &cut
}

// walk calls f with each record of a batch.
func walk(b *core.Batch, f func(r changelog.Record)) {
	scan := changelog.NewScanner(b.Records)
	for scan.Scan() {
		f(scan.Record())
	}
	if err := scan.Err(); err != nil {
		panic(fmt.Sprintf("scatter: the batch (%d, %d] was sealed with bytes that are no record: %v", b.From, b.To, err))
	}
}
