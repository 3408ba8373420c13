//go:build race

package broker

// spoil overwrites memory that is about to be used again. Whoever still reads it gets bytes
// that are no records, and the race detector sees him. That is in programs built with
// -race only, as those of the tests are.
func spoil(page []byte) {
	for i := range page {
		page[i] = 0xdb
	}
}
