package scatter

import (
	"github.com/lcapd/lcapd/broker/core"
	"github.com/lcapd/lcapd/changelog"
)

// Repack returns b with only the wanted blocks of its records, as Lustre's client library
// cuts them (ABI 7.1): the same range, the same records, never more bytes. It is b itself
// if there is nothing to cut.
func Repack(b *core.Batch, want changelog.Format) *core.Batch {
	size, isSame := 0, true
	walk(b, func(r changelog.Record, _ int) {
		n, same := r.RepackedSize(want)
		size += n
		isSame = isSame && same
	})
	if isSame {
		return b
	}
	cut := *b
	cut.Records = make([]byte, 0, size)
	walk(b, func(r changelog.Record, _ int) { cut.Records = r.AppendRepacked(cut.Records, want) })
	return &cut
}
