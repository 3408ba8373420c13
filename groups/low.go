package groups

// Low returns the smallest cursor of the track's streams: everything at or below
// it was handed out at least once. Its cost grows with the number of streams.
func (t *Track) Low() uint64 {
	low := ^uint64(0)
	for _, s := range t.streams {
		low = min(low, s.cursor)
	}
	return low
}

// Cursor returns the place behind which the stream goes on.
func (s *Stream) Cursor() uint64 { return s.cursor }

// Looked returns the highest place that any stream of the track came to.
func (t *Track) Looked() uint64 { return t.looked }
